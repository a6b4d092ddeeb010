// A WebSocket after its handshake, server side: Boost.Beast's, behind few calls.
#ifndef BERTH_SERVER_STREAMING_WEB_SOCKET_H_
#define BERTH_SERVER_STREAMING_WEB_SOCKET_H_

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/streaming/byte_stream.h"

namespace berth {

// On the loop's thread. Callbacks come from the loop; operations that are under way keep the object.
class WebSocket {
 public:
  virtual ~WebSocket() = default;

  // Answers the request with 101 and the sub-protocol (none if empty). Null: the handshake was
  // malformed, and was answered, or the client has gone.
  using Accepted = std::function<void(std::shared_ptr<WebSocket>)>;
  using Request = boost::beast::http::request<boost::beast::http::empty_body>;
  static void Accept(boost::asio::ip::tcp::socket socket, const Request& request,
                     const std::string& protocol, Accepted accepted);

  // A piece of a message; valid within the callback only. Pings are answered while a read is under way.
  using ReadDone = std::function<void(bool ok, absl::string_view piece, bool last)>;
  virtual void Read(ReadDone done) = 0;
  // One message.
  using WriteDone = std::function<void(bool ok)>;
  virtual void Write(bool text, std::vector<boost::asio::const_buffer> buffers, WriteDone done) = 0;
  // Says goodbye with code 1000 and waits for the peer's answer, within bounds; `done` at the end.
  virtual void Close(std::function<void()> done) = 0;
  virtual void Abort() = 0;
  virtual bool PeerGone() = 0;
};

// The bytes within binary messages, for the tunnel.
std::unique_ptr<ByteStream> NewWebSocketByteStream(std::shared_ptr<WebSocket> socket);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_WEB_SOCKET_H_
