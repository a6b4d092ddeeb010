#include "server/streaming/spdy_session.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>
#include <vector>

#include "server/streaming/inbox.h"

namespace berth {
namespace {

using Error = boost::system::error_code;

constexpr size_t kMaxUnread = 1 << 20;
// A client that makes us answer and doesn't read the answers is not listened to any more.
constexpr size_t kMaxOutgoingControl = 256 << 10;
constexpr uint64_t kCreditStep = kSpdyInitialWindow / 2;
constexpr size_t kMaxFrame = 1 << 20;
constexpr size_t kMaxGather = 32;
// For the client to close after our goodbye.
constexpr auto kLinger = std::chrono::seconds(5);
constexpr auto kFullCheck = std::chrono::milliseconds(250);

}  // namespace

class SpdySession::SessionStream : public Stream {
 public:
  SessionStream(SpdySession* owner, uint32_t number)
      : session(owner), id(number), inbox(owner->io_), window(owner->initial_window_) {
    inbox.SetOnTaken([this](size_t bytes) {
      if (session != nullptr) session->Taken(*this, bytes);
    });
  }
  ~SessionStream() override { inbox.Drop(); }

  void Read(ReadDone done) override { inbox.Read(std::move(done)); }

  void Write(absl::string_view bytes, WriteDone done) override {
    if (session == nullptr || finished || bytes.empty()) {
      const bool ok = session != nullptr && !finished;
      boost::asio::post(*io(), [done = std::move(done), ok] { done(ok); });
      return;
    }
    pending = bytes;
    pending_done = std::move(done);
    session->SendPending(*this);
  }

  void Finish() override {
    if (session == nullptr || finished) return;
    finished = true;
    session->Send(SpdyWriter::DataHead(id, 0, true));
    session->ForgetIfDone(*this);
  }

  void Reset() override {
    if (session == nullptr) return;
    session->Send(SpdyWriter::Reset(id, SpdyReset::kCancel));
    session->Forget(*this);
  }

  void SetOnDead(std::function<void()> callback) override {
    if (session != nullptr || !callback) {
      on_dead = std::move(callback);
    } else {
      boost::asio::post(*io(), std::move(callback));
    }
  }

  void SetOnStalled(std::function<void()> callback) override {
    if (session != nullptr || !callback) on_stalled = std::move(callback);
  }

  // The stream is dead: readers hear its end, a writer that it failed. What wasn't read is counted no
  // more, so it isn't kept either.
  void Die() {
    session = nullptr;
    inbox.Clear();
    inbox.End();
    if (on_dead) boost::asio::post(*io(), std::move(on_dead));
    on_dead = on_stalled = nullptr;
    if (!pending_done) return;
    boost::asio::post(*io(), [done = std::move(pending_done)] { done(false); });
    pending_done = nullptr;
    pending = {};
  }

  boost::asio::io_context* io() const { return inbox.io(); }

  SpdySession* session;  // null once the stream is forgotten
  const uint32_t id;
  Inbox inbox;
  int64_t window;
  uint64_t owed = 0;  // what the stream's window is to be opened by
  bool finished = false;
  absl::string_view pending;
  WriteDone pending_done;
  std::function<void()> on_dead;
  std::function<void()> on_stalled;
};

std::shared_ptr<SpdySession> SpdySession::Start(boost::asio::io_context* io,
                                                std::unique_ptr<ByteStream> bytes,
                                                std::string early, const Options& options,
                                                OnStream on_stream) {
  std::shared_ptr<SpdySession> session(
      new SpdySession(io, std::move(bytes), options, std::move(on_stream)));
  session->WatchIdle();
  boost::asio::post(*io, [session, early = std::move(early)] {
    session->reading_ = true;
    session->OnBytes(true, early);
  });
  return session;
}

SpdySession::SpdySession(boost::asio::io_context* io, std::unique_ptr<ByteStream> bytes,
                         const Options& options, OnStream on_stream)
    : io_(io),
      bytes_(std::move(bytes)),
      options_(options),
      on_stream_(std::move(on_stream)),
      reader_(this),
      active_(std::chrono::steady_clock::now()),
      idle_timer_(*io),
      full_timer_(*io) {}

SpdySession::~SpdySession() {
  for (auto& [id, stream] : streams_) stream->Die();
}

void SpdySession::SetOnClosed(std::function<void()> on_closed) {
  if (ended_ && on_closed) {
    boost::asio::post(*io_, std::move(on_closed));
  } else {
    on_closed_ = std::move(on_closed);
  }
}

// ---- reading ----

bool SpdySession::Full() const {
  return unread_ > kMaxUnread || outgoing_control_ > kMaxOutgoingControl;
}

void SpdySession::ReadMore() {
  if (ended_ || reading_) return;
  if (!closing_ && Full()) return WaitWhileFull();
  reading_ = true;
  bytes_->Read(
      [self = shared_from_this()](bool ok, absl::string_view bytes) { self->OnBytes(ok, bytes); });
}

void SpdySession::OnBytes(bool ok, absl::string_view bytes) {
  reading_ = false;
  if (ended_) return;
  if (!ok) return End();
  active_ = std::chrono::steady_clock::now();
  if (!closing_ && !reader_.Read(bytes).ok()) Fail(SpdyGoAway::kProtocolError);
  ReadMore();
}

// Nobody reads, so nobody would hear that the client has gone; nor does a read keep the session.
void SpdySession::WaitWhileFull() {
  if (waiting_while_full_) return;
  waiting_while_full_ = true;
  full_timer_.expires_after(kFullCheck);
  full_timer_.async_wait([self = shared_from_this()](Error error) {
    self->waiting_while_full_ = false;
    if (error || self->ended_) return;
    if (self->bytes_->PeerGone()) return self->End();
    if (self->Full()) self->TellStalled();
    self->ReadMore();
  });
}

void SpdySession::TellStalled() {
  std::vector<std::shared_ptr<SessionStream>> watched;
  for (auto& [id, stream] : streams_) {
    if (stream->on_stalled) watched.push_back(stream);
  }
  if (watched.size() < 2) return;
  for (auto& stream : watched) {
    const auto tell = stream->on_stalled;  // which it may replace, or one before may have dropped
    if (tell && stream->inbox.size() > 0) tell();
  }
}

void SpdySession::Taken(SessionStream& stream, size_t bytes) {
  const std::shared_ptr<SessionStream> kept = Find(stream.id);
  const bool was_full = Full();
  unread_ -= bytes;
  if (!stream.inbox.ended()) Credit(stream.id, bytes, &stream.owed);
  ForgetIfDone(stream);
  if (was_full && !Full()) {
    // From the loop, as a read may be about to be asked for.
    boost::asio::post(*io_, [self = shared_from_this()] { self->ReadMore(); });
  }
}

void SpdySession::Credit(uint32_t stream, size_t bytes, uint64_t* owed) {
  *owed += bytes;
  if (*owed < kCreditStep) return;
  Send(SpdyWriter::WindowUpdate(stream, static_cast<uint32_t>(*owed)));
  *owed = 0;
}

// ---- what the client says ----

void SpdySession::OnSynStream(uint32_t id, bool fin, const SpdyHeaders& headers) {
  if (id % 2 == 0 || id <= last_stream_) return Fail(SpdyGoAway::kProtocolError);
  last_stream_ = id;
  if (closing_ || streams_.size() >= options_.max_streams)
    return Send(SpdyWriter::Reset(id, SpdyReset::kRefusedStream));
  auto stream = std::make_shared<SessionStream>(this, id);
  streams_[id] = stream;
  // The answer goes first: what the taker writes has to come after it.
  Send(writer_.SynReply(id, false, {}));
  if (fin) stream->inbox.End();
  const OnStream take = on_stream_;  // which an end within it would drop
  if (!take || !take(stream, headers)) {
    if (stream->session == nullptr) return;
    Send(SpdyWriter::Reset(id, SpdyReset::kRefusedStream));
    Forget(*stream);
  }
}

void SpdySession::OnHeaders(uint32_t id, bool fin, const SpdyHeaders& headers) {
  const auto stream = Find(id);
  if (stream == nullptr || !fin) return;
  stream->inbox.End();
  ForgetIfDone(*stream);
}

void SpdySession::OnReset(uint32_t id, uint32_t status) {
  if (const auto stream = Find(id)) Forget(*stream);
}

void SpdySession::OnInitialWindow(uint32_t bytes) {
  windows_ = true;
  const int64_t change = int64_t{bytes} - initial_window_;
  initial_window_ = bytes;
  for (auto& [id, stream] : streams_) stream->window += change;
  SendAllPending();
}

void SpdySession::OnPing(uint32_t id) {
  if (id % 2 == 1) Send(SpdyWriter::Ping(id));
}

// The client opens no more streams; those that there are go on.
void SpdySession::OnGoAway(uint32_t status) {
  if (streams_.empty()) Close();
}

void SpdySession::OnWindowUpdate(uint32_t id, uint32_t delta) {
  windows_ = true;
  const auto stream = Find(id);
  if (id != 0 && stream == nullptr) return;
  int64_t& window = id == 0 ? window_ : stream->window;
  const bool was_closed = window <= 0;
  window += delta;
  if (window > int64_t{kSpdyMaxStream}) {
    if (id == 0) return Fail(SpdyGoAway::kProtocolError);
    Send(SpdyWriter::Reset(id, SpdyReset::kFlowControlError));
    return Forget(*stream);
  }
  if (id != 0) return SendPending(*stream);
  if (was_closed) SendAllPending();  // else nothing waits for it
}

void SpdySession::OnData(uint32_t id, absl::string_view bytes, bool fin) {
  Credit(0, bytes.size(), &owed_);
  const auto stream = Find(id);
  if (stream == nullptr || stream->inbox.ended()) {
    if (id > last_stream_) return Fail(SpdyGoAway::kProtocolError);
    return;  // on its way when the stream was reset
  }
  if (!bytes.empty()) {
    unread_ += bytes.size();
    stream->inbox.Add(bytes);
  }
  if (!fin) return;
  stream->inbox.End();
  ForgetIfDone(*stream);
}

// ---- writing ----

void SpdySession::Send(std::string frame, absl::string_view body, Stream::WriteDone done) {
  if (ended_) {
    if (done) boost::asio::post(*io_, [done = std::move(done)] { done(false); });
    return;
  }
  if (body.empty()) outgoing_control_ += frame.size();
  outgoing_.push_back({std::move(frame), body, std::move(done)});
  Flush();
}

void SpdySession::SendPending(SessionStream& stream) {
  while (!stream.pending.empty()) {
    size_t size = std::min(stream.pending.size(), kMaxFrame);
    if (windows_) {
      const int64_t window = std::min(stream.window, window_);
      if (window <= 0) return;
      size = std::min(size, static_cast<size_t>(window));
    }
    stream.window -= static_cast<int64_t>(size);
    window_ -= static_cast<int64_t>(size);
    const absl::string_view body = stream.pending.substr(0, size);
    stream.pending.remove_prefix(size);
    std::string head = SpdyWriter::DataHead(stream.id, size, false);
    if (stream.pending.empty()) {
      Send(std::move(head), body, std::move(stream.pending_done));
    } else {
      // A copy: if the stream dies before the rest, its writer's buffer may go.
      head.append(body.data(), body.size());
      Send(std::move(head));
    }
  }
}

void SpdySession::SendAllPending() {
  std::vector<std::shared_ptr<SessionStream>> all;
  all.reserve(streams_.size());
  for (auto& [id, stream] : streams_) all.push_back(stream);
  for (auto& stream : all) SendPending(*stream);
}

void SpdySession::Flush() {
  if (!writing_.empty() || lingering_ || ended_) return;
  if (outgoing_.empty()) {
    if (closing_) Linger();
    return;
  }
  std::vector<boost::asio::const_buffer> buffers;
  while (!outgoing_.empty() && writing_.size() < kMaxGather) {
    writing_.push_back(std::move(outgoing_.front()));
    outgoing_.pop_front();
    Outgoing& item = writing_.back();
    if (item.body.empty()) outgoing_control_ -= item.head.size();
  }
  for (const Outgoing& item : writing_) {
    buffers.emplace_back(item.head.data(), item.head.size());
    if (!item.body.empty()) buffers.emplace_back(item.body.data(), item.body.size());
  }
  bytes_->Write(std::move(buffers), [self = shared_from_this()](bool ok) { self->OnWritten(ok); });
}

void SpdySession::OnWritten(bool ok) {
  active_ = std::chrono::steady_clock::now();
  std::deque<Outgoing> written;
  written.swap(writing_);
  for (Outgoing& item : written) {
    if (item.done) item.done(ok);
  }
  if (!ok) return End();
  Flush();
  ReadMore();
}

// ---- ends ----

std::shared_ptr<SpdySession::SessionStream> SpdySession::Find(uint32_t id) const {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

void SpdySession::Forget(SessionStream& stream) {
  const std::shared_ptr<SessionStream> kept = Find(stream.id);
  streams_.erase(stream.id);
  const bool was_full = Full();
  unread_ -= stream.inbox.size();
  stream.Die();
  if (was_full && !Full()) {
    boost::asio::post(*io_, [self = shared_from_this()] { self->ReadMore(); });
  }
}

// Both sides are closed, and all has been read: until then the stream's user hears if the client resets it.
void SpdySession::ForgetIfDone(SessionStream& stream) {
  if (stream.session == nullptr || !stream.finished || !stream.inbox.done()) return;
  Forget(stream);
}

void SpdySession::Fail(SpdyGoAway status) {
  if (ended_ || closing_) return;
  Send(SpdyWriter::GoAway(last_stream_, status));
  closing_ = true;
  std::vector<std::shared_ptr<SessionStream>> all;
  all.reserve(streams_.size());
  for (auto& [id, stream] : streams_) all.push_back(stream);
  for (auto& stream : all) Forget(*stream);
  Flush();
}

void SpdySession::Close() {
  if (ended_ || closing_) return;
  Send(SpdyWriter::GoAway(last_stream_, SpdyGoAway::kOk));
  closing_ = true;
  Flush();
  if (!reading_) ReadMore();
}

// The goodbye is out. Closing now could destroy it, if bytes of the client's are unread.
void SpdySession::Linger() {
  if (lingering_) return;
  lingering_ = true;
  bytes_->ShutdownWrite();
  full_timer_.expires_after(kLinger);
  full_timer_.async_wait([self = shared_from_this()](Error error) {
    if (!error) self->End();
  });
}

void SpdySession::Abort() { End(); }

void SpdySession::End() {
  if (ended_) return;
  ended_ = true;
  const auto self = shared_from_this();
  bytes_->Abort();
  idle_timer_.cancel();
  full_timer_.cancel();
  // First of what follows: an exec's process is to end as its client's, not by the end of its input.
  if (on_closed_) boost::asio::post(*io_, std::move(on_closed_));
  on_closed_ = nullptr;
  auto streams = std::move(streams_);
  streams_.clear();
  for (auto& [id, stream] : streams) stream->Die();
  for (Outgoing& item : outgoing_) {
    if (item.done) boost::asio::post(*io_, [done = std::move(item.done)] { done(false); });
  }
  outgoing_.clear();
  on_stream_ = nullptr;
}

void SpdySession::WatchIdle() {
  idle_timer_.expires_at(active_ + options_.idle);
  idle_timer_.async_wait([weak = weak_from_this()](Error error) {
    const auto self = weak.lock();
    if (error || self == nullptr || self->ended_) return;
    if (std::chrono::steady_clock::now() - self->active_ < self->options_.idle)
      return self->WatchIdle();
    self->Close();
    // Close waits for what can't be sent.
    self->idle_timer_.expires_after(kLinger);
    self->idle_timer_.async_wait([weak](Error failed) {
      const auto again = weak.lock();
      if (!failed && again != nullptr) again->End();
    });
  });
}

}  // namespace berth
