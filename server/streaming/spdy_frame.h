// SPDY/3.1 frames: bytes in, calls out; and the bytes of frames. No input or output of its own.
//
//   SpdyReader reader(&visitor);
//   RETURN_IF_ERROR(reader.Read(bytes));   // as they come from the wire, cut anywhere
//
// A control frame is 1 | version 3 | type | flags | 24 bits of length | payload; a data frame is
// 0 | stream | flags | length | bytes. (SPDY/3.1 draft, 2.2 and 2.6.)
#ifndef BERTH_SERVER_STREAMING_SPDY_FRAME_H_
#define BERTH_SERVER_STREAMING_SPDY_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/streaming/spdy_headers.h"

namespace berth {

// Status codes of RST_STREAM.
enum class SpdyReset : uint32_t {
  kProtocolError = 1,
  kInvalidStream = 2,
  kRefusedStream = 3,
  kCancel = 5,
  kInternalError = 6,
  kFlowControlError = 7,
  kStreamAlreadyClosed = 9,
};

// Of GOAWAY.
enum class SpdyGoAway : uint32_t { kOk = 0, kProtocolError = 1, kInternalError = 2 };

inline constexpr size_t kSpdyFrameHeader = 8;
inline constexpr uint32_t kSpdyMaxStream = 0x7fffffff;
inline constexpr uint32_t kSpdyInitialWindow = 64 << 10;
// Of a control frame's payload; more is an error.
inline constexpr uint32_t kSpdyMaxControl = 32 << 10;

// What a peer says. Calls come in the frames' order, from within SpdyReader::Read.
class SpdyVisitor {
 public:
  virtual ~SpdyVisitor() = default;
  virtual void OnSynStream(uint32_t stream, bool fin, const SpdyHeaders& headers) = 0;
  virtual void OnSynReply(uint32_t stream, bool fin, const SpdyHeaders& headers) = 0;
  virtual void OnHeaders(uint32_t stream, bool fin, const SpdyHeaders& headers) = 0;
  virtual void OnReset(uint32_t stream, uint32_t status) = 0;
  virtual void OnInitialWindow(uint32_t bytes) = 0;  // from SETTINGS
  virtual void OnPing(uint32_t id) = 0;
  virtual void OnGoAway(uint32_t status) = 0;
  virtual void OnWindowUpdate(uint32_t stream, uint32_t delta) = 0;
  // In pieces as they come; `fin` with the last one, which may be empty.
  virtual void OnData(uint32_t stream, absl::string_view bytes, bool fin) = 0;
};

class SpdyReader {
 public:
  explicit SpdyReader(SpdyVisitor* visitor) : visitor_(visitor) {}

  // InvalidArgument: the peer breaks the protocol; nothing more can be read then. Holds at most one
  // control frame.
  absl::Status Read(absl::string_view bytes);

 private:
  absl::Status ReadControl(absl::string_view payload);
  absl::Status ReadBlock(absl::string_view payload, size_t skip);
  absl::Status ReadSettings(absl::string_view payload);
  absl::Status BeginFrame();

  SpdyVisitor* const visitor_;
  SpdyHeaderReader headers_;
  absl::Status broken_;
  std::string head_;     // of a frame, while it isn't whole
  std::string payload_;  // of a control frame
  bool in_frame_ = false;
  bool control_ = false;
  uint16_t type_ = 0;
  uint8_t flags_ = 0;
  uint32_t stream_ = 0;
  uint32_t left_ = 0;  // bytes of the frame that are still to come
};

// The frames of one direction of a connection.
class SpdyWriter {
 public:
  std::string SynStream(uint32_t stream, bool fin, const SpdyHeaders& headers);
  std::string SynReply(uint32_t stream, bool fin, const SpdyHeaders& headers);

  static std::string Reset(uint32_t stream, SpdyReset status);
  static std::string InitialWindow(uint32_t bytes);
  static std::string Ping(uint32_t id);
  static std::string GoAway(uint32_t last_stream, SpdyGoAway status);
  static std::string WindowUpdate(uint32_t stream, uint32_t delta);
  // The head of a data frame; `size` bytes follow it, below 16 MiB.
  static std::string DataHead(uint32_t stream, size_t size, bool fin);

 private:
  SpdyHeaderWriter headers_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_SPDY_FRAME_H_
