#include "tests/streaming/web_socket_client.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tests/streaming/spdy_client.h"

namespace berth::testing {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;

class BeastClient : public WebSocketClient {
 public:
  absl::Status Open(const std::string& url, const std::string& protocol) {
    const StreamUrl to = ParseUrl(url);
    ASSIGN_OR_RETURN(UniqueFd fd, ConnectTo(to));
    const timeval patience{20, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    stream_.next_layer().assign(Tcp::v4(), fd.release());
    stream_.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
      if (!protocol.empty()) request.set(beast::http::field::sec_websocket_protocol, protocol);
    }));
    Error error;
    websocket::response_type response;
    // Not the blocking one, which drops the response of a server that declines.
    stream_.async_handshake(response, to.host, to.path, [&error](Error e) { error = e; });
    error = asio::error::timed_out;
    io_.run_for(std::chrono::seconds(20));
    if (error)
      return absl::UnavailableError(absl::StrCat(response.result_int(), ": ", error.message()));
    const auto chosen = response[beast::http::field::sec_websocket_protocol];
    protocol_ = std::string(chosen.data(), chosen.size());
    return absl::OkStatus();
  }

  absl::Status Send(absl::string_view message, bool text) override {
    Error error;
    stream_.text(text);
    stream_.write(asio::buffer(message.data(), message.size()), error);
    return error ? absl::UnavailableError(error.message()) : absl::OkStatus();
  }

  absl::StatusOr<std::string> Receive() override {
    beast::flat_buffer buffer;
    Error error;
    stream_.read(buffer, error);
    if (error) return absl::UnavailableError(error.message());
    return beast::buffers_to_string(buffer.data());
  }

  int close_code() const override { return stream_.reason().code; }
  std::string protocol() const override { return protocol_; }

 private:
  asio::io_context io_;
  websocket::stream<Tcp::socket> stream_{io_};
  std::string protocol_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WebSocketClient>> WebSocketClient::Connect(
    const std::string& url, const std::string& protocol) {
  auto client = std::make_unique<BeastClient>();
  RETURN_IF_ERROR(client->Open(url, protocol));
  return std::unique_ptr<WebSocketClient>(std::move(client));
}

std::map<int, std::string> WebSocketClient::ReceiveAll() {
  std::map<int, std::string> channels;
  for (;;) {
    const absl::StatusOr<std::string> message = Receive();
    if (!message.ok()) return channels;
    if (!message->empty())
      channels[static_cast<unsigned char>((*message)[0])] += message->substr(1);
  }
}

}  // namespace berth::testing
