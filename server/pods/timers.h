// Deferred work: one thread that sleeps without a time-out while nothing is due.
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

  using Work = std::function<void()>;
  // How work that is due is run: on another thread, if it may take long.
  using Run = std::function<void(Work)>;

  // By default work runs on the timers' thread, in the order of its time.
  explicit Timers(Run run = [](const Work& work) { work(); });
  ~Timers();
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  // Runs `work` once at `when`; on the timers' own thread, work that takes long delays the others.
  TimerId At(absl::Time when, Work work);
  // True if it was dropped before it ran.
  bool Cancel(TimerId id);
  // Drops what is not due, waits for what is running on the timers' thread, and ignores what comes
  // later. May be repeated; not from the timers' own thread.
  void Stop();

 private:
  void Loop();

  const Run run_;
  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  TimerId last_id_ ABSL_GUARDED_BY(mu_) = 0;
  // By time of the steady clock: what is due now is not put off by a jump of the wall clock.
  std::map<std::pair<absl::Time, TimerId>, Work> due_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_TIMERS_H_
