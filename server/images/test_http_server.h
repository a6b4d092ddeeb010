// An HTTP/1.1 server on loopback for tests, which misbehaves on demand.
#ifndef BERTH_SERVER_IMAGES_TEST_HTTP_SERVER_H_
#define BERTH_SERVER_IMAGES_TEST_HTTP_SERVER_H_

#include <functional>
#include <list>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace berth {

class TestHttpServer {
 public:
  struct Request {
    std::string method;
    std::string target;                          // path and query
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;
    std::string Header(const std::string& name) const {
      const auto it = headers.find(name);
      return it == headers.end() ? "" : it->second;
    }
  };
  struct Reply {
    int code = 200;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
    // Bytes of the body that are sent before the connection is closed (`stall`: kept open, silent).
    size_t cut = std::string::npos;
    bool stall = false;
    // The Content-Length that is claimed, if not the body's.
    size_t length = std::string::npos;
  };
  using Handler = std::function<Reply(const Request&)>;

  // Serves until destroyed. `handler` is called from several threads.
  explicit TestHttpServer(Handler handler);
  ~TestHttpServer();

  int port() const { return port_; }
  std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string url() const { return "http://" + host(); }
  // Every request so far, in the order of arrival.
  std::vector<Request> requests() const;

 private:
  void Accept();
  void Serve(int fd);

  const Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  mutable Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<int> connections_ ABSL_GUARDED_BY(mu_);
  std::list<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  std::vector<Request> requests_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_TEST_HTTP_SERVER_H_
