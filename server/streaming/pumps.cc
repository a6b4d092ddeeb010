#include "server/streaming/pumps.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

namespace berth {
namespace {

using Descriptor = boost::asio::posix::stream_descriptor;
using Error = boost::system::error_code;

constexpr size_t kBuffer = 128 << 10;
// Of a terminal: more than the kernel buffers of one, and FIONREAD doesn't tell all (see keeper_log.cc).
constexpr int64_t kTerminalMax = 1 << 17;

// Hands `fd` over, non-blocking: 0, or an errno if there is nothing to be watched.
int Assign(UniqueFd fd, Descriptor* to) {
  if (!fd.valid()) return EBADF;
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  Error error;
  (void)to->assign(fd.get(), error);
  if (error) return error.value();
  fd.release();
  return 0;
}

}  // namespace

// ---- to the client ----

OutPump::OutPump(boost::asio::io_context* io, StreamPtr to, std::function<void(bool gone)> on_end)
    : from_(*io), to_(std::move(to)), on_end_(std::move(on_end)) {}

std::shared_ptr<OutPump> OutPump::Start(boost::asio::io_context* io, UniqueFd from, StreamPtr to,
                                        std::function<void(bool gone)> on_end) {
  std::shared_ptr<OutPump> pump(new OutPump(io, std::move(to), std::move(on_end)));
  pump->error_ = Assign(std::move(from), &pump->from_);
  if (pump->error_ == 0) {
    pump->Wait();
  } else {
    boost::asio::post(*io, [pump] { pump->End(false); });
  }
  return pump;
}

void OutPump::Wait() {
  waiting_ = true;
  from_.async_wait(Descriptor::wait_read, [self = shared_from_this()](Error error) {
    if (!self->waiting_) return;  // Drain went ahead
    self->waiting_ = false;
    if (!error) self->Copy();
  });
}

void OutPump::Copy() {
  if (!from_.is_open()) return;
  if (buffer_ == nullptr) buffer_.reset(new char[kBuffer]);
  size_t size = kBuffer;
  if (draining_) size = static_cast<size_t>(std::min<int64_t>(left_, kBuffer));
  if (size == 0) return End(false);
  const ssize_t n = read(from_.native_handle(), buffer_.get(), size);
  if (n > 0) {
    left_ -= n;
    to_->Write(absl::string_view(buffer_.get(), static_cast<size_t>(n)),
               [self = shared_from_this()](bool ok) {
                 if (!ok) return self->End(true);
                 self->Copy();
               });
    return;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR) && !draining_) {
    buffer_.reset();
    return Wait();
  }
  if (n < 0 && errno != EAGAIN && errno != EIO) error_ = errno;  // EIO: a terminal was hung up
  End(false);
}

void OutPump::Drain() {
  if (draining_ || !from_.is_open()) return;
  draining_ = true;
  int bytes = 0;
  const bool terminal = isatty(from_.native_handle()) == 1;
  left_ = kTerminalMax;
  if (!terminal && ioctl(from_.native_handle(), FIONREAD, &bytes) == 0) left_ = bytes;
  if (!waiting_) return;  // a write is under way, which goes on with Copy
  waiting_ = false;
  boost::asio::post(from_.get_executor(), [self = shared_from_this()] { self->Copy(); });
}

void OutPump::End(bool gone) {
  Error ignored;
  (void)from_.close(ignored);
  buffer_.reset();
  if (!on_end_) return;
  const auto on_end = std::move(on_end_);
  on_end_ = nullptr;
  on_end(gone);
}

void OutPump::Stop() {
  on_end_ = nullptr;
  Error ignored;
  (void)from_.close(ignored);
}

// ---- from the client ----

InPump::InPump(boost::asio::io_context* io, StreamPtr from, UniqueFd to, AtEnd at_end,
               std::function<void()> on_end)
    : from_(std::move(from)), to_(*io), at_end_(at_end), on_end_(std::move(on_end)) {
  Assign(std::move(to), &to_);
}

std::shared_ptr<InPump> InPump::Start(boost::asio::io_context* io, StreamPtr from, UniqueFd to,
                                      AtEnd at_end, std::function<void()> on_end) {
  std::shared_ptr<InPump> pump(
      new InPump(io, std::move(from), std::move(to), at_end, std::move(on_end)));
  pump->Read();
  return pump;
}

void InPump::Read() {
  from_->Read([self = shared_from_this()](std::string bytes) {
    if (bytes.empty()) return self->End();
    self->bytes_ = std::move(bytes);
    self->written_ = 0;
    self->moved_ = std::chrono::steady_clock::now();
    self->Write();
  });
}

void InPump::Write() {
  while (to_.is_open() && written_ < bytes_.size()) {
    const ssize_t n =
        write(to_.native_handle(), bytes_.data() + written_, bytes_.size() - written_);
    if (n > 0) {
      written_ += static_cast<size_t>(n);
      moved_ = std::chrono::steady_clock::now();
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      to_.async_wait(Descriptor::wait_write, [self = shared_from_this()](Error error) {
        if (!error || !self->to_.is_open()) self->Write();
      });
      return;
    } else {
      Error ignored;
      (void)to_.close(ignored);  // nobody reads there any more
    }
  }
  std::string().swap(bytes_);
  Read();
}

void InPump::End() {
  Error ignored;
  if (to_.is_open() && at_end_ == AtEnd::kShutdown) shutdown(to_.native_handle(), SHUT_WR);
  if (at_end_ != AtEnd::kShutdown) (void)to_.close(ignored);
  if (!on_end_) return;
  const auto on_end = std::move(on_end_);
  on_end_ = nullptr;
  on_end();
}

void InPump::Stop() {
  on_end_ = nullptr;
  Error ignored;
  (void)to_.close(ignored);
}

}  // namespace berth
