// Who is told of every call: the log and the metrics.
#ifndef BERTH_SERVER_CRI_OBSERVER_H_
#define BERTH_SERVER_CRI_OBSERVER_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace berth {

// One finished call.
struct RpcOutcome {
  // `RunPodSandbox`; "unknown" for a method that the server doesn't have.
  absl::string_view method;
  absl::string_view request_id;
  const absl::Status& status;
  // From the arrival of the call to the handler's return, time in queues included.
  absl::Duration duration;
};

// Its methods are called on transport and pool threads, several at once, and must not block.
class RpcObserver {
 public:
  virtual ~RpcObserver() = default;
  virtual void OnStart(absl::string_view method) = 0;
  // Exactly once for each OnStart.
  virtual void OnEnd(const RpcOutcome& outcome) = 0;
};

// Logs each failed call once, with its id, and hands every call on to `next` (may be null).
// Requests are never logged: they carry credentials and environment variables.
class LoggingObserver : public RpcObserver {
 public:
  explicit LoggingObserver(RpcObserver* next) : next_(next) {}
  void OnStart(absl::string_view method) override;
  void OnEnd(const RpcOutcome& outcome) override;

 private:
  RpcObserver* const next_;
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_OBSERVER_H_
