// The sub-protocols of exec and attach, and which one a client and this server agree on.
#ifndef BERTH_SERVER_STREAMING_STREAM_PROTOCOL_H_
#define BERTH_SERVER_STREAMING_STREAM_PROTOCOL_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth {

struct StreamProtocol {
  std::string name;  // as negotiated; "" is the WebSocket without a sub-protocol
  int version = 4;
  bool base64 = false;  // WebSocket: text messages with base64 in them
  bool tunnel = false;  // WebSocket: the bytes of a SPDY connection in binary messages

  bool resizes() const { return version >= 3; }
  bool json_status() const { return version >= 4; }
  bool half_close() const { return version >= 5; }  // WebSocket's message on channel 255
};

enum class StreamKind { kExec, kAttach, kPortForward };

// The first of the client's values that is served; nothing if there is none.
std::optional<StreamProtocol> ChooseSpdyProtocol(StreamKind kind,
                                                 const std::vector<std::string>& offered);
// The same for WebSockets; nothing offered is fine there.
std::optional<StreamProtocol> ChooseWebSocketProtocol(StreamKind kind,
                                                      const std::vector<std::string>& offered);
// Every name that ChooseSpdyProtocol takes, the best first.
std::vector<std::string> SpdyProtocols(StreamKind kind);

// The values of a header that may be repeated and may hold lists.
std::vector<std::string> SplitHeaderList(absl::string_view value);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_STREAM_PROTOCOL_H_
