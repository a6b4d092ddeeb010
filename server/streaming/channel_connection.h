// A client's WebSocket with numbered channels: exec and attach have stdin 0, stdout 1, stderr 2, errors 3
// and resize 4; port-forward has two for each port.
#ifndef BERTH_SERVER_STREAMING_CHANNEL_CONNECTION_H_
#define BERTH_SERVER_STREAMING_CHANNEL_CONNECTION_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "server/streaming/channel_message.h"
#include "server/streaming/stream.h"
#include "server/streaming/stream_protocol.h"
#include "server/streaming/web_socket.h"

namespace berth {

// On the loop's thread.
class ChannelConnection : public ClientConnection,
                          private ChannelVisitor,
                          public std::enable_shared_from_this<ChannelConnection> {
 public:
  ChannelConnection(boost::asio::io_context* io, std::shared_ptr<WebSocket> socket,
                    const StreamProtocol& protocol, std::chrono::milliseconds idle);
  ~ChannelConnection() override;

  // Before Start: the stream of a channel. What comes on others is dropped. Finish does nothing: the
  // protocols let only the client half-close. Reset drops what comes: the client doesn't hear of it.
  StreamPtr Open(int channel);
  void Start();
  // An empty message on the channel: so a client learns that it is connected.
  void SendEmpty(int channel);

  void Close() override;
  void Abort() override;
  void SetOnClosed(std::function<void()> on_closed) override;

 private:
  class Channel;
  struct Outgoing {
    std::string head;
    absl::string_view body;
    Stream::WriteDone done;
  };

  void OnChannelData(int channel, absl::string_view bytes) override;
  void OnChannelClosed(int channel) override;
  void ReadMore();
  void WaitWhileFull();
  void TellStalled();
  void Drop(Channel& channel);
  void Send(int channel, absl::string_view bytes, Stream::WriteDone done);
  void Flush();
  void End();
  void WatchIdle();

  boost::asio::io_context* const io_;
  const std::shared_ptr<WebSocket> socket_;
  const StreamProtocol protocol_;
  const std::chrono::milliseconds idle_;
  ChannelReader reader_;
  std::function<void()> on_closed_;
  std::map<int, std::shared_ptr<Channel>> channels_;
  size_t unread_ = 0;
  bool reading_ = false;
  std::deque<Outgoing> outgoing_;
  bool writing_ = false;
  bool closing_ = false;
  bool saying_goodbye_ = false;
  bool waiting_while_full_ = false;
  bool ended_ = false;
  std::chrono::steady_clock::time_point active_;
  boost::asio::steady_timer idle_timer_;
  boost::asio::steady_timer full_timer_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_CHANNEL_CONNECTION_H_
