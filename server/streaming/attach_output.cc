#include "server/streaming/attach_output.h"

#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/keeper/protocol.h"

namespace berth {
namespace {

using Descriptor = boost::asio::posix::stream_descriptor;
using Error = boost::system::error_code;

constexpr size_t kMaxAhead = 8 << 20;
constexpr int kMessagesAtOnce = 64;  // then others have their turn

}  // namespace

AttachOutput::AttachOutput(boost::asio::io_context* io, StreamPtr out, StreamPtr err,
                           std::function<void(absl::Status)> on_end)
    : from_(*io),
      lanes_{{std::move(out), "", ""}, {std::move(err), "", ""}},
      on_end_(std::move(on_end)) {}

std::shared_ptr<AttachOutput> AttachOutput::Start(boost::asio::io_context* io, UniqueFd from,
                                                  StreamPtr out, StreamPtr err,
                                                  std::function<void(absl::Status)> on_end) {
  std::shared_ptr<AttachOutput> output(
      new AttachOutput(io, std::move(out), std::move(err), std::move(on_end)));
  Error error;
  (void)output->from_.assign(from.get(), error);
  if (!error) {
    from.release();
    output->Wait();
    return output;
  }
  output->ended_ = true;
  output->result_ = absl::InternalError(absl::StrCat("watch the output: ", error.message()));
  boost::asio::post(*io, [output] { output->EndIfWritten(); });
  return output;
}

size_t AttachOutput::ahead() const {
  size_t bytes = 0;
  for (const Lane& lane : lanes_) bytes += lane.waiting.size() + lane.writing.size();
  return bytes;
}

void AttachOutput::Wait() {
  if (reading_ || ended_ || !from_.is_open() || ahead() >= kMaxAhead) return;
  reading_ = true;
  from_.async_wait(Descriptor::wait_read, [self = shared_from_this()](Error error) {
    self->reading_ = false;
    if (error || !self->from_.is_open()) return;
    self->Receive();
    self->Wait();
  });
}

void AttachOutput::Receive() {
  char message[kMaxAttachMessage];
  for (int i = 0; i < kMessagesAtOnce && ahead() < kMaxAhead; ++i) {
    const ssize_t n = recv(from_.native_handle(), message, sizeof message, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    const auto kind = n > 0 ? static_cast<AttachKind>(message[0]) : AttachKind::kEnd;
    if (n <= 0 || kind == AttachKind::kEnd) {
      ended_ = true;
      if (n <= 0) {
        result_ = absl::ResourceExhaustedError(
            "the output was cut off: it was read too slowly, or the container's log writer has "
            "ended; the container goes on");
      }
      break;
    }
    if (kind != AttachKind::kStdout && kind != AttachKind::kStderr) continue;
    Lane& lane = lanes_[kind == AttachKind::kStdout ? 0 : 1];
    if (lane.to != nullptr) lane.waiting.append(message + 1, static_cast<size_t>(n) - 1);
  }
  for (Lane& lane : lanes_) Write(lane);
  EndIfWritten();
}

void AttachOutput::Write(Lane& lane) {
  if (!lane.writing.empty() || lane.waiting.empty()) return;
  lane.writing.swap(lane.waiting);
  lane.to->Write(lane.writing, [self = shared_from_this(), &lane](bool ok) {
    std::string().swap(lane.writing);
    if (!ok) return self->Stop();
    self->Write(lane);
    self->Wait();
    self->EndIfWritten();
  });
}

void AttachOutput::EndIfWritten() {
  if (!ended_ || ahead() > 0 || !on_end_) return;
  const auto on_end = std::move(on_end_);
  on_end_ = nullptr;
  on_end(result_);
}

void AttachOutput::Stop() {
  on_end_ = nullptr;
  Error ignored;
  (void)from_.close(ignored);
}

}  // namespace berth
