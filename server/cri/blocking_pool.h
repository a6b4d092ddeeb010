// Threads for work that blocks: as many as are needed, up to a bound, and none when nothing
// happens.
#ifndef BERTH_SERVER_CRI_BLOCKING_POOL_H_
#define BERTH_SERVER_CRI_BLOCKING_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth {

struct BlockingPoolOptions {
  int max_threads = 256;
  // What a thread waits for work before it ends. A pool without threads sets no timers.
  absl::Duration idle_timeout = absl::Seconds(5);
  // Of each thread. Only what is touched is resident.
  size_t stack_bytes = 512 << 10;
  // Runs on the last thread before it ends: the burst is over.
  std::function<void()> on_idle;
};

// Thread-safe.
class BlockingPool {
 public:
  using Work = std::function<void()>;

  explicit BlockingPool(BlockingPoolOptions options);
  // Waits for all work, queued work included.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `work` on an idle thread, on a new one, or, at the bound, in its turn. Work that can't get
  // a thread because the system has none is kept for the threads that there are; with none at all
  // it runs here, on the caller's thread.
  void Run(Work work);

  // Waits until no work is queued or running; false if `deadline` comes first.
  bool WaitIdle(absl::Time deadline);

  int threads() const;

 private:
  static void* ThreadMain(void* pool);
  void Serve();
  // Waits for work; false if none came in time.
  bool Next(Work* work);
  // Ends the calling thread's membership; false if it is needed after all.
  bool Retire();
  bool StartThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const BlockingPoolOptions options_;
  mutable Mutex mu_;
  CondVar work_added_;
  CondVar state_changed_;
  std::deque<Work> queue_ ABSL_GUARDED_BY(mu_);
  int threads_ ABSL_GUARDED_BY(mu_) = 0;
  int idle_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_BLOCKING_POOL_H_
