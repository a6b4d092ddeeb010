// Deferred work on one thread that sleeps without a time-out while nothing is due.
#ifndef BERTH_SERVER_PODS_TIMERS_H_
#define BERTH_SERVER_PODS_TIMERS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth {

// Thread-safe. The destructor stops it.
class Timers {
 public:
  using TimerId = uint64_t;

  Timers();
  ~Timers();
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  // Runs `work` once at `when`, on the timers' thread; work that takes long delays the others.
  TimerId At(absl::Time when, std::function<void()> work);
  // True if it was dropped before it ran.
  bool Cancel(TimerId id);
  // Drops what is not due, waits for what is running, and ignores what comes later. May be repeated;
  // not from the timers' own thread.
  void Stop();

 private:
  void Loop();

  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  TimerId last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::pair<absl::Time, TimerId>, std::function<void()>> due_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_TIMERS_H_
