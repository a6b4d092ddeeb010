#include "server/metrics/http_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = asio::ip::tcp;
using Error = boost::system::error_code;

constexpr int kMaxConnections = 32;
constexpr size_t kMaxHead = 8 << 10;
constexpr auto kRequestTime = std::chrono::seconds(10);
constexpr auto kIdleTime = std::chrono::seconds(75);
// Without a free descriptor the listening socket stays readable: look again after a while.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

absl::StatusOr<Tcp::endpoint> ParseAddress(absl::string_view address) {
  const auto bad = [address] {
    return absl::InvalidArgumentError(absl::StrCat("listen on ", address, ": is not IP:PORT"));
  };
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return bad();
  std::string host(address.substr(0, colon));
  int port;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) return bad();
  if (host == "localhost") host = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  Error error;
  const asio::ip::address ip = asio::ip::make_address(host, error);
  if (error) return bad();
  return Tcp::endpoint(ip, static_cast<uint16_t>(port));
}

// By hand, as Asio 1.74 opens and accepts sockets without SOCK_CLOEXEC.
absl::StatusOr<UniqueFd> Listen(const Tcp::endpoint& endpoint, absl::string_view address) {
  UniqueFd fd(socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus("socket");
  const int on = 1;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return ErrnoStatus("setsockopt SO_REUSEADDR");
  }
  if (bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(absl::StrCat("listen on ", address, ": the port is taken"));
    }
    return ErrnoStatus("bind", address);
  }
  if (listen(fd.get(), kMaxConnections) != 0) return ErrnoStatus("listen", address);
  return fd;
}

// The bytes of a response; a HEAD has the head that a GET would have.
std::string Encode(const HttpResponse& response, bool head_only, bool keep_alive) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string bytes = absl::StrCat(
      "HTTP/1.1 ", response.status, " ", absl::string_view(reason.data(), reason.size()),
      "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
      "\r\nConnection: ", keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  if (!head_only) bytes += response.body;
  return bytes;
}

using Handlers = std::map<std::string, HttpServer::Handler>;

// One client: waits for a request, answers it, and so on. Lives in the handler that it waits for.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Tcp::socket socket, const Handlers* handlers, int* count)
      : stream_(std::move(socket)), handlers_(handlers), count_(count) {
    ++*count_;
  }
  ~Connection() { --*count_; }

  // An idle connection may last longer than a request that has begun.
  void WaitForRequest() {
    if (buffer_.size() > 0) return ReadRequest();
    stream_.expires_after(kIdleTime);
    stream_.async_read_some(buffer_.prepare(1024),
                            [self = shared_from_this()](Error error, size_t size) {
                              if (error) return;
                              self->buffer_.commit(size);
                              self->ReadRequest();
                            });
  }

 private:
  void ReadRequest() {
    parser_.emplace();
    parser_->header_limit(kMaxHead);
    parser_->body_limit(0);
    stream_.expires_after(kRequestTime);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](Error error, size_t) { self->OnRequest(error); });
  }

  void OnRequest(Error error) {
    if (error == http::error::end_of_stream || error == beast::error::timeout) return;
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return Answer({.status = 431, .body = "the head of the request is too large\n"}, false,
                    false);
    }
    if (error.category() == http::make_error_code(http::error::bad_method).category()) {
      return Answer({.status = 400, .body = "malformed request\n"}, false, false);
    }
    if (error) return;
    const auto& message = parser_->get();
    Answer(Dispatch(message), message.method() == http::verb::head, message.keep_alive());
  }

  HttpResponse Dispatch(const http::request<http::empty_body>& message) const {
    const auto method = message.method_string();
    HttpRequest request;
    request.method = std::string(method.data(), method.size());
    const std::string target(message.target().data(), message.target().size());
    const size_t question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    const auto handler = handlers_->find(request.path);
    if (handler == handlers_->end()) return {.status = 404, .body = "not found\n"};
    if (message.method() != http::verb::get && message.method() != http::verb::head) {
      return {.status = 405, .body = "method not allowed\n"};
    }
    return handler->second(request);
  }

  void Answer(const HttpResponse& response, bool head_only, bool keep_alive) {
    output_ = Encode(response, head_only, keep_alive);
    stream_.expires_after(kRequestTime);
    asio::async_write(stream_, asio::buffer(output_),
                      [self = shared_from_this(), keep_alive](Error error, size_t) {
                        if (error) return;
                        std::string().swap(self->output_);
                        if (keep_alive) return self->WaitForRequest();
                        self->stream_.socket().shutdown(Tcp::socket::shutdown_send, error);
                      });
  }

  beast::tcp_stream stream_;
  const Handlers* const handlers_;
  int* const count_;
  beast::flat_buffer buffer_{kMaxHead + 1024};
  std::optional<http::request_parser<http::empty_body>> parser_;
  std::string output_;
};

}  // namespace

// All but Start and Stop runs on the one thread.
class HttpServer::Impl {
 public:
  ~Impl() { Stop(); }

  absl::Status Start(absl::string_view address) {
    ASSIGN_OR_RETURN(const Tcp::endpoint endpoint, ParseAddress(address));
    ASSIGN_OR_RETURN(UniqueFd fd, Listen(endpoint, address));
    io_ = std::make_unique<asio::io_context>(1);
    acceptor_.emplace(*io_);
    pause_.emplace(*io_);
    Error error;
    acceptor_->assign(endpoint.protocol(), fd.get(), error);
    if (error)
      return absl::InternalError(absl::StrCat("listen on ", address, ": ", error.message()));
    fd.release();
    const Tcp::endpoint bound = acceptor_->local_endpoint(error);
    const std::string ip = bound.address().to_string(error);
    this->address =
        absl::StrCat(bound.address().is_v6() ? absl::StrCat("[", ip, "]") : ip, ":", bound.port());
    WaitForConnection();
    RunThread();
    return absl::OkStatus();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    io_->stop();
    thread_.join();
    acceptor_.reset();
    pause_.reset();
    io_.reset();  // with the handlers that were waited for, and so with the connections
  }

  Handlers handlers;
  std::string address;

 private:
  // Signals are the main thread's business.
  void RunThread() {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread_ = std::thread([io = io_.get()] {
      pthread_setname_np(pthread_self(), "http");
      io->run();
    });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  void WaitForConnection() {
    acceptor_->async_wait(Tcp::acceptor::wait_read, [this](Error error) {
      if (!error) Accept();
    });
  }

  void Accept() {
    UniqueFd fd(
        accept4(acceptor_->native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    const bool exhausted =
        !fd && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
    if (fd && connections_ < kMaxConnections) Serve(std::move(fd));
    if (!exhausted) return WaitForConnection();
    LogWarning("accept a connection on ", address, ": out of descriptors or memory, ignoring");
    pause_->expires_after(kAcceptPause);
    pause_->async_wait([this](Error error) {
      if (!error) WaitForConnection();
    });
  }

  void Serve(UniqueFd fd) {
    Tcp::socket socket(*io_);
    Error error;
    const Tcp::endpoint local = acceptor_->local_endpoint(error);
    socket.assign(local.protocol(), fd.get(), error);
    if (error) return;
    fd.release();
    std::make_shared<Connection>(std::move(socket), &handlers, &connections_)->WaitForRequest();
  }

  std::unique_ptr<asio::io_context> io_;
  std::optional<Tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> pause_;
  int connections_ = 0;
  std::thread thread_;
};

HttpServer::HttpServer() : impl_(std::make_unique<Impl>()) {}
HttpServer::~HttpServer() = default;

void HttpServer::Handle(const std::string& path, Handler handler) {
  impl_->handlers[path] = std::move(handler);
}

absl::Status HttpServer::Start(absl::string_view address) { return impl_->Start(address); }
void HttpServer::Stop() { impl_->Stop(); }
std::string HttpServer::address() const { return impl_->address; }

}  // namespace berth
