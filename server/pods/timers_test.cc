#include "server/pods/timers.h"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/notification.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(TimersTest, WorkRunsInTheOrderOfItsTime) {
  Timers timers;
  std::vector<int> order;
  Notification last;
  const absl::Time now = absl::Now();
  timers.At(now + absl::Milliseconds(30), [&] {
    order.push_back(2);
    last.Notify();
  });
  timers.At(now, [&] { order.push_back(1); });
  ASSERT_TRUE(last.WaitForNotificationWithTimeout(absl::Seconds(10)));
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(TimersTest, WhatIsCancelledDoesNotRun) {
  Timers timers;
  bool ran = false;
  const auto id = timers.At(absl::Now() + absl::Hours(1), [&] { ran = true; });
  EXPECT_TRUE(timers.Cancel(id));
  EXPECT_FALSE(timers.Cancel(id));
  timers.Stop();
  EXPECT_FALSE(ran);
}

TEST(TimersTest, AStoppedOneWaitsForWhatRunsAndIgnoresWhatComes) {
  Timers timers;
  Notification started;
  std::atomic<bool> finished{false};
  timers.At(absl::Now(), [&] {
    started.Notify();
    absl::SleepFor(absl::Milliseconds(20));
    finished = true;
  });
  started.WaitForNotification();
  timers.Stop();
  EXPECT_TRUE(finished);
  timers.At(absl::Now(), [] { FAIL() << "ran after Stop"; });
  timers.Stop();
}

TEST(TimersTest, WorkMayRunElsewhere) {
  std::atomic<int> ran{0};
  {
    std::vector<std::thread> threads;
    Timers timers([&](Timers::Work work) { threads.emplace_back(std::move(work)); });
    Notification last;
    // The first does not keep the second from running.
    timers.At(absl::Now(), [&] {
      last.WaitForNotification();
      ++ran;
    });
    timers.At(absl::Now(), [&] {
      ++ran;
      last.Notify();
    });
    ASSERT_TRUE(last.WaitForNotificationWithTimeout(absl::Seconds(20)));
    timers.Stop();
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(ran, 2);
}

TEST(TimersTest, WhatIsDueNowIsNotPutOffByTheClock) {
  std::string path = testing::TempDir() + "/clock.XXXXXX";
  const int fd = mkstemp(path.data());
  int64_t nanos = 0;
  ASSERT_EQ(pwrite(fd, &nanos, sizeof nanos, 0), 8);
  ASSERT_TRUE(ShareWallClockOffset(path).ok());
  Timers timers;
  Notification ran;
  timers.At(WallNow() + absl::Milliseconds(50), [&] { ran.Notify(); });
  nanos = -absl::ToInt64Nanoseconds(absl::Hours(5));
  ASSERT_EQ(pwrite(fd, &nanos, sizeof nanos, 0), 8);
  EXPECT_TRUE(ran.WaitForNotificationWithTimeout(absl::Seconds(60)));
  timers.Stop();
  nanos = 0;
  ASSERT_EQ(pwrite(fd, &nanos, sizeof nanos, 0), 8);
  close(fd);
  unlink(path.c_str());
}

}  // namespace
}  // namespace berth
