// Pumps: bytes between a descriptor and a client's stream, each way at the pace of the slower side.
//
// On the loop's thread. A pump lives as long as something is under way; Stop drops what is not.
#ifndef BERTH_SERVER_STREAMING_PUMPS_H_
#define BERTH_SERVER_STREAMING_PUMPS_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "server/streaming/stream.h"

namespace berth {

// What is read from a descriptor goes to the client. Holds a buffer only while there are bytes.
class OutPump : public std::enable_shared_from_this<OutPump> {
 public:
  // `on_end(gone)` once: the descriptor is at its end, or Drain was through, or there is an error; or the
  // client is gone.
  static std::shared_ptr<OutPump> Start(boost::asio::io_context* io, UniqueFd from, StreamPtr to,
                                        std::function<void(bool gone)> on_end);
  // The writers' process has ended: what is there now still goes out, then it is the end. Those who still
  // hold the other end could write for ever.
  void Drain();
  void Stop();
  // The last error of the descriptor; 0 for an ordinary end.
  int error() const { return error_; }

 private:
  OutPump(boost::asio::io_context* io, StreamPtr to, std::function<void(bool gone)> on_end);
  void Wait();
  void Copy();
  void End(bool gone);

  boost::asio::posix::stream_descriptor from_;
  StreamPtr to_;
  std::function<void(bool)> on_end_;
  std::unique_ptr<char[]> buffer_;
  bool waiting_ = false;
  bool draining_ = false;
  int64_t left_ = 0;  // draining: bytes that may still be read
  int error_ = 0;
};

// What a client sends goes to a descriptor.
class InPump : public std::enable_shared_from_this<InPump> {
 public:
  enum class AtEnd { kClose, kShutdown, kNothing };  // a pipe, a socket, a terminal
  // `on_end` once: the client has closed its side and all is written. One whose other end is closed,
  // or that can't be watched, swallows what comes.
  static std::shared_ptr<InPump> Start(boost::asio::io_context* io, StreamPtr from, UniqueFd to,
                                       AtEnd at_end, std::function<void()> on_end);
  void Stop();
  // When something was written last, or came after all had been.
  std::chrono::steady_clock::time_point moved() const { return moved_; }

 private:
  InPump(boost::asio::io_context* io, StreamPtr from, UniqueFd to, AtEnd at_end,
         std::function<void()> on_end);
  void Read();
  void Write();
  void End();

  StreamPtr from_;
  boost::asio::posix::stream_descriptor to_;
  const AtEnd at_end_;
  std::function<void()> on_end_;
  std::string bytes_;
  size_t written_ = 0;
  std::chrono::steady_clock::time_point moved_ = std::chrono::steady_clock::now();
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_PUMPS_H_
