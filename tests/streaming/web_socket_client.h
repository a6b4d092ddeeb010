// A blocking WebSocket client for tests (Boost.Beast's).
#ifndef BERTH_TESTS_STREAMING_WEB_SOCKET_CLIENT_H_
#define BERTH_TESTS_STREAMING_WEB_SOCKET_CLIENT_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace berth::testing {

class WebSocketClient {
 public:
  virtual ~WebSocketClient() = default;
  // The HTTP status is in the error's message. `protocol` may be empty.
  static absl::StatusOr<std::unique_ptr<WebSocketClient>> Connect(const std::string& url,
                                                                  const std::string& protocol);
  // An error at the connection's end, or if it takes longer than the patience, 20 seconds. After an error
  // there is no connection any more.
  virtual absl::Status Send(absl::string_view message, bool text = false) = 0;
  // The next message.
  virtual absl::StatusOr<std::string> Receive() = 0;
  virtual void SetPatience(absl::Duration patience) = 0;
  // Why the server closed, after Receive has failed; 0: it didn't say.
  virtual int close_code() const = 0;
  virtual std::string protocol() const = 0;  // as the server has chosen
  virtual int socket() = 0;

  // Receives until the end: the bytes of each channel (binary protocols).
  std::map<int, std::string> ReceiveAll();
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_STREAMING_WEB_SOCKET_CLIENT_H_
