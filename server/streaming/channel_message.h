// The messages of Kubernetes' WebSocket sub-protocols: a channel's number, then bytes.
//
// Binary forms: byte 0 is the channel. Base64 forms: character 0 is '0' + channel, the rest is base64
// with padding. With v5, {255, N} says that the client has closed channel N.
#ifndef BERTH_SERVER_STREAMING_CHANNEL_MESSAGE_H_
#define BERTH_SERVER_STREAMING_CHANNEL_MESSAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace berth {

class ChannelVisitor {
 public:
  virtual ~ChannelVisitor() = default;
  // Never empty.
  virtual void OnChannelData(int channel, absl::string_view bytes) = 0;
  virtual void OnChannelClosed(int channel) = 0;
};

// Takes messages in the pieces in which they come, and holds three bytes of them at most.
class ChannelReader {
 public:
  ChannelReader(ChannelVisitor* visitor, bool base64, bool half_close)
      : visitor_(visitor), base64_(base64), half_close_(half_close) {}

  // `last`: the piece ends its message. InvalidArgument: no base64, or no channel's number.
  absl::Status Read(absl::string_view piece, bool last);

 private:
  absl::Status ReadBody(absl::string_view piece);
  absl::Status ReadBase64(absl::string_view piece);

  ChannelVisitor* const visitor_;
  const bool base64_;
  const bool half_close_;
  int channel_ = -1;  // of the message; -1 before its first byte
  bool padded_ = false;
  std::string quad_;     // base64 that is no multiple of four yet
  std::string closing_;  // of a message on channel 255; never more than two bytes
};

// What precedes the bytes of a binary message, or all of a base64 one.
std::string ChannelHead(int channel, bool base64);
std::string ChannelText(int channel, absl::string_view bytes);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_CHANNEL_MESSAGE_H_
