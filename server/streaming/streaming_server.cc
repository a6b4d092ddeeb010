#include "server/streaming/streaming_server.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/http/listener.h"
#include "server/streaming/channel_connection.h"
#include "server/streaming/command_gathering.h"
#include "server/streaming/http_front.h"
#include "server/streaming/port_forward.h"
#include "server/streaming/remote_command.h"
#include "server/streaming/spdy_session.h"
#include "server/streaming/tokens.h"
#include "server/streaming/web_socket.h"

namespace berth {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;

constexpr int kBacklog = 512;
constexpr int kBusyAnswers = 64;  // connections beyond the bound that are still told so
constexpr auto kAnswerTime = std::chrono::seconds(5);
constexpr absl::Duration kStopTime = absl::Seconds(2);

const char* KindName(StreamKind kind) {
  switch (kind) {
    case StreamKind::kExec:
      return "exec";
    case StreamKind::kAttach:
      return "attach";
    case StreamKind::kPortForward:
      return "portforward";
  }
  return "";
}

class Counts {
 public:
  void AddConnections(int change) {
    MutexLock lock(&mu_);
    counts_.connections += change;
    if (counts_.connections == 0) none_.SignalAll();
  }
  void AddSession(StreamKind kind) {
    MutexLock lock(&mu_);
    ++counts_.sessions[KindName(kind)];
  }
  void AddRefused(int status) {
    MutexLock lock(&mu_);
    ++counts_.refused[absl::StrCat(status)];
  }
  StreamCounts Get() const {
    MutexLock lock(&mu_);
    return counts_;
  }
  int connections() const {
    MutexLock lock(&mu_);
    return counts_.connections;
  }
  void WaitForNone(absl::Time until) {
    MutexLock lock(&mu_);
    while (counts_.connections > 0 && !none_.WaitWithDeadline(&mu_, until)) continue;
  }

 private:
  mutable Mutex mu_;
  CondVar none_;
  StreamCounts counts_ ABSL_GUARDED_BY(mu_);
};

// Counts a connection while it lives, whatever it has become.
class Ticket {
 public:
  explicit Ticket(Counts* counts) : counts_(counts) { counts_->AddConnections(1); }
  ~Ticket() { counts_->AddConnections(-1); }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

 private:
  Counts* const counts_;
};

// The sessions that there are, for the server's end.
struct Sessions {
  void Add(const ClientConnectionPtr& connection) {
    Prune(&connections);
    connections.push_back(connection);
  }
  void Add(const std::shared_ptr<RemoteCommand>& command) {
    Prune(&commands);
    commands.push_back(command);
  }

  std::vector<std::weak_ptr<ClientConnection>> connections;
  std::vector<std::weak_ptr<RemoteCommand>> commands;

 private:
  // Only when the vector would grow: so it costs nothing on average.
  template <typename T>
  static void Prune(std::vector<std::weak_ptr<T>>* all) {
    if (all->size() < all->capacity()) return;
    all->erase(std::remove_if(all->begin(), all->end(), [](const auto& w) { return w.expired(); }),
               all->end());
  }
};

// A connection until its upgrade.
class Front : public std::enable_shared_from_this<Front> {
 public:
  using Taken = std::function<std::optional<StreamRequest>(const std::string& token)>;

  Front(Tcp::socket socket, const StreamLoop& loop, Sessions* sessions, Counts* counts, Taken take,
        std::shared_ptr<Ticket> ticket)
      : stream_(std::move(socket)),
        loop_(loop),
        sessions_(sessions),
        counts_(counts),
        take_(std::move(take)),
        ticket_(std::move(ticket)) {}

  void ReadHead(std::chrono::milliseconds time) {
    parser_.header_limit(kMaxFrontHead);
    parser_.body_limit(0);
    stream_.expires_after(time);
    http::async_read_header(
        stream_, buffer_, parser_,
        [self = shared_from_this()](Error error, size_t) { self->OnHead(error); });
  }

  // Whether the request is still to come.
  bool half_open() const { return half_open_; }
  void GiveUp() { stream_.close(); }

  void Answer(const FrontAnswer& answer) {
    counts_->AddRefused(answer.status);
    output_ = EncodeFrontAnswer(answer);
    stream_.expires_after(kAnswerTime);
    asio::async_write(stream_, asio::buffer(output_),
                      [self = shared_from_this()](Error error, size_t) {
                        if (error) return;
                        (void)self->stream_.socket().shutdown(Tcp::socket::shutdown_send, error);
                        self->ReadRest();
                      });
  }

 private:
  // Closing with bytes unread would destroy the answer.
  void ReadRest() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(1024),
                            [self = shared_from_this()](Error error, size_t) {
                              if (!error) self->ReadRest();
                            });
  }

  void OnHead(Error error) {
    half_open_ = false;
    if (error == http::error::end_of_stream || error == beast::error::timeout) return;
    if (error == http::error::header_limit || error == http::error::buffer_overflow)
      return Answer({431, "the head of the request is too large"});
    if (error && error.category() == http::make_error_code(http::error::bad_method).category())
      return Answer({400, "malformed request"});
    if (error) return;
    FrontRequest front;
    FrontAnswer answer;
    if (!ReadFront(parser_.get(), &front, &answer)) return Answer(answer);
    std::optional<StreamRequest> request = take_(front.token);
    if (!request.has_value() || request->kind != front.kind)
      return Answer({404, "the token is unknown, was used, or is too old"});
    StreamProtocol protocol;
    if (!ChooseFrontProtocol(front, &protocol, &answer)) return Answer(answer);
    if (front.websocket) return UpgradeToWebSocket(*std::move(request), protocol);
    UpgradeToSpdy(*std::move(request), protocol);
  }

  void UpgradeToSpdy(StreamRequest request, const StreamProtocol& protocol) {
    output_ = EncodeSpdyUpgrade(protocol);
    stream_.expires_after(kAnswerTime);
    asio::async_write(
        stream_, asio::buffer(output_),
        [self = shared_from_this(), request = std::move(request), protocol](Error error, size_t) {
          if (error) return;
          const auto rest = self->buffer_.data();
          std::string early(static_cast<const char*>(rest.data()), rest.size());
          self->RunSpdy(NewTcpByteStream(self->stream_.release_socket()), std::move(early), request,
                        protocol);
        });
  }

  void RunSpdy(std::unique_ptr<ByteStream> bytes, std::string early, const StreamRequest& request,
               const StreamProtocol& protocol) {
    SpdySession::Options options;
    options.idle = loop_.idle;
    if (request.kind == StreamKind::kPortForward) {
      const auto pairs = std::make_shared<ForwardPairs>(loop_, request.id);
      return Keep(request.kind,
                  SpdySession::Start(loop_.io, std::move(bytes), std::move(early), options,
                                     [pairs](StreamPtr stream, const SpdyHeaders& headers) {
                                       return pairs->OnStream(std::move(stream), headers);
                                     }));
    }
    // The session is known only after its first stream may have come: from the loop.
    const auto session = std::make_shared<std::weak_ptr<SpdySession>>();
    const auto gathering = std::make_shared<CommandGathering>(
        loop_, request, protocol,
        [loop = loop_, sessions = sessions_, request, protocol, session](CommandStreams streams) {
          if (const auto connection = session->lock())
            sessions->Add(
                RemoteCommand::Run(loop, request, protocol, connection, std::move(streams)));
        });
    const auto started =
        SpdySession::Start(loop_.io, std::move(bytes), std::move(early), options,
                           [gathering](const StreamPtr& stream, const SpdyHeaders& headers) {
                             return gathering->OnStream(stream, headers);
                           });
    *session = started;
    gathering->Start([session] {
      if (const auto connection = session->lock()) connection->Close();
    });
    Keep(request.kind, started);
  }

  void UpgradeToWebSocket(StreamRequest request, const StreamProtocol& protocol) {
    const bool forward = request.kind == StreamKind::kPortForward && !protocol.tunnel;
    if (forward && request.ports.empty()) return Answer({400, "the request names no port"});
    if (buffer_.size() > 0) return Answer({400, "bytes before the handshake's answer"});
    WebSocket::Accept(stream_.release_socket(), parser_.get(), protocol.name,
                      [self = shared_from_this(), request = std::move(request),
                       protocol](std::shared_ptr<WebSocket> socket) {
                        if (socket != nullptr)
                          self->RunWebSocket(std::move(socket), request, protocol);
                      });
  }

  void RunWebSocket(std::shared_ptr<WebSocket> socket, const StreamRequest& request,
                    const StreamProtocol& protocol) {
    if (protocol.tunnel)
      return RunSpdy(NewWebSocketByteStream(std::move(socket)), "", request, protocol);
    const auto connection =
        std::make_shared<ChannelConnection>(loop_.io, std::move(socket), protocol, loop_.idle);
    Keep(request.kind, connection);
    if (request.kind == StreamKind::kPortForward) {
      ForwardChannels(loop_, request, connection);
      return connection->Start();
    }
    CommandStreams streams;
    streams.error = connection->Open(3);
    if (request.in) streams.in = connection->Open(0);
    if (request.out) streams.out = connection->Open(1);
    if (request.err && !request.tty) streams.err = connection->Open(2);
    if (request.tty) streams.resize = connection->Open(4);
    connection->SendEmpty(streams.out != nullptr ? 1 : streams.err != nullptr ? 2 : 3);
    sessions_->Add(RemoteCommand::Run(loop_, request, protocol, connection, std::move(streams)));
    connection->Start();
  }

  void Keep(StreamKind kind, const ClientConnectionPtr& connection) {
    counts_->AddSession(kind);
    connection->Hold(ticket_);
    sessions_->Add(connection);
  }

  beast::tcp_stream stream_;
  const StreamLoop loop_;
  Sessions* const sessions_;
  Counts* const counts_;
  const Taken take_;
  const std::shared_ptr<Ticket> ticket_;
  beast::flat_buffer buffer_{kMaxFrontHead + 1024};
  http::request_parser<http::empty_body> parser_;
  std::string output_;
  bool half_open_ = true;
};

// Connections whose request is still to come, the oldest first. Those who say nothing must not keep out
// those who do: beyond the bound the oldest goes.
class HalfOpen {
 public:
  explicit HalfOpen(size_t bound) : bound_(bound) {}

  void Add(const std::shared_ptr<Front>& front) {
    fronts_.push_back(front);
    if (fronts_.size() <= bound_) return;
    fronts_.erase(std::remove_if(fronts_.begin(), fronts_.end(),
                                 [](const auto& weak) {
                                   const auto front = weak.lock();
                                   return front == nullptr || !front->half_open();
                                 }),
                  fronts_.end());
    while (fronts_.size() > bound_) {
      if (const auto oldest = fronts_.front().lock()) oldest->GiveUp();
      fronts_.pop_front();
    }
  }

 private:
  const size_t bound_;
  std::deque<std::weak_ptr<Front>> fronts_;
};

}  // namespace

class StreamingServer::Impl {
 public:
  Impl(const StreamingServerOptions& options, StreamBackend* backend)
      : options_(options),
        half_open_(options.max_half_open),
        io_(std::make_unique<asio::io_context>(1)),
        pool_(BlockingPoolOptions{}) {
    loop_.io = io_.get();
    loop_.pool = &pool_;
    loop_.backend = backend;
    loop_.idle = options.idle;
    loop_.patience = options.patience;
  }
  ~Impl() { Stop(); }  // NOLINT(bugprone-exception-escape): asio throws without memory only

  absl::Status Start() {
    ASSIGN_OR_RETURN(listener_,
                     Listener::Open(io_.get(), options_.address, kBacklog,
                                    [this](Tcp::socket socket) { Accept(std::move(socket)); }));
    address_ = listener_->address();
    RunThread();
    return absl::OkStatus();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    asio::post(*io_, [this] {
      listener_.reset();
      for (const auto& weak : sessions_.commands) {
        if (const auto command = weak.lock())
          command->Fail(absl::UnavailableError("berthd is being stopped"));
      }
      for (const auto& weak : sessions_.connections) {
        if (const auto connection = weak.lock()) connection->Close();
      }
    });
    counts_.WaitForNone(absl::Now() + kStopTime);
    pool_.WaitIdle(absl::Now() + kStopTime);
    asio::post(*io_, [this] {
      for (const auto& weak : sessions_.connections) {
        if (const auto connection = weak.lock()) connection->Abort();
      }
    });
    asio::post(*io_, [this] { io_->stop(); });
    thread_.join();
    io_->restart();
    io_->poll();  // the callbacks of what was aborted
    listener_.reset();
  }

  absl::StatusOr<std::string> UrlOf(const StreamRequest& request) {
    const char* kind = KindName(request.kind);
    ASSIGN_OR_RETURN(const std::string token, tokens_.Issue(request));
    return absl::StrCat("http://", address_, "/", kind, "/", token);
  }

  const std::string& address() const { return address_; }
  const Counts& counts() const { return counts_; }

 private:
  // Signals are the main thread's business.
  void RunThread() {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread_ = std::thread([io = io_.get()] {
      pthread_setname_np(pthread_self(), "streaming");
      // Without this the loop would end when the listener has gone.
      const auto work = asio::make_work_guard(*io);
      io->run();
    });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  void Accept(Tcp::socket socket) {
    Error ignored;
    const int count = counts_.connections();
    if (count >= options_.max_connections + kBusyAnswers) return;
    (void)socket.set_option(Tcp::no_delay(true), ignored);
    (void)socket.set_option(asio::socket_base::keep_alive(true), ignored);
    const auto front = std::make_shared<Front>(
        std::move(socket), loop_, &sessions_, &counts_,
        [this](const std::string& token) { return tokens_.Take(token); },
        std::make_shared<Ticket>(&counts_));
    if (count >= options_.max_connections)
      return front->Answer({503, "too many connections", {{"Retry-After", "10"}}});
    half_open_.Add(front);
    front->ReadHead(options_.head_time);
  }

  const StreamingServerOptions options_;
  Counts counts_;
  Tokens<StreamRequest> tokens_;
  Sessions sessions_;  // on the loop's thread
  HalfOpen half_open_;
  std::string address_;
  StreamLoop loop_;
  std::unique_ptr<asio::io_context> io_;
  std::unique_ptr<Listener> listener_;
  BlockingPool pool_;  // what runs there posts to the loop
  std::thread thread_;
};

StreamingServer::StreamingServer(const StreamingServerOptions& options, StreamBackend* backend)
    : impl_(std::make_unique<Impl>(options, backend)) {}
StreamingServer::~StreamingServer() = default;

absl::Status StreamingServer::Start() { return impl_->Start(); }
void StreamingServer::Stop() { impl_->Stop(); }
absl::StatusOr<std::string> StreamingServer::UrlOf(const StreamRequest& request) {
  return impl_->UrlOf(request);
}
std::string StreamingServer::address() const { return impl_->address(); }
StreamCounts StreamingServer::counts() const { return impl_->counts().Get(); }
int StreamingServer::connections() const { return impl_->counts().connections(); }

}  // namespace berth
