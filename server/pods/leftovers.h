// What a flow could not take away after its commit point, or in its undo: tried again until it is gone.
//
// A restart finds all of it, too; this is for the daemon that goes on.
#ifndef BERTH_SERVER_PODS_LEFTOVERS_H_
#define BERTH_SERVER_PODS_LEFTOVERS_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/pods/timers.h"

namespace berth {

// Thread-safe. `timers` outlives it; what is left when they stop is the next start's.
class Leftovers {
 public:
  // May be repeated; OK when nothing is left.
  using Remove = std::function<absl::Status()>;

  // Doubled with each attempt, up to five minutes.
  explicit Leftovers(Timers* timers, absl::Duration first_delay = absl::Seconds(1))
      : timers_(timers), first_delay_(first_delay) {}

  // Tries now; logs a failure of `what` ("snapshot 12ab") and tries again later.
  void RemoveOrRetry(const std::string& what, Remove remove) {
    Try(what, std::move(remove), first_delay_);
  }
  // The same for what has just failed: nothing is tried on the caller's thread.
  void RetryLater(const std::string& what, Remove remove) {
    TryAfter(first_delay_, what, std::move(remove));
  }

 private:
  void Try(const std::string& what, Remove remove, absl::Duration delay);
  void TryAfter(absl::Duration delay, const std::string& what, Remove remove);

  Timers* const timers_;
  const absl::Duration first_delay_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_LEFTOVERS_H_
