#include "server/streaming/command_gathering.h"

namespace berth {

void Discard(const StreamPtr& stream) {
  stream->Read([stream](std::string bytes) {
    if (!bytes.empty()) Discard(stream);
  });
}

void CommandGathering::Start(std::function<void()> too_late) {
  timer_.expires_after(loop_.patience);
  timer_.async_wait([self = shared_from_this(),
                     too_late = std::move(too_late)](const boost::system::error_code& error) {
    if (error || !self->ready_) return;
    self->ready_ = nullptr;
    too_late();
  });
}

bool CommandGathering::Complete() const {
  return streams_.error != nullptr && (!in_ || streams_.in != nullptr) &&
         (!out_ || streams_.out != nullptr) && (!err_ || streams_.err != nullptr) &&
         (!resize_ || streams_.resize != nullptr);
}

bool CommandGathering::OnStream(const StreamPtr& stream, const SpdyHeaders& headers) {
  const std::string type = FindSpdyHeader(headers, "streamtype");
  StreamPtr* place = nullptr;
  if (type == "error") place = &streams_.error;
  if (type == "stdin" && in_) place = &streams_.in;
  if (type == "stdout" && out_) place = &streams_.out;
  if (type == "stderr" && err_) place = &streams_.err;
  if (type == "resize" && resize_) place = &streams_.resize;
  if (place == nullptr) {
    Discard(stream);
    return true;
  }
  if (*place != nullptr || !ready_) return false;
  *place = stream;
  // Nothing comes on these; their end has to be read.
  if (place == &streams_.error || place == &streams_.out || place == &streams_.err) Discard(stream);
  if (!Complete()) return true;
  timer_.cancel();
  const Ready ready = std::move(ready_);
  ready_ = nullptr;
  ready(std::move(streams_));
  return true;
}

}  // namespace berth
