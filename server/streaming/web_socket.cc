#include "server/streaming/web_socket.h"

#include <boost/asio/post.hpp>
#include <boost/beast/websocket/error.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <chrono>
#include <utility>

namespace berth {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;

constexpr size_t kReadSize = 32 << 10;
// For the handshake and for the peer's goodbye.
constexpr auto kPatience = std::chrono::seconds(10);

class BeastWebSocket : public WebSocket, public std::enable_shared_from_this<BeastWebSocket> {
 public:
  explicit BeastWebSocket(Tcp::socket socket) : stream_(std::move(socket)) {
    websocket::stream_base::timeout timeout;
    timeout.handshake_timeout = kPatience;
    timeout.idle_timeout = websocket::stream_base::none();
    timeout.keep_alive_pings = false;
    stream_.set_option(timeout);
    stream_.auto_fragment(false);
    stream_.read_message_max(0);  // messages are used up in pieces
  }

  void Accept(const Request& request, const std::string& protocol, Accepted accepted) {
    stream_.set_option(
        websocket::stream_base::decorator([protocol](websocket::response_type& response) {
          response.erase(beast::http::field::server);
          if (!protocol.empty()) response.set(beast::http::field::sec_websocket_protocol, protocol);
        }));
    stream_.async_accept(request,
                         [self = shared_from_this(), accepted = std::move(accepted)](Error error) {
                           if (error) return accepted(nullptr);
                           // Beast keeps the function for later answers; there are none.
                           accepted(self);
                         });
  }

  void Read(ReadDone done) override {
    if (buffer_ == nullptr) buffer_ = std::make_unique<char[]>(kReadSize);
    stream_.async_read_some(
        asio::buffer(buffer_.get(), kReadSize),
        [self = shared_from_this(), done = std::move(done)](Error error, size_t size) {
          done(!error, absl::string_view(self->buffer_.get(), size),
               !error && self->stream_.is_message_done());
        });
  }

  void Write(bool text, std::vector<asio::const_buffer> buffers, WriteDone done) override {
    stream_.text(text);
    stream_.async_write(buffers, [self = shared_from_this(), done = std::move(done)](
                                     Error error, size_t) { done(!error); });
  }

  void Close(std::function<void()> done) override {
    stream_.async_close(websocket::close_code::normal,
                        [self = shared_from_this(), done = std::move(done)](Error) { done(); });
  }

  void Abort() override {
    Error ignored;
    (void)stream_.next_layer().close(ignored);
  }

  bool PeerGone() override {
    return !stream_.next_layer().is_open() || TcpPeerGone(stream_.next_layer().native_handle());
  }

 private:
  websocket::stream<Tcp::socket, false> stream_;
  std::unique_ptr<char[]> buffer_;
};

class WebSocketByteStream : public ByteStream {
 public:
  explicit WebSocketByteStream(std::shared_ptr<WebSocket> socket) : socket_(std::move(socket)) {}

  void Read(ReadDone done) override {
    socket_->Read(
        [done = std::move(done)](bool ok, absl::string_view piece, bool) { done(ok, piece); });
  }
  void Write(std::vector<asio::const_buffer> buffers, WriteDone done) override {
    socket_->Write(false, std::move(buffers), std::move(done));
  }
  void ShutdownWrite() override {
    socket_->Close([] {});
  }
  void Abort() override { socket_->Abort(); }
  bool PeerGone() override { return socket_->PeerGone(); }

 private:
  const std::shared_ptr<WebSocket> socket_;
};

}  // namespace

void WebSocket::Accept(Tcp::socket socket, const Request& request, const std::string& protocol,
                       Accepted accepted) {
  std::make_shared<BeastWebSocket>(std::move(socket))
      ->Accept(request, protocol, std::move(accepted));
}

std::unique_ptr<ByteStream> NewWebSocketByteStream(std::shared_ptr<WebSocket> socket) {
  return std::make_unique<WebSocketByteStream>(std::move(socket));
}

}  // namespace berth
