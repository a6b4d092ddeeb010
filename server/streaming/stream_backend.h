// What the streaming server asks of the flows: the ends of processes and sockets. It knows no pods.
#ifndef BERTH_SERVER_STREAMING_STREAM_BACKEND_H_
#define BERTH_SERVER_STREAMING_STREAM_BACKEND_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "runtime/keeper_client.h"
#include "server/streaming/stream_protocol.h"

namespace berth {

// What a token stands for.
struct StreamRequest {
  StreamKind kind = StreamKind::kExec;
  std::string id;  // the container's, of a port-forward the pod's
  std::vector<std::string> command;
  bool tty = false;
  bool in = false;
  bool out = false;
  bool err = false;
  std::vector<int> ports;  // of a port-forward by WebSocket
};

struct StartedExec {
  UniqueFd terminal;      // the master; then there are no pipes
  UniqueFd in, out, err;  // our ends
  // Dropping it kills the process tree. The last, to be dropped first.
  std::unique_ptr<Keeper::ExecSession> process;
};

struct StartedAttach {
  UniqueFd output;    // see AttachKind in runtime/keeper/protocol.h
  UniqueFd terminal;  // the master: to be written and resized, never read
  UniqueFd in;        // of stdin's pipe; invalid if the container has none, or none any more
};

// Calls block, and come from several threads.
class StreamBackend {
 public:
  virtual ~StreamBackend() = default;
  virtual absl::StatusOr<StartedExec> Exec(const StreamRequest& request) = 0;
  virtual absl::StatusOr<StartedAttach> Attach(const StreamRequest& request) = 0;
  // A TCP socket that is not connected, made in the pod's network namespace; `family` is AF_INET or
  // AF_INET6.
  virtual absl::StatusOr<UniqueFd> PodSocket(const std::string& pod, int family) = 0;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_STREAM_BACKEND_H_
