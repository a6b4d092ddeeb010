// The daemon: opens the layers in order, makes records and reality agree, serves, and ends in order.
#ifndef BERTH_SERVER_DAEMON_H_
#define BERTH_SERVER_DAEMON_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "server/config/config.h"

namespace berth {

class Daemon {
 public:
  // Takes ROOT and STATE (refused if another daemon has one of them), opens the store and all that
  // lies on it, binds the socket (only Version is answered), recovers, and opens the gate. When it
  // returns, calls are served. The signals SIGTERM and SIGINT must be blocked before.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const Config& config);
  // Containers stay. False if a call could not be ended: the process should _exit then.
  bool Stop();
  ~Daemon();

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace berth

#endif  // BERTH_SERVER_DAEMON_H_
