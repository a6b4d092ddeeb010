// One caller's wish to stop an operation: a deadline, and a flag that any thread may set.
//
// The caller makes a Cancellation, hands a reference down, and calls Cancel() when its client goes
// away. What runs below asks Check() between steps, and registers a CancelCallback around a wait so
// that it is woken at once.
#ifndef BERTH_BASE_CANCELLATION_H_
#define BERTH_BASE_CANCELLATION_H_

#include <functional>
#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth {

class Cancellation {
 public:
  explicit Cancellation(absl::Time deadline = absl::InfiniteFuture()) : deadline_(deadline) {}
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Idempotent. Runs the registered callbacks in this thread, before it returns.
  void Cancel() {
    MutexLock lock(&mu_);
    if (cancelled_) return;
    cancelled_ = true;
    for (const std::function<void()>& callback : callbacks_) callback();
  }

  // OK, or Cancelled, or DeadlineExceeded.
  absl::Status Check() const {
    MutexLock lock(&mu_);
    if (cancelled_) return absl::CancelledError("the call was cancelled");
    if (absl::Now() >= deadline_) return absl::DeadlineExceededError("the call's deadline passed");
    return absl::OkStatus();
  }

  absl::Time deadline() const { return deadline_; }

 private:
  friend class CancelCallback;
  using Callbacks = std::list<std::function<void()>>;

  const absl::Time deadline_;
  mutable Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  Callbacks callbacks_ ABSL_GUARDED_BY(mu_);
};

// Runs `callback` once when the operation is cancelled, at once if it already is; never on the
// deadline. The callback must be short, must not block, and must not touch the Cancellation. After
// the destructor it doesn't run any more.
class CancelCallback {
 public:
  CancelCallback(Cancellation* cancellation, std::function<void()> callback)
      : cancellation_(cancellation) {
    MutexLock lock(&cancellation_->mu_);
    if (cancellation_->cancelled_) callback();
    position_ =
        cancellation_->callbacks_.insert(cancellation_->callbacks_.end(), std::move(callback));
  }
  ~CancelCallback() {
    MutexLock lock(&cancellation_->mu_);
    cancellation_->callbacks_.erase(position_);
  }
  CancelCallback(const CancelCallback&) = delete;
  CancelCallback& operator=(const CancelCallback&) = delete;

 private:
  Cancellation* cancellation_;
  Cancellation::Callbacks::iterator position_;
};

}  // namespace berth

#endif  // BERTH_BASE_CANCELLATION_H_
