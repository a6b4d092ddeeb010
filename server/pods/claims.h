// Claims: one creation in flight per name, joined by equal requests.
//
// kubelet retries a call that timed out with the same name and attempt. A claim makes that safe:
// - an equal request (same fingerprint) that meets a creation in flight waits for its outcome;
// - a different one cancels the creation in flight, waits for its undo, and starts its own;
// - a caller that goes away does not stop a creation. It finishes, and if nobody has asked for it
//   within two minutes it is undone: no name is ever reserved by somebody who is gone.
#ifndef BERTH_SERVER_PODS_CLAIMS_H_
#define BERTH_SERVER_PODS_CLAIMS_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/cri/call_context.h"
#include "server/pods/timers.h"

namespace berth {

// Seen by a creation while it runs.
class Creation {
 public:
  // Cancelled once a different request wants the name; to be asked between steps.
  absl::Status Check() const;

 private:
  friend class Claims;
  std::atomic<bool> superseded_{false};
};

// Thread-safe.
class Claims {
 public:
  // Makes the thing and returns its ID, or finds that it is there already.
  using Create = std::function<absl::StatusOr<std::string>(const Creation&)>;
  // Takes away again what nobody asked for.
  using Undo = std::function<void(const std::string& id)>;

  Claims(Timers* timers, Undo undo, absl::Duration unclaimed_life = absl::Minutes(2));

  // The outcome of `create` for `name`: run here, or by the equal request that was first. The joined
  // caller returns DeadlineExceeded or Cancelled when its own call ends earlier.
  absl::StatusOr<std::string> Run(const std::string& name, const std::string& fingerprint,
                                  const CallContext& caller, const Create& create);

 private:
  struct InFlight {
    std::optional<std::string> fingerprint;  // none: the undo of what nobody claimed
    Creation creation;
    bool done = false;
    absl::StatusOr<std::string> outcome = absl::UnknownError("in progress");
  };

  absl::StatusOr<std::string> Own(const std::string& name, const std::shared_ptr<InFlight>& flight,
                                  const CallContext& caller, const Create& create)
      ABSL_LOCKS_EXCLUDED(mu_);
  void LeaveUnclaimed(const std::string& name, const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Timers* const timers_;
  const Undo undo_;
  const absl::Duration unclaimed_life_;

  Mutex mu_;
  CondVar done_;
  std::map<std::string, std::shared_ptr<InFlight>> in_flight_ ABSL_GUARDED_BY(mu_);
  // By name: the timer that will undo what was made for a caller that is gone.
  std::map<std::string, Timers::TimerId> unclaimed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_CLAIMS_H_
