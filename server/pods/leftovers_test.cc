#include "server/pods/leftovers.h"

#include <atomic>
#include <thread>

#include "base/notification.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(LeftoversTest, WhatGoesAtOnceIsNotTriedAgain) {
  Timers timers;
  Leftovers leftovers(&timers, absl::ZeroDuration());
  int tries = 0;
  leftovers.RemoveOrRetry("a thing", [&] {
    ++tries;
    return absl::OkStatus();
  });
  timers.Stop();
  EXPECT_EQ(tries, 1);
}

TEST(LeftoversTest, WhatHasJustFailedIsTriedElsewhere) {
  Timers timers;
  Leftovers leftovers(&timers, absl::Milliseconds(1));
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> tries{0};
  Notification gone;
  leftovers.RetryLater("a thing", [&]() -> absl::Status {
    EXPECT_NE(std::this_thread::get_id(), caller);
    if (++tries < 2) return absl::InternalError("busy");
    gone.Notify();
    return absl::OkStatus();
  });
  EXPECT_TRUE(gone.WaitForNotificationWithTimeout(absl::Seconds(20)));
  timers.Stop();
  EXPECT_EQ(tries, 2);
}

TEST(LeftoversTest, WhatStaysIsTriedUntilItIsGone) {
  Timers timers;
  Leftovers leftovers(&timers, absl::Milliseconds(1));
  std::atomic<int> tries{0};
  Notification gone;
  leftovers.RemoveOrRetry("a thing", [&]() -> absl::Status {
    if (++tries < 4) return absl::InternalError("busy");
    gone.Notify();
    return absl::OkStatus();
  });
  EXPECT_TRUE(gone.WaitForNotificationWithTimeout(absl::Seconds(20)));
  timers.Stop();
  EXPECT_EQ(tries, 4);
}

}  // namespace
}  // namespace berth
