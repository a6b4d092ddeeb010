#include "server/metrics/http_server.h"

#include <pthread.h>
#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
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

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/http/listener.h"

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
    io_ = std::make_unique<asio::io_context>(1);
    ASSIGN_OR_RETURN(
        listener_, Listener::Open(io_.get(), address, kMaxConnections, [this](Tcp::socket socket) {
          if (connections_ < kMaxConnections) Serve(std::move(socket));
        }));
    this->address = listener_->address();
    RunThread();
    return absl::OkStatus();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    io_->stop();
    thread_.join();
    listener_.reset();
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

  void Serve(Tcp::socket socket) {
    std::make_shared<Connection>(std::move(socket), &handlers, &connections_)->WaitForRequest();
  }

  std::unique_ptr<asio::io_context> io_;
  std::unique_ptr<Listener> listener_;
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
