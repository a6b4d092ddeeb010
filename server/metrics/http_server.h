// A small HTTP/1.1 server: routed handlers, one thread that sleeps in epoll, bounded in every way.
//
//   HttpServer server;
//   server.Handle("/healthz", [](const HttpRequest&) { return HttpResponse{.body = "ok\n"}; });
//   RETURN_IF_ERROR(server.Start("127.0.0.1:9626"));
//
// Bounds: 32 connections (more are closed at once), 8 KiB of request head, no request body, 10 s
// for a request to come in or for a response to go out, 75 s for an idle connection. Without
// connections there is no timer, and the process is not woken.
#ifndef BERTH_SERVER_METRICS_HTTP_SERVER_H_
#define BERTH_SERVER_METRICS_HTTP_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace berth {

struct HttpRequest {
  std::string method;  // GET or HEAD
  std::string path;    // without the query
  std::string query;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  // Runs on the server's thread, one request at a time: it must not block.
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  HttpServer();
  ~HttpServer();  // Stops.
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Answers GET and HEAD of exactly `path`. Before Start. Other paths get 404, other methods 405.
  void Handle(const std::string& path, Handler handler);

  // Listens on HOST:PORT ([HOST]:PORT for IPv6; port 0: the kernel chooses one) and serves in a
  // thread of its own. InvalidArgument: the address doesn't parse (HOST is an IP address or
  // localhost); AlreadyExists: the port is taken.
  absl::Status Start(absl::string_view address);
  // Closes all connections and joins the thread. May be repeated.
  void Stop();

  // HOST:PORT as bound; empty before Start.
  std::string address() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_SERVER_METRICS_HTTP_SERVER_H_
