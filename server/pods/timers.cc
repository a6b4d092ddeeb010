#include "server/pods/timers.h"

#include "absl/time/clock.h"

namespace berth {

Timers::Timers() : thread_([this] { Loop(); }) {}

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

Timers::TimerId Timers::At(absl::Time when, std::function<void()> work) {
  MutexLock lock(&mu_);
  const TimerId id = ++last_id_;
  if (stopping_) return id;
  due_.emplace(std::make_pair(when, id), std::move(work));
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
    } else if (const absl::Time next = due_.begin()->first.first; absl::Now() < next) {
      changed_.WaitWithDeadline(&mu_, next);
    } else {
      std::function<void()> work = std::move(due_.begin()->second);
      due_.erase(due_.begin());
      mu_.Unlock();
      work();
      mu_.Lock();
    }
  }
  mu_.Unlock();
}

}  // namespace berth
