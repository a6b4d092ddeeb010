#include "server/images/test_http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace berth {
namespace {

namespace http = boost::beast::http;

bool SendAll(int fd, const std::string& data) {
  size_t sent = 0;
  while (sent < data.size()) {
    const ssize_t n = send(fd, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += n;
  }
  return true;
}

// Reads one request; false when the connection ends.
bool Receive(int fd, std::string* pending, TestHttpServer::Request* request) {
  http::request_parser<http::string_body> parser;
  parser.eager(true);
  while (!parser.is_done()) {
    if (!pending->empty()) {
      boost::system::error_code error;
      const size_t used = parser.put(boost::asio::buffer(*pending), error);
      pending->erase(0, used);
      if (error && error != http::error::need_more) return false;
      if (parser.is_done()) break;
    }
    char buffer[4096];
    const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    pending->append(buffer, n);
  }
  const auto& message = parser.get();
  request->method = std::string(message.method_string());
  request->target = std::string(message.target());
  request->body = message.body();
  for (const auto& field : message) {
    request->headers[absl::AsciiStrToLower(std::string(field.name_string()))] =
        std::string(field.value());
  }
  return true;
}

}  // namespace

TestHttpServer::TestHttpServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    abort();
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

TestHttpServer::~TestHttpServer() {
  std::list<std::thread> threads;
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (const int fd : connections_) shutdown(fd, SHUT_RDWR);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
  close(listener_);
}

std::vector<TestHttpServer::Request> TestHttpServer::requests() const {
  MutexLock lock(&mu_);
  return requests_;
}

void TestHttpServer::Accept() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    MutexLock lock(&mu_);
    connections_.push_back(fd);
    threads_.emplace_back([this, fd] { Serve(fd); });
  }
}

void TestHttpServer::Serve(int fd) {
  std::string pending;
  Request request;
  while (Receive(fd, &pending, &request)) {
    {
      MutexLock lock(&mu_);
      requests_.push_back(request);
    }
    const Reply reply = handler_(request);
    std::string head =
        absl::StrCat("HTTP/1.1 ", reply.code, " Reason\r\nContent-Length: ",
                     reply.length == std::string::npos ? reply.body.size() : reply.length, "\r\n");
    for (const auto& [name, value] : reply.headers)
      absl::StrAppend(&head, name, ": ", value, "\r\n");
    if (!SendAll(fd, head + "\r\n" + reply.body.substr(0, reply.cut))) break;
    if (reply.stall) {  // until the client or the test hangs up
      pollfd wait{fd, POLLIN, 0};
      poll(&wait, 1, -1);
      break;
    }
    if (reply.cut != std::string::npos) break;
    request = Request{};
  }
  shutdown(fd, SHUT_RDWR);
  MutexLock lock(&mu_);
  connections_.erase(std::find(connections_.begin(), connections_.end(), fd));
  close(fd);
}

}  // namespace berth
