#include "server/images/layer_flights.h"

#include "base/status.h"

namespace berth {
namespace {

// Waits on `changed` until `ready`, the deadline, or a cancellation. A Cancellation's callback takes
// `mu`, so it is registered and asked without it.
template <typename Ready>
absl::Status WaitUntil(Mutex* mu, CondVar* changed, Cancellation* cancellation, Ready ready) {
  bool cancelled = false;
  const CancelCallback wake(cancellation, [&] {
    MutexLock lock(mu);
    cancelled = true;
    changed->SignalAll();
  });
  bool done = false;
  {
    MutexLock lock(mu);
    while (!(done = ready()) && !cancelled) {
      if (changed->WaitWithDeadline(mu, cancellation->deadline())) break;
    }
  }
  return done ? absl::OkStatus() : cancellation->Check();
}

}  // namespace

absl::StatusOr<LayerFlights::Flight> LayerFlights::Begin(const DiffId& layer,
                                                         const std::function<bool()>& acquire,
                                                         Cancellation* cancellation) {
  if (acquire()) return Flight();
  while (true) {
    bool mine = false;
    RETURN_IF_ERROR(WaitUntil(&mu_, &changed_, cancellation, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      mine = layers_.insert(layer).second;
      return mine;
    }));
    if (!mine) continue;  // the deadline raced with the check
    Flight flight(this, layer);
    // Its last flight may have ended well since.
    if (acquire()) return Flight();
    return flight;
  }
}

void LayerFlights::End(const DiffId& layer) {
  MutexLock lock(&mu_);
  layers_.erase(layer);
  changed_.SignalAll();
}

absl::Status WorkSlots::Take(Cancellation* cancellation) {
  while (true) {
    bool mine = false;
    RETURN_IF_ERROR(WaitUntil(&mu_, &changed_, cancellation, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      mine = free_ > 0;
      if (mine) --free_;
      return mine;
    }));
    if (mine) return absl::OkStatus();
  }
}

void WorkSlots::Give() {
  MutexLock lock(&mu_);
  ++free_;
  changed_.SignalAll();  // one alone may be about to give up
}

}  // namespace berth
