#include "server/pods/timers.h"

#include <atomic>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(TimersTest, WorkRunsInTheOrderOfItsTime) {
  Timers timers;
  std::vector<int> order;
  absl::Notification last;
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
  absl::Notification started;
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

}  // namespace
}  // namespace berth
