#include "server/streaming/byte_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/write.hpp>
#include <cerrno>
#include <utility>

namespace berth {
namespace {

namespace asio = boost::asio;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;

constexpr size_t kReadSize = 64 << 10;

// One for all connections of the thread: what is read is used up within the callback. On the heap, since
// thread-local storage takes from the stack of every thread.
char* ReadBuffer() {
  thread_local const std::unique_ptr<char[]> buffer(new char[kReadSize]);
  return buffer.get();
}

class TcpByteStream : public ByteStream {
 public:
  explicit TcpByteStream(Tcp::socket socket) : socket_(std::move(socket)) {
    Error ignored;
    (void)socket_.non_blocking(true, ignored);
  }

  void Read(ReadDone done) override {
    socket_.async_wait(Tcp::socket::wait_read, [this, done = std::move(done)](Error error) mutable {
      if (error) return done(false, "");
      const ssize_t n = recv(socket_.native_handle(), ReadBuffer(), kReadSize, 0);
      if (n > 0) return done(true, absl::string_view(ReadBuffer(), static_cast<size_t>(n)));
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Read(std::move(done));
      done(false, "");
    });
  }

  void Write(std::vector<asio::const_buffer> buffers, WriteDone done) override {
    asio::async_write(socket_, buffers,
                      [done = std::move(done)](Error error, size_t) { done(!error); });
  }

  void ShutdownWrite() override {
    Error ignored;
    (void)socket_.shutdown(Tcp::socket::shutdown_send, ignored);
  }
  void Abort() override {
    Error ignored;
    (void)socket_.close(ignored);
  }
  bool PeerGone() override { return !socket_.is_open() || TcpPeerGone(socket_.native_handle()); }

 private:
  Tcp::socket socket_;
};

}  // namespace

bool TcpPeerGone(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;
  return info.tcpi_state != TCP_ESTABLISHED && info.tcpi_state != TCP_SYN_RECV;
}

std::unique_ptr<ByteStream> NewTcpByteStream(Tcp::socket socket) {
  return std::make_unique<TcpByteStream>(std::move(socket));
}

}  // namespace berth
