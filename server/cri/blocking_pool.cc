#include "server/cri/blocking_pool.h"

#include <pthread.h>

#include <utility>

namespace berth {

BlockingPool::BlockingPool(BlockingPoolOptions options) : options_(std::move(options)) {}

BlockingPool::~BlockingPool() {
  MutexLock lock(&mu_);
  stopping_ = true;
  work_added_.SignalAll();
  while (threads_ > 0) state_changed_.Wait(&mu_);
}

void BlockingPool::Run(Work work) {
  {
    MutexLock lock(&mu_);
    // An idle thread counts as taken once work is queued for it.
    const bool needs_thread = queue_.size() >= static_cast<size_t>(idle_);
    if (!needs_thread || threads_ >= options_.max_threads || StartThread() || threads_ > 0) {
      queue_.push_back(std::move(work));
      work_added_.Signal();
      return;
    }
  }
  work();
}

bool BlockingPool::WaitIdle(absl::Time deadline) {
  MutexLock lock(&mu_);
  while (!queue_.empty() || idle_ < threads_) {
    if (state_changed_.WaitWithDeadline(&mu_, deadline)) return queue_.empty() && idle_ == threads_;
  }
  return true;
}

int BlockingPool::threads() const {
  MutexLock lock(&mu_);
  return threads_;
}

bool BlockingPool::StartThread() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, options_.stack_bytes);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, &ThreadMain, this) == 0;
  pthread_attr_destroy(&attributes);
  if (started) ++threads_;
  return started;
}

void* BlockingPool::ThreadMain(void* pool) {
  pthread_setname_np(pthread_self(), "berth-call");
  static_cast<BlockingPool*>(pool)->Serve();
  return nullptr;
}

bool BlockingPool::Next(Work* work) {
  MutexLock lock(&mu_);
  ++idle_;
  if (queue_.empty()) state_changed_.SignalAll();
  const absl::Time patience = absl::Now() + options_.idle_timeout;
  while (queue_.empty() && !stopping_) {
    if (work_added_.WaitWithDeadline(&mu_, patience)) break;
  }
  --idle_;
  if (queue_.empty()) return false;
  *work = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

bool BlockingPool::Retire() {
  bool last;
  {
    MutexLock lock(&mu_);
    last = threads_ == 1 && !stopping_;
  }
  // While this thread counts the pool isn't destroyed.
  if (last && options_.on_idle) options_.on_idle();
  MutexLock lock(&mu_);
  // Work may have come since this thread decided to go.
  if (queue_.size() > static_cast<size_t>(idle_)) return false;
  --threads_;
  state_changed_.SignalAll();
  return true;
}

void BlockingPool::Serve() {
  do {
    Work work;
    while (Next(&work)) {
      work();
      work = nullptr;
    }
  } while (!Retire());
}

}  // namespace berth
