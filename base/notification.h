// Something that happens once. Like absl::Notification, but known to ThreadSanitizer (base/mutex.h).
#ifndef BERTH_BASE_NOTIFICATION_H_
#define BERTH_BASE_NOTIFICATION_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth {

// Thread-safe. Notify() is called once, and may be the last use of it by that thread: who waited may
// destroy it.
class Notification {
 public:
  void Notify() {
    MutexLock lock(&mu_);
    notified_ = true;
    changed_.SignalAll();
  }
  bool HasBeenNotified() const {
    MutexLock lock(&mu_);
    return notified_;
  }
  void WaitForNotification() { WaitUntil(absl::InfiniteFuture()); }
  // False if the time passed first.
  bool WaitForNotificationWithTimeout(absl::Duration timeout) {
    return WaitUntil(absl::Now() + timeout);
  }

 private:
  bool WaitUntil(absl::Time deadline) {
    MutexLock lock(&mu_);
    while (!notified_ && !changed_.WaitWithDeadline(&mu_, deadline)) continue;
    return notified_;
  }

  mutable Mutex mu_;
  CondVar changed_;
  bool notified_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth

#endif  // BERTH_BASE_NOTIFICATION_H_
