// The gRPC server of the CRI: a unix socket, two completion-queue threads, a pool for what blocks.
#ifndef BERTH_SERVER_CRI_SERVER_H_
#define BERTH_SERVER_CRI_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/cri/handlers.h"
#include "server/cri/observer.h"

namespace berth {

struct CriServerOptions {
  // An absolute path; `unix://` before it is accepted.
  std::string address;
  // Calls that are in their handlers at once; more wait in a queue. Inline methods don't count.
  int max_blocking_calls = 256;
  // How many server-streaming calls may be open; more fail with ResourceExhausted.
  int max_streams = 64;
  // What a stream's client may take to accept one message. Then the stream is broken off.
  absl::Duration stream_write_timeout = absl::Seconds(60);
  // What a pool thread waits for work before it ends.
  absl::Duration idle_thread_timeout = absl::Seconds(5);
  // Of one message, in either direction; kubelet has the same limit.
  int max_message_bytes = 16 << 20;
};

class CriServer {
 public:
  // Binds the socket and begins to serve. Until SetReady() only Version is answered: other calls
  // wait.
  //
  // The socket has mode 0660 and appears with a rename, so nobody sees it before it accepts. One
  // that a dead daemon left is replaced; AlreadyExists if something answers on it, or if another
  // process holds ADDRESS.lock; InvalidArgument for a path that isn't absolute or is too long for a
  // socket; FailedPrecondition if something that isn't a socket stands there. The directory has to
  // exist.
  //
  // Handlers and observer (may be null) must outlive the server.
  static absl::StatusOr<std::unique_ptr<CriServer>> Start(const CriServerOptions& options,
                                                          RuntimeServiceHandler* runtime,
                                                          ImageServiceHandler* image,
                                                          RpcObserver* observer);

  virtual ~CriServer() = default;

  // Lets the waiting calls run. Once; any thread.
  virtual void SetReady() = 0;

  // Removes the socket, ends streams, takes no new call, and waits for those in progress until
  // `deadline`; then cancels them and waits up to five seconds more. False if a handler is running
  // even then: neither the server nor the handlers may be destroyed, the process should _exit(2).
  // Calls that waited for SetReady() fail with Unavailable. The destructor does it at once, and
  // crashes rather than destroy what is in use.
  virtual bool Shutdown(absl::Time deadline) = 0;
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_SERVER_H_
