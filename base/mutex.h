// Mutexes of this project: absl::Mutex behind an interface that clang's thread-safety analysis checks
// and that ThreadSanitizer understands (Debian's Abseil is not instrumented, so TSan would report
// races on correct code without the annotations here).
#ifndef BERTH_BASE_MUTEX_H_
#define BERTH_BASE_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#if defined(__SANITIZE_THREAD__)
#define BERTH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BERTH_TSAN 1
#endif
#endif
#ifdef BERTH_TSAN
#include <sanitizer/tsan_interface.h>
#define BERTH_TSAN_CALL(call) call
#else
#define BERTH_TSAN_CALL(call)
#endif

namespace berth {

class CondVar;

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() { BERTH_TSAN_CALL(__tsan_mutex_create(this, 0)); }
  ~Mutex() { BERTH_TSAN_CALL(__tsan_mutex_destroy(this, 0)); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BERTH_TSAN_CALL(__tsan_mutex_pre_lock(this, 0));
    mu_.Lock();
    BERTH_TSAN_CALL(__tsan_mutex_post_lock(this, 0, 1));
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BERTH_TSAN_CALL(__tsan_mutex_pre_unlock(this, 0));
    mu_.Unlock();
    BERTH_TSAN_CALL(__tsan_mutex_post_unlock(this, 0));
  }

 private:
  friend class CondVar;
  absl::Mutex mu_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* mu_;
};

// A condition variable for Mutex. Waits may wake spuriously: loop on the condition.
class CondVar {
 public:
  void Signal() { cv_.Signal(); }
  void SignalAll() { cv_.SignalAll(); }

  void Wait(Mutex* mu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    WaitWithDeadline(mu, absl::InfiniteFuture());
  }
  // True if the deadline passed.
  bool WaitWithDeadline(Mutex* mu, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BERTH_TSAN_CALL(__tsan_mutex_pre_unlock(mu, 0));
    BERTH_TSAN_CALL(__tsan_mutex_post_unlock(mu, 0));
    const bool expired = cv_.WaitWithDeadline(&mu->mu_, deadline);
    BERTH_TSAN_CALL(__tsan_mutex_pre_lock(mu, 0));
    BERTH_TSAN_CALL(__tsan_mutex_post_lock(mu, 0, 1));
    return expired;
  }

 private:
  absl::CondVar cv_;
};

}  // namespace berth

#endif  // BERTH_BASE_MUTEX_H_
