#include "server/streaming/channel_connection.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "server/streaming/inbox.h"

namespace berth {
namespace {

using Error = boost::system::error_code;

constexpr size_t kMaxUnread = 1 << 20;
constexpr auto kFullCheck = std::chrono::milliseconds(250);
constexpr auto kGoodbye = std::chrono::seconds(5);

}  // namespace

class ChannelConnection::Channel : public Stream {
 public:
  Channel(ChannelConnection* owner, int channel)
      : connection(owner), number(channel), inbox(owner->io_) {
    inbox.SetOnTaken([this](size_t bytes) {
      if (connection != nullptr) connection->unread_ -= bytes;
      if (connection != nullptr) connection->ReadMore();
    });
  }
  ~Channel() override { inbox.Drop(); }

  void Read(ReadDone done) override { inbox.Read(std::move(done)); }
  void Write(absl::string_view bytes, WriteDone done) override {
    if (connection == nullptr || bytes.empty()) {
      const bool ok = connection != nullptr;
      return boost::asio::post(*inbox.io(), [done = std::move(done), ok] { done(ok); });
    }
    connection->Send(number, bytes, std::move(done));
  }
  void Finish() override {}
  bool CanFinish() const override { return false; }
  void Reset() override {
    if (connection != nullptr) connection->Drop(*this);
  }
  void SetOnDead(std::function<void()> callback) override {
    if (connection != nullptr || !callback) {
      on_dead = std::move(callback);
    } else {
      boost::asio::post(*inbox.io(), std::move(callback));
    }
  }

  void SetOnStalled(std::function<void()> callback) override {
    if (connection != nullptr || !callback) on_stalled = std::move(callback);
  }

  void Die() {
    connection = nullptr;
    inbox.End();
    if (on_dead) boost::asio::post(*inbox.io(), std::move(on_dead));
    on_dead = on_stalled = nullptr;
  }

  ChannelConnection* connection;
  const int number;
  Inbox inbox;
  std::function<void()> on_dead;
  std::function<void()> on_stalled;
};

ChannelConnection::ChannelConnection(boost::asio::io_context* io, std::shared_ptr<WebSocket> socket,
                                     const StreamProtocol& protocol, std::chrono::milliseconds idle)
    : io_(io),
      socket_(std::move(socket)),
      protocol_(protocol),
      idle_(idle),
      reader_(this, protocol.base64, protocol.half_close()),
      active_(std::chrono::steady_clock::now()),
      idle_timer_(*io),
      full_timer_(*io) {}

ChannelConnection::~ChannelConnection() {
  for (auto& [number, channel] : channels_) channel->Die();
}

StreamPtr ChannelConnection::Open(int channel) {
  auto& stream = channels_[channel];
  if (stream == nullptr) stream = std::make_shared<Channel>(this, channel);
  return stream;
}

void ChannelConnection::Start() {
  WatchIdle();
  boost::asio::post(*io_, [self = shared_from_this()] { self->ReadMore(); });
}

void ChannelConnection::SetOnClosed(std::function<void()> on_closed) {
  if (ended_ && on_closed) {
    boost::asio::post(*io_, std::move(on_closed));
  } else {
    on_closed_ = std::move(on_closed);
  }
}

// ---- reading ----

void ChannelConnection::OnChannelData(int channel, absl::string_view bytes) {
  const auto found = channels_.find(channel);
  if (closing_ || found == channels_.end() || found->second->inbox.ended()) return;
  unread_ += bytes.size();
  found->second->inbox.Add(bytes);
}

void ChannelConnection::OnChannelClosed(int channel) {
  const auto found = channels_.find(channel);
  if (found != channels_.end()) found->second->inbox.End();
}

void ChannelConnection::ReadMore() {
  if (ended_ || reading_) return;
  if (!closing_ && unread_ > kMaxUnread) return WaitWhileFull();
  reading_ = true;
  socket_->Read([self = shared_from_this()](bool ok, absl::string_view piece, bool last) {
    self->active_ = std::chrono::steady_clock::now();
    if (self->ended_) return;
    // Still "reading": what takes the bytes must not start another read below this one.
    const bool good = ok && self->reader_.Read(piece, last).ok();
    self->reading_ = false;
    if (!good && !self->saying_goodbye_) return self->End();
    if (good) self->ReadMore();
  });
}

void ChannelConnection::WaitWhileFull() {
  if (waiting_while_full_) return;
  waiting_while_full_ = true;
  full_timer_.expires_after(kFullCheck);
  full_timer_.async_wait([self = shared_from_this()](Error error) {
    self->waiting_while_full_ = false;
    if (error || self->ended_ || self->closing_) return;
    if (self->socket_->PeerGone()) return self->End();
    if (self->unread_ > kMaxUnread) self->TellStalled();
    self->ReadMore();
  });
}

void ChannelConnection::TellStalled() {
  int watched = 0;
  for (auto& [number, channel] : channels_) watched += channel->on_stalled ? 1 : 0;
  if (watched < 2) return;
  for (auto& [number, channel] : channels_) {
    const auto tell = channel->on_stalled;  // which it may replace
    if (tell && channel->inbox.size() > 0) tell();
  }
}

void ChannelConnection::Drop(Channel& channel) {
  unread_ -= channel.inbox.size();
  channel.inbox.Clear();
  channel.inbox.End();
  boost::asio::post(*io_, [self = shared_from_this()] { self->ReadMore(); });
}

// ---- writing ----

void ChannelConnection::Send(int channel, absl::string_view bytes, Stream::WriteDone done) {
  if (protocol_.base64) {
    outgoing_.push_back({ChannelText(channel, bytes), {}, std::move(done)});
  } else {
    outgoing_.push_back({ChannelHead(channel, false), bytes, std::move(done)});
  }
  Flush();
}

void ChannelConnection::SendEmpty(int channel) { Send(channel, "", nullptr); }

void ChannelConnection::Flush() {
  if (writing_ || saying_goodbye_ || ended_) return;
  if (outgoing_.empty()) {
    if (!closing_) return;
    saying_goodbye_ = true;
    full_timer_.expires_after(kGoodbye);
    full_timer_.async_wait([weak = weak_from_this()](Error error) {
      const auto self = weak.lock();
      if (!error && self != nullptr) self->End();
    });
    return socket_->Close([self = shared_from_this()] { self->End(); });
  }
  writing_ = true;
  const Outgoing& item = outgoing_.front();
  std::vector<boost::asio::const_buffer> buffers = {{item.head.data(), item.head.size()}};
  if (!item.body.empty()) buffers.emplace_back(item.body.data(), item.body.size());
  socket_->Write(protocol_.base64, std::move(buffers), [self = shared_from_this()](bool ok) {
    self->active_ = std::chrono::steady_clock::now();
    self->writing_ = false;
    Stream::WriteDone done;
    if (!self->outgoing_.empty()) {
      done = std::move(self->outgoing_.front().done);
      self->outgoing_.pop_front();
    }
    if (done) done(ok);
    if (!ok) return self->End();
    self->Flush();
  });
}

// ---- ends ----

void ChannelConnection::Close() {
  if (ended_ || closing_) return;
  closing_ = true;
  Flush();
}

void ChannelConnection::Abort() { End(); }

void ChannelConnection::End() {
  if (ended_) return;
  ended_ = true;
  const auto self = shared_from_this();
  socket_->Abort();
  idle_timer_.cancel();
  full_timer_.cancel();
  // First of what follows: an exec's process is to end as its client's, not by the end of its input.
  if (on_closed_) boost::asio::post(*io_, std::move(on_closed_));
  on_closed_ = nullptr;
  for (auto& [number, channel] : channels_) channel->Die();
  // The one that is being written is answered by its own callback.
  for (size_t i = writing_ ? 1 : 0; i < outgoing_.size(); ++i) {
    if (outgoing_[i].done)
      boost::asio::post(*io_, [done = std::move(outgoing_[i].done)] { done(false); });
  }
  outgoing_.resize(writing_ ? 1 : 0);
}

void ChannelConnection::WatchIdle() {
  idle_timer_.expires_at(active_ + idle_);
  idle_timer_.async_wait([weak = weak_from_this()](Error error) {
    const auto self = weak.lock();
    if (error || self == nullptr || self->ended_) return;
    if (std::chrono::steady_clock::now() - self->active_ < self->idle_) return self->WatchIdle();
    self->Close();
    self->idle_timer_.expires_after(kGoodbye);
    self->idle_timer_.async_wait([weak](Error failed) {
      const auto again = weak.lock();
      if (!failed && again != nullptr) again->End();
    });
  });
}

}  // namespace berth
