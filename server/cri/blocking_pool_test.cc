#include "server/cri/blocking_pool.h"

#include <atomic>

#include "absl/synchronization/barrier.h"
#include "base/notification.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(BlockingPool, RunsWorkSideBySideUpToTheBound) {
  Notification release;
  std::atomic<int> started{0};
  BlockingPool pool({.max_threads = 4});
  for (int i = 0; i < 10; ++i) {
    pool.Run([&] {
      started.fetch_add(1);
      release.WaitForNotification();
    });
  }
  while (started.load() < 4) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(pool.threads(), 4);
  EXPECT_FALSE(pool.WaitIdle(absl::Now() + absl::Milliseconds(20)));
  EXPECT_EQ(started.load(), 4);
  release.Notify();
  EXPECT_TRUE(pool.WaitIdle(absl::Now() + absl::Seconds(30)));
  EXPECT_EQ(started.load(), 10);
}

// Work that waits for work queued after it must not hang while the bound allows another thread.
TEST(BlockingPool, NoWorkWaitsBehindABlockedOneBelowTheBound) {
  BlockingPool pool({.max_threads = 16});
  absl::Barrier* barrier = new absl::Barrier(16);
  for (int i = 0; i < 16; ++i) {
    pool.Run([barrier] {
      if (barrier->Block()) delete barrier;
    });
  }
  EXPECT_TRUE(pool.WaitIdle(absl::Now() + absl::Seconds(30)));
}

TEST(BlockingPool, ThreadsEndWhenIdleAndTheLastOneSaysSo) {
  Notification idle;
  BlockingPool pool({.idle_timeout = absl::Milliseconds(10), .on_idle = [&] { idle.Notify(); }});
  pool.Run([] {});
  EXPECT_TRUE(idle.WaitForNotificationWithTimeout(absl::Seconds(30)));
  const absl::Time patience = absl::Now() + absl::Seconds(30);
  while (pool.threads() > 0 && absl::Now() < patience) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(pool.threads(), 0);
}

TEST(BlockingPool, AThreadIsReused) {
  BlockingPool pool({});
  for (int i = 0; i < 100; ++i) {
    pool.Run([] {});
    ASSERT_TRUE(pool.WaitIdle(absl::Now() + absl::Seconds(30)));
  }
  EXPECT_EQ(pool.threads(), 1);
}

TEST(BlockingPool, DestructionRunsWhatIsQueued) {
  std::atomic<int> done{0};
  {
    BlockingPool pool({.max_threads = 1});
    for (int i = 0; i < 50; ++i) pool.Run([&] { done.fetch_add(1); });
  }
  EXPECT_EQ(done.load(), 50);
}

}  // namespace
}  // namespace berth
