// Mutexes of this project: pthread's, behind an interface that clang's thread-safety analysis checks.
//
// Not absl::Mutex: Debian's Abseil is not instrumented, so that ThreadSanitizer would report races on
// correct code, and it waits on the wall clock: a wait would last longer when somebody sets that back.
#ifndef BERTH_BASE_MUTEX_H_
#define BERTH_BASE_MUTEX_H_

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace berth {

class CondVar;

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  ~Mutex() { pthread_mutex_destroy(&mu_); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    pthread_mutex_lock(&mu_);
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    pthread_mutex_unlock(&mu_);
  }

 private:
  friend class CondVar;
  pthread_mutex_t mu_ = PTHREAD_MUTEX_INITIALIZER;
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
  CondVar() = default;
  ~CondVar() { pthread_cond_destroy(&cv_); }
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Signal() { pthread_cond_signal(&cv_); }
  void SignalAll() { pthread_cond_broadcast(&cv_); }

  void Wait(Mutex* mu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    pthread_cond_wait(&cv_, &mu->mu_);
  }
  // True if the deadline, a time of absl::Now(), passed. What is left until then is waited for, whatever
  // the wall clock does.
  bool WaitWithDeadline(Mutex* mu, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (deadline == absl::InfiniteFuture()) {
      Wait(mu);
      return false;
    }
    timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    // A year is as good as any longer time, and doesn't overflow.
    const absl::Duration left =
        std::clamp(deadline - absl::Now(), absl::ZeroDuration(), absl::Hours(24 * 365));
    const int64_t nanos = until.tv_nsec + absl::ToInt64Nanoseconds(left);
    until.tv_sec += nanos / 1'000'000'000;
    until.tv_nsec = nanos % 1'000'000'000;
    return pthread_cond_clockwait(&cv_, &mu->mu_, CLOCK_MONOTONIC, &until) == ETIMEDOUT;
  }

 private:
  pthread_cond_t cv_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace berth

#endif  // BERTH_BASE_MUTEX_H_
