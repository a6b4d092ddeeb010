#include "server/pods/timers.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/clock.h"

namespace berth {

Timers::Timers(Run run) : run_(std::move(run)), thread_([this] { Loop(); }) {}

Timers::~Timers() { Stop(); }

void Timers::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    due_.clear();
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

Timers::TimerId Timers::At(absl::Time when, Work work) {
  MutexLock lock(&mu_);
  const TimerId id = ++last_id_;
  if (stopping_) return id;
  due_.emplace(std::make_pair(ToSteady(when), id), std::move(work));
  changed_.SignalAll();
  return id;
}

bool Timers::Cancel(TimerId id) {
  MutexLock lock(&mu_);
  for (auto it = due_.begin(); it != due_.end(); ++it) {
    if (it->first.second == id) {
      due_.erase(it);
      return true;
    }
  }
  return false;
}

void Timers::Loop() {
  mu_.Lock();
  while (!stopping_) {
    if (due_.empty()) {
      changed_.Wait(&mu_);
    } else if (const absl::Duration left = due_.begin()->first.first - SteadyNow();
               left > absl::ZeroDuration()) {
      changed_.WaitWithDeadline(&mu_, absl::Now() + left);
    } else {
      Work work = std::move(due_.begin()->second);
      due_.erase(due_.begin());
      mu_.Unlock();
      run_(std::move(work));
      mu_.Lock();
    }
  }
  mu_.Unlock();
}

}  // namespace berth
