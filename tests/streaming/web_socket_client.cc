#include "tests/streaming/web_socket_client.h"

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
    stream_.text(text);
    return Finish([&](auto done) {
      stream_.async_write(asio::buffer(message.data(), message.size()), done);
    });
  }

  absl::StatusOr<std::string> Receive() override {
    beast::flat_buffer buffer;
    RETURN_IF_ERROR(Finish([&](auto done) { stream_.async_read(buffer, done); }));
    return beast::buffers_to_string(buffer.data());
  }

  void SetPatience(absl::Duration patience) override { patience_ = patience; }

  int close_code() const override { return stream_.reason().code; }
  std::string protocol() const override { return protocol_; }
  int socket() override { return stream_.next_layer().native_handle(); }

 private:
  // Not the blocking calls, which know no time-out.
  template <typename Start>
  absl::Status Finish(Start start) {
    Error error = asio::error::timed_out;
    io_.restart();
    start([&error](Error e, size_t) { error = e; });
    io_.run_for(absl::ToChronoMilliseconds(patience_));
    if (io_.stopped()) return error ? absl::UnavailableError(error.message()) : absl::OkStatus();
    Error ignored;
    (void)stream_.next_layer().close(ignored);
    io_.run();
    return absl::DeadlineExceededError("it took too long");
  }

  asio::io_context io_;
  absl::Duration patience_ = absl::Seconds(20);
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
