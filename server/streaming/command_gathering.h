// Waits until a SPDY client has made the streams that its exec or attach needs, then runs it.
#ifndef BERTH_SERVER_STREAMING_COMMAND_GATHERING_H_
#define BERTH_SERVER_STREAMING_COMMAND_GATHERING_H_

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "server/streaming/remote_command.h"
#include "server/streaming/spdy_headers.h"
#include "server/streaming/stream_loop.h"

namespace berth {

// On the loop's thread. Give its OnStream to the session.
class CommandGathering : public std::enable_shared_from_this<CommandGathering> {
 public:
  using Ready = std::function<void(CommandStreams)>;
  CommandGathering(const StreamLoop& loop, const StreamRequest& request,
                   const StreamProtocol& protocol, Ready ready)
      : loop_(loop),
        in_(request.in),
        out_(request.out),
        err_(request.err && !request.tty),
        resize_(request.tty && protocol.resizes()),
        ready_(std::move(ready)),
        timer_(*loop.io) {}

  // `too_late` if the streams don't come in time.
  void Start(std::function<void()> too_late);
  bool OnStream(const StreamPtr& stream, const SpdyHeaders& headers);

 private:
  bool Complete() const;

  const StreamLoop loop_;
  const bool in_, out_, err_, resize_;
  Ready ready_;
  boost::asio::steady_timer timer_;
  CommandStreams streams_;
};

// Reads a stream to its end that nobody wants.
void Discard(const StreamPtr& stream);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_COMMAND_GATHERING_H_
