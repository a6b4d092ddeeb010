// The streaming server: exec, attach and port-forward for kubelet and crictl, over HTTP upgrades.
//
//   StreamingServer server({.address = "127.0.0.1:0"}, &backend);
//   RETURN_IF_ERROR(server.Start());
//   ASSIGN_OR_RETURN(std::string url, server.UrlOf(request));   // http://127.0.0.1:43210/exec/TOKEN
//
// There is no authentication but the token: one request each, good for one use within a minute. One
// thread serves all; what blocks runs on threads that come and go. Without clients nothing wakes.
//
// Bounds: max_connections (more are answered 503), max_half_open of them without a request yet (a further
// one is for the oldest's end), 16 KiB of request head, 10 s for it, kMaxTokens, and what SpdySession and
// ChannelConnection hold for a client. Sessions without a byte for the idle time are closed.
#ifndef BERTH_SERVER_STREAMING_STREAMING_SERVER_H_
#define BERTH_SERVER_STREAMING_STREAMING_SERVER_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/streaming/stream_backend.h"

namespace berth {

struct StreamingServerOptions {
  std::string address = "127.0.0.1:0";
  std::chrono::milliseconds idle = std::chrono::hours(4);
  std::chrono::milliseconds patience = std::chrono::seconds(30);  // for streams, and within a pod
  std::chrono::milliseconds head_time = std::chrono::seconds(10);
  int max_connections = 2048;
  size_t max_half_open = 512;
};

// Since the start, but for `connections`.
struct StreamCounts {
  int connections = 0;                       // at the moment
  std::map<std::string, uint64_t> sessions;  // by verb: exec, attach, portforward
  std::map<std::string, uint64_t> refused;   // requests, by HTTP status
};

class StreamingServer {
 public:
  // `backend` outlives it.
  StreamingServer(const StreamingServerOptions& options, StreamBackend* backend);
  ~StreamingServer();  // Stops.
  StreamingServer(const StreamingServer&) = delete;
  StreamingServer& operator=(const StreamingServer&) = delete;

  // InvalidArgument: the address doesn't parse; AlreadyExists: the port is taken.
  absl::Status Start();
  // Ends all sessions; a command's client is told why. Waits a moment for that to be sent.
  void Stop();

  // Any thread. InvalidArgument for a request that can't be served; ResourceExhausted if too many URLs
  // wait for their use.
  absl::StatusOr<std::string> UrlOf(const StreamRequest& request);

  // HOST:PORT as bound.
  std::string address() const;
  // Any thread.
  StreamCounts counts() const;
  int connections() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_STREAMING_SERVER_H_
