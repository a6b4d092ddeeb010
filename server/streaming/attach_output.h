// The output of a container as the log writer passes it to an attached client.
//
// The log writer never waits. What it can't pass on at once is lost to the client, which is cut off then:
// a gap in the middle would not be seen. This side reads ahead of the client, up to kMaxAhead bytes.
#ifndef BERTH_SERVER_STREAMING_ATTACH_OUTPUT_H_
#define BERTH_SERVER_STREAMING_ATTACH_OUTPUT_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "server/streaming/stream.h"

namespace berth {

// On the loop's thread.
class AttachOutput : public std::enable_shared_from_this<AttachOutput> {
 public:
  // `out` and `err` may be null: that output is dropped. `on_end` once, when all has been sent: OK if
  // the container has ended.
  static std::shared_ptr<AttachOutput> Start(boost::asio::io_context* io, UniqueFd from,
                                             StreamPtr out, StreamPtr err,
                                             std::function<void(absl::Status)> on_end);
  void Stop();

 private:
  struct Lane {
    StreamPtr to;
    std::string waiting;
    std::string writing;
  };

  AttachOutput(boost::asio::io_context* io, StreamPtr out, StreamPtr err,
               std::function<void(absl::Status)> on_end);
  void Wait();
  void Receive();
  void Write(Lane& lane);
  size_t ahead() const;
  void EndIfWritten();

  boost::asio::posix::stream_descriptor from_;
  Lane lanes_[2];
  std::function<void(absl::Status)> on_end_;
  bool reading_ = false;
  bool ended_ = false;
  absl::Status result_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_ATTACH_OUTPUT_H_
