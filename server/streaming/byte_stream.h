// The bytes of one client's connection after the upgrade: a TCP connection, or binary messages of a
// WebSocket with the same bytes in them.
#ifndef BERTH_SERVER_STREAMING_BYTE_STREAM_H_
#define BERTH_SERVER_STREAMING_BYTE_STREAM_H_

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth {

// On the loop's thread. Callbacks come from the loop, also after Abort, with ok = false.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // The bytes are valid within the callback only; not ok: the end. One at a time.
  using ReadDone = std::function<void(bool ok, absl::string_view bytes)>;
  virtual void Read(ReadDone done) = 0;
  // All of the buffers, which stay until `done`. One at a time.
  using WriteDone = std::function<void(bool ok)>;
  virtual void Write(std::vector<boost::asio::const_buffer> buffers, WriteDone done) = 0;
  // Nothing more will be written.
  virtual void ShutdownWrite() = 0;
  virtual void Abort() = 0;
  // Whether the peer has closed, for those who don't read at the moment.
  virtual bool PeerGone() = 0;
};

// Whether a TCP peer has closed its side or broken the connection off.
bool TcpPeerGone(int socket);

std::unique_ptr<ByteStream> NewTcpByteStream(boost::asio::ip::tcp::socket socket);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_BYTE_STREAM_H_
