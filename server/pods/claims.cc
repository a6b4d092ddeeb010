#include "server/pods/claims.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"

namespace berth {

absl::Status Creation::Check() const {
  if (!superseded_.load(std::memory_order_acquire)) return absl::OkStatus();
  return absl::CancelledError("a request with another configuration took the name over");
}

Claims::Claims(Timers* timers, Undo undo, absl::Duration unclaimed_life)
    : timers_(timers), undo_(std::move(undo)), unclaimed_life_(unclaimed_life) {}

absl::StatusOr<std::string> Claims::Run(const std::string& name, const std::string& fingerprint,
                                        const CallContext& caller, const Create& create) {
  CancelSubscription wake = caller.OnCancel([this] {
    MutexLock lock(&mu_);
    done_.SignalAll();
  });
  std::shared_ptr<InFlight> mine;
  {
    MutexLock lock(&mu_);
    while (true) {
      // One that has left begins nothing and supersedes nobody: its client may have sent another since.
      if (caller.cancelled() || absl::Now() >= caller.deadline())
        return absl::DeadlineExceededError(absl::StrCat(name, ": the caller left before it began"));
      std::shared_ptr<InFlight>& slot = in_flight_[name];
      if (slot == nullptr) {
        mine = slot = std::make_shared<InFlight>();
        mine->fingerprint = fingerprint;
        break;
      }
      const std::shared_ptr<InFlight> flight = slot;
      const bool equal = flight->fingerprint.has_value() && *flight->fingerprint == fingerprint;
      if (!equal) flight->creation.superseded_.store(true, std::memory_order_release);
      while (!flight->done && !caller.cancelled() && absl::Now() < caller.deadline()) {
        done_.WaitWithDeadline(&mu_, caller.deadline());
      }
      if (!flight->done) {
        return absl::DeadlineExceededError(
            absl::StrCat(name, ": ", equal ? "an equal request" : "another request for the name",
                         " is still in progress"));
      }
      if (equal && !caller.cancelled()) {
        if (const auto found = unclaimed_.find(name); found != unclaimed_.end()) {
          timers_->Cancel(found->second);
          unclaimed_.erase(found);
        }
        return flight->outcome;
      }
      if (equal) return flight->outcome;
    }
  }
  return Own(name, mine, caller, create);
}

absl::StatusOr<std::string> Claims::Own(const std::string& name,
                                        const std::shared_ptr<InFlight>& flight,
                                        const CallContext& caller, const Create& create) {
  absl::StatusOr<std::string> outcome = create(flight->creation);
  MutexLock lock(&mu_);
  flight->outcome = outcome;
  flight->done = true;
  in_flight_.erase(name);
  done_.SignalAll();
  if (!outcome.ok()) return outcome;
  if (const auto found = unclaimed_.find(name); found != unclaimed_.end()) {
    timers_->Cancel(found->second);
    unclaimed_.erase(found);
  }
  // One that joined and is still there takes it back at once.
  if (caller.cancelled()) LeaveUnclaimed(name, *outcome);
  return outcome;
}

void Claims::LeaveUnclaimed(const std::string& name, const std::string& id) {
  unclaimed_[name] = timers_->At(WallNow() + unclaimed_life_, [this, name, id] {
    const auto undoing = std::make_shared<InFlight>();
    {
      MutexLock lock(&mu_);
      // A request that came while this was on its way to run has claimed it.
      if (unclaimed_.erase(name) == 0 || in_flight_.contains(name)) return;
      // Whoever wants the name meanwhile waits for the undo: no request is equal to it.
      in_flight_[name] = undoing;
    }
    undo_(id);
    MutexLock lock(&mu_);
    undoing->done = true;
    in_flight_.erase(name);
    done_.SignalAll();
  });
}

}  // namespace berth
