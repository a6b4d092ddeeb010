#include "server/streaming/spdy_frame.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

enum Type : uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};

constexpr uint8_t kFin = 1;
constexpr uint16_t kVersion = 3;
constexpr uint32_t kSettingInitialWindow = 7;

uint32_t NumberAt(absl::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void Put(uint32_t value, int bytes, std::string* out) {
  for (int i = bytes - 1; i >= 0; --i) out->push_back(static_cast<char>(value >> (8 * i)));
}

absl::Status Broken(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("SPDY: ", what));
}

std::string Control(Type type, uint8_t flags, absl::string_view payload) {
  std::string frame;
  frame.reserve(kSpdyFrameHeader + payload.size());
  Put(0x8000 | kVersion, 2, &frame);
  Put(type, 2, &frame);
  Put(flags, 1, &frame);
  Put(static_cast<uint32_t>(payload.size()), 3, &frame);
  frame.append(payload.data(), payload.size());
  return frame;
}

std::string Two(Type type, uint32_t first, uint32_t second) {
  std::string payload;
  Put(first, 4, &payload);
  Put(second, 4, &payload);
  return Control(type, 0, payload);
}

}  // namespace

absl::Status SpdyReader::Read(absl::string_view bytes) {
  while (broken_.ok() && !bytes.empty()) {
    if (!in_frame_) {
      const size_t take = std::min(kSpdyFrameHeader - head_.size(), bytes.size());
      head_.append(bytes.data(), take);
      bytes.remove_prefix(take);
      if (head_.size() < kSpdyFrameHeader) break;
      broken_ = BeginFrame();
      if (!broken_.ok() || left_ > 0) continue;
    }
    // An empty frame is complete here.
    const absl::string_view piece = bytes.substr(0, left_);
    bytes.remove_prefix(piece.size());
    left_ -= static_cast<uint32_t>(piece.size());
    in_frame_ = left_ > 0;
    if (!control_) {
      visitor_->OnData(stream_, piece, !in_frame_ && (flags_ & kFin) != 0);
    } else if (in_frame_ || !payload_.empty()) {
      payload_.append(piece.data(), piece.size());
      if (!in_frame_) {
        broken_ = ReadControl(payload_);
        std::string().swap(payload_);
      }
    } else {
      broken_ = ReadControl(piece);
    }
  }
  return broken_;
}

absl::Status SpdyReader::BeginFrame() {
  control_ = (static_cast<uint8_t>(head_[0]) & 0x80) != 0;
  flags_ = static_cast<uint8_t>(head_[4]);
  left_ = NumberAt(head_, 4) & 0xffffff;
  in_frame_ = left_ > 0;
  const uint32_t first = NumberAt(head_, 0);
  head_.clear();
  if (!control_) {
    stream_ = first;
    return stream_ == 0 ? Broken("data for stream 0") : absl::OkStatus();
  }
  type_ = static_cast<uint16_t>(first);
  if ((first >> 16 & 0x7fff) != kVersion) return Broken("a frame of another version than 3");
  if (left_ > kSpdyMaxControl) return Broken("a control frame is too large");
  return absl::OkStatus();
}

absl::Status SpdyReader::ReadBlock(absl::string_view payload, size_t skip) {
  if (payload.size() < skip) return Broken("a frame is cut short");
  const uint32_t stream = NumberAt(payload, 0) & kSpdyMaxStream;
  ASSIGN_OR_RETURN(const SpdyHeaders headers, headers_.Read(payload.substr(skip)));
  if (stream == 0) return Broken("headers for stream 0");
  const bool fin = (flags_ & kFin) != 0;
  if (type_ == kSynStream) visitor_->OnSynStream(stream, fin, headers);
  if (type_ == kSynReply) visitor_->OnSynReply(stream, fin, headers);
  if (type_ == kHeaders) visitor_->OnHeaders(stream, fin, headers);
  return absl::OkStatus();
}

absl::Status SpdyReader::ReadSettings(absl::string_view payload) {
  if (payload.size() < 4) return Broken("a frame is cut short");
  const uint32_t count = NumberAt(payload, 0);
  payload.remove_prefix(4);
  if (count != payload.size() / 8 || payload.size() % 8 != 0)
    return Broken("settings of another length than they say");
  for (; !payload.empty(); payload.remove_prefix(8)) {
    const uint32_t value = NumberAt(payload, 4);
    if ((NumberAt(payload, 0) & 0xffffff) != kSettingInitialWindow) continue;
    if (value > kSpdyMaxStream) return Broken("an initial window beyond 2^31");
    visitor_->OnInitialWindow(value);
    break;  // the same setting again is to be ignored
  }
  return absl::OkStatus();
}

absl::Status SpdyReader::ReadControl(absl::string_view payload) {
  const auto at_least = [&](size_t size) {
    return payload.size() >= size ? absl::OkStatus() : Broken("a frame is cut short");
  };
  switch (type_) {
    case kSynStream:
      return ReadBlock(payload, 10);  // stream, associated stream, priority, slot
    case kSynReply:
    case kHeaders:
      return ReadBlock(payload, 4);
    case kRstStream:
      RETURN_IF_ERROR(at_least(8));
      visitor_->OnReset(NumberAt(payload, 0) & kSpdyMaxStream, NumberAt(payload, 4));
      return absl::OkStatus();
    case kSettings:
      return ReadSettings(payload);
    case kPing:
      RETURN_IF_ERROR(at_least(4));
      visitor_->OnPing(NumberAt(payload, 0));
      return absl::OkStatus();
    case kGoAway:
      RETURN_IF_ERROR(at_least(4));
      visitor_->OnGoAway(payload.size() >= 8 ? NumberAt(payload, 4) : 0);
      return absl::OkStatus();
    case kWindowUpdate: {
      RETURN_IF_ERROR(at_least(8));
      const uint32_t delta = NumberAt(payload, 4) & kSpdyMaxStream;
      if (delta == 0) return Broken("a window update of nothing");
      visitor_->OnWindowUpdate(NumberAt(payload, 0) & kSpdyMaxStream, delta);
      return absl::OkStatus();
    }
    default:
      return absl::OkStatus();  // unknown ones are to be ignored
  }
}

std::string SpdyWriter::SynStream(uint32_t stream, bool fin, const SpdyHeaders& headers) {
  std::string payload;
  Put(stream, 4, &payload);
  Put(0, 4, &payload);
  Put(0, 2, &payload);
  return Control(kSynStream, fin ? kFin : 0, payload + headers_.Write(headers));
}

std::string SpdyWriter::SynReply(uint32_t stream, bool fin, const SpdyHeaders& headers) {
  std::string payload;
  Put(stream, 4, &payload);
  return Control(kSynReply, fin ? kFin : 0, payload + headers_.Write(headers));
}

std::string SpdyWriter::Reset(uint32_t stream, SpdyReset status) {
  return Two(kRstStream, stream, static_cast<uint32_t>(status));
}

std::string SpdyWriter::InitialWindow(uint32_t bytes) {
  std::string payload;
  Put(1, 4, &payload);
  Put(kSettingInitialWindow, 4, &payload);
  Put(bytes, 4, &payload);
  return Control(kSettings, 0, payload);
}

std::string SpdyWriter::Ping(uint32_t id) {
  std::string payload;
  Put(id, 4, &payload);
  return Control(kPing, 0, payload);
}

std::string SpdyWriter::GoAway(uint32_t last_stream, SpdyGoAway status) {
  return Two(kGoAway, last_stream, static_cast<uint32_t>(status));
}

std::string SpdyWriter::WindowUpdate(uint32_t stream, uint32_t delta) {
  return Two(kWindowUpdate, stream, delta);
}

std::string SpdyWriter::DataHead(uint32_t stream, size_t size, bool fin) {
  std::string head;
  Put(stream, 4, &head);
  Put(fin ? kFin : 0, 1, &head);
  Put(static_cast<uint32_t>(size), 3, &head);
  return head;
}

}  // namespace berth
