#include "server/streaming/port_forward.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "server/streaming/command_gathering.h"

namespace berth {
namespace {

using Error = boost::system::error_code;
using Tcp = boost::asio::ip::tcp;
namespace ip = boost::asio::ip;

constexpr size_t kMaxWaiting = 1000;

}  // namespace

// ---- one connection ----

Forward::Forward(const StreamLoop& loop, const std::string& pod, int port, StreamPtr data,
                 StreamPtr error, std::function<void()> on_end)
    : loop_(loop),
      pod_(pod),
      port_(port),
      data_(std::move(data)),
      error_(std::move(error)),
      on_end_(std::move(on_end)),
      socket_(*loop.io),
      deadline_(*loop.io) {}

std::shared_ptr<Forward> Forward::Start(const StreamLoop& loop, const std::string& pod, int port,
                                        StreamPtr data, StreamPtr error,
                                        std::function<void()> on_end) {
  std::shared_ptr<Forward> forward(
      new Forward(loop, pod, port, std::move(data), std::move(error), std::move(on_end)));
  forward->data_->SetOnDead([weak = std::weak_ptr<Forward>(forward)] {
    if (const auto self = weak.lock()) self->Stop();
  });
  forward->data_->SetOnStalled([weak = std::weak_ptr<Forward>(forward)] {
    if (const auto self = weak.lock()) self->OnStalled();
  });
  Discard(forward->error_);  // which clients close at once
  forward->Connect(false);
  return forward;
}

void Forward::Connect(bool v6) {
  StreamBackend* const backend = loop_.backend;
  loop_.Do([backend, pod = pod_, v6] { return backend->PodSocket(pod, v6 ? AF_INET6 : AF_INET); },
           [self = shared_from_this(), v6](absl::StatusOr<UniqueFd> socket) {
             self->OnSocket(std::move(socket), v6);
           });
}

void Forward::OnSocket(absl::StatusOr<UniqueFd> socket, bool v6) {
  if (stopped_) return;
  if (!socket.ok()) return OnConnected(v6, socket.status());
  Error error;
  (void)socket_.close(error);
  (void)socket_.assign(v6 ? Tcp::v6() : Tcp::v4(), socket->get(), error);
  if (error) return OnConnected(v6, absl::InternalError(error.message()));
  socket->release();
  const auto self = shared_from_this();
  deadline_.expires_after(loop_.patience);
  deadline_.async_wait([self](Error failed) {
    Error ignored;
    if (!failed) (void)self->socket_.close(ignored);
  });
  const ip::address localhost =
      v6 ? ip::address(ip::address_v6::loopback()) : ip::address(ip::address_v4::loopback());
  socket_.async_connect(
      Tcp::endpoint(localhost, static_cast<uint16_t>(port_)), [self, v6](Error failed) {
        self->deadline_.cancel();
        const std::string why =
            failed == boost::asio::error::operation_aborted ? "timed out" : failed.message();
        self->OnConnected(v6, failed ? absl::UnavailableError(why) : absl::OkStatus());
      });
}

void Forward::OnConnected(bool v6, const absl::Status& status) {
  if (stopped_) return;
  refused_[v6 ? 1 : 0] = status;
  if (status.ok()) return Copy();
  if (!v6) return Connect(true);
  Refuse();
}

void Forward::Refuse() {
  EndWith(absl::StrCat("connect to localhost:", port_, " in the pod's network namespace: IPv4: ",
                       refused_[0].message(), "; IPv6: ", refused_[1].message()));
}

// Clients without flow control send everything through one pipe: what one connection doesn't take stops
// the others.
void Forward::OnStalled() {
  if (stopped_ || in_ == nullptr ||
      std::chrono::steady_clock::now() - in_->moved() < loop_.patience)
    return;
  EndWith(absl::StrCat("the pod has read nothing for ",
                       absl::FormatDuration(absl::FromChrono(loop_.patience)),
                       ", and other connections wait behind what was sent to it"));
}

void Forward::EndWith(const std::string& why) {
  if (!message_.empty()) return;
  message_ = absl::StrCat("error forwarding port ", port_, " to pod ", pod_, ", uid : ", why);
  error_->Write(message_, [self = shared_from_this()](bool) {
    self->error_->Finish();
    self->data_->Reset();
    self->Stop();
  });
}

void Forward::Copy() {
  const auto self = shared_from_this();
  Error ignored;
  (void)socket_.set_option(Tcp::no_delay(true), ignored);
  UniqueFd writer(fcntl(socket_.native_handle(), F_DUPFD_CLOEXEC, 3));
  UniqueFd reader(fcntl(socket_.native_handle(), F_DUPFD_CLOEXEC, 3));
  if (!writer.valid() || !reader.valid()) {
    refused_[0] = refused_[1] = ErrnoStatus("fcntl F_DUPFD_CLOEXEC");
    return Refuse();
  }
  (void)socket_.close(ignored);
  out_open_ = in_open_ = true;
  out_ = OutPump::Start(loop_.io, std::move(reader), data_, [self](bool gone) {
    self->out_open_ = false;
    // A connection that the pod broke off has no orderly end for the client either.
    if (gone || self->out_->error() != 0) {
      self->data_->Reset();
      return self->Stop();
    }
    self->data_->Finish();
    // Else the client would wait for an answer for ever.
    if (!self->data_->CanFinish()) return self->Stop();
    self->EndIfDone();
  });
  in_ = InPump::Start(loop_.io, data_, std::move(writer), InPump::AtEnd::kShutdown, [self] {
    self->in_open_ = false;
    self->EndIfDone();
  });
}

void Forward::EndIfDone() {
  if (!out_open_ && !in_open_) Stop();
}

void Forward::Stop() {
  if (stopped_) return;
  stopped_ = true;
  Error ignored;
  (void)socket_.close(ignored);
  deadline_.cancel();
  if (out_ != nullptr) out_->Stop();
  if (in_ != nullptr) in_->Stop();
  data_->SetOnDead(nullptr);
  data_->SetOnStalled(nullptr);
  error_->Finish();
  if (on_end_) on_end_();
  on_end_ = nullptr;
}

// ---- pairs of SPDY streams ----

bool ForwardPairs::OnStream(StreamPtr stream, const SpdyHeaders& headers) {
  const std::string type = FindSpdyHeader(headers, "streamtype");
  int port = 0;
  if (!absl::SimpleAtoi(FindSpdyHeader(headers, "port"), &port) || port < 1 || port > 65535)
    return false;
  std::string id = FindSpdyHeader(headers, "requestid");
  if (id.size() > 256 || (type != "data" && type != "error")) return false;
  // Old clients send none and open the data stream next after the error stream, one pair at a time.
  if (id.empty()) id = absl::StrCat("\n", port);
  // A client may reset a half and open the next: the bound of streams isn't one of pairs.
  if (pairs_.size() >= kMaxWaiting && !pairs_.contains(id)) return false;
  Pair& pair = pairs_[id];
  StreamPtr& half = type == "data" ? pair.data : pair.error;
  if (half != nullptr || (pair.port != 0 && pair.port != port)) return false;
  half = std::move(stream);
  pair.port = port;
  if (pair.data != nullptr && pair.error != nullptr) {
    Forward::Start(loop_, pod_, port, std::move(pair.data), std::move(pair.error), nullptr);
    pairs_.erase(id);
    return true;
  }
  if (pair.timer == nullptr) {
    pair.timer = std::make_unique<boost::asio::steady_timer>(*loop_.io);
    pair.timer->expires_after(loop_.patience);
    pair.timer->async_wait([weak = weak_from_this(), id](Error error) {
      const auto self = weak.lock();
      if (!error && self != nullptr) self->Expire(id);
    });
  }
  return true;
}

void ForwardPairs::Expire(const std::string& id) {
  const auto found = pairs_.find(id);
  if (found == pairs_.end()) return;
  const Pair pair = std::move(found->second);
  pairs_.erase(found);
  if (pair.data != nullptr) pair.data->Reset();
  if (pair.error == nullptr) return;
  const auto text = std::make_shared<std::string>(
      absl::StrCat("error forwarding port ", pair.port, " to pod ", pod_,
                   ", uid : the data stream did not come in time"));
  pair.error->Write(*text, [text, error = pair.error](bool) {
    error->Finish();
    error->Reset();
  });
}

// ---- channels of a WebSocket ----

void ForwardChannels(const StreamLoop& loop, const StreamRequest& request,
                     const std::shared_ptr<ChannelConnection>& connection) {
  struct Port {
    StreamPtr data, error;
    std::string number;  // little-endian
  };
  const auto left = std::make_shared<size_t>(request.ports.size());
  for (size_t i = 0; i < request.ports.size(); ++i) {
    const int port = request.ports[i];
    auto p = std::make_shared<Port>();
    p->data = connection->Open(static_cast<int>(2 * i));
    p->error = connection->Open(static_cast<int>(2 * i + 1));
    p->number = {static_cast<char>(port & 0xff), static_cast<char>(port >> 8)};
    p->error->Write(p->number, [p](bool) {});
    p->data->Write(p->number, [p, loop, port, pod = request.id, left, connection](bool ok) {
      if (!ok) return;
      Forward::Start(loop, pod, port, p->data, p->error, [left, connection] {
        if (--*left == 0) connection->Close();
      });
    });
  }
}

}  // namespace berth
