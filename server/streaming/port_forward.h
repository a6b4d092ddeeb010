// Port-forward: a client's streams and TCP connections to localhost within a pod's network namespace.
//
// SPDY: each forwarded connection is a pair of streams, `data` and `error`, with the same requestID and
// port. WebSocket: each port of the request is one connection, on two channels.
#ifndef BERTH_SERVER_STREAMING_PORT_FORWARD_H_
#define BERTH_SERVER_STREAMING_PORT_FORWARD_H_

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/streaming/channel_connection.h"
#include "server/streaming/pumps.h"
#include "server/streaming/spdy_session.h"
#include "server/streaming/stream.h"
#include "server/streaming/stream_loop.h"

namespace berth {

// One connection to localhost:PORT of a pod, IPv4 first, then IPv6.
class Forward : public std::enable_shared_from_this<Forward> {
 public:
  // `on_end` once: both directions have ended, or there was no connection, or the pod has read nothing
  // for loop.patience while other connections of the client waited behind what was sent; then the error
  // stream has the reason.
  static std::shared_ptr<Forward> Start(const StreamLoop& loop, const std::string& pod, int port,
                                        StreamPtr data, StreamPtr error,
                                        std::function<void()> on_end);

 private:
  Forward(const StreamLoop& loop, const std::string& pod, int port, StreamPtr data, StreamPtr error,
          std::function<void()> on_end);
  void Connect(bool v6);
  void OnSocket(absl::StatusOr<UniqueFd> socket, bool v6);
  void OnConnected(bool v6, const absl::Status& status);
  void Copy();
  void Refuse();
  void OnStalled();
  void EndWith(const std::string& why);
  void EndIfDone();
  void Stop();

  const StreamLoop loop_;
  const std::string pod_;
  const int port_;
  StreamPtr data_, error_;
  std::function<void()> on_end_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer deadline_;
  absl::Status refused_[2];  // by IPv4, by IPv6
  std::string message_;
  std::shared_ptr<OutPump> out_;
  std::shared_ptr<InPump> in_;
  bool out_open_ = false;
  bool in_open_ = false;
  bool stopped_ = false;
};

// The pairs of a SPDY connection. Give its OnStream to the session; it lives as long as that.
class ForwardPairs : public std::enable_shared_from_this<ForwardPairs> {
 public:
  ForwardPairs(const StreamLoop& loop, std::string pod) : loop_(loop), pod_(std::move(pod)) {}
  bool OnStream(StreamPtr stream, const SpdyHeaders& headers);

 private:
  struct Pair {
    StreamPtr data, error;
    int port = 0;
    std::unique_ptr<boost::asio::steady_timer> timer;
  };
  void Expire(const std::string& id);

  const StreamLoop loop_;
  const std::string pod_;
  std::map<std::string, Pair> pairs_;  // that wait for their other half
};

// The ports of a WebSocket, whose connection closes when the last of them has ended.
void ForwardChannels(const StreamLoop& loop, const StreamRequest& request,
                     const std::shared_ptr<ChannelConnection>& connection);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_PORT_FORWARD_H_
