#include "server/pods/live_containers.h"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

const ContainerId kId("c");
// Nothing here takes as long: whoever gets there hangs.
const absl::Duration kForever = absl::Seconds(60);

TEST(LiveContainersTest, AnExitDuringTheStartIsHeldBack) {
  LiveContainers live;
  EXPECT_FALSE(live.HoldExit(kId, {.exit_code = 1}));
  live.BeginStart(kId);
  EXPECT_TRUE(live.HoldExit(kId, {.exit_code = 7}));
  const auto held = live.EndStart(kId);
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(held->exit_code, 7);
  EXPECT_FALSE(live.HoldExit(kId, {.exit_code = 8}));
  EXPECT_FALSE(live.EndStart(kId).has_value());
}

TEST(LiveContainersTest, AnExitIsEitherHeldOrSeesTheStartEnded) {
  LiveContainers live;
  for (int round = 0; round < 300; ++round) {
    live.BeginStart(kId);
    bool kept = false;
    std::thread exit([&] { kept = live.HoldExit(kId, {.exit_code = 3}); });
    const auto held = live.EndStart(kId);
    exit.join();
    EXPECT_EQ(kept, held.has_value());
  }
}

TEST(LiveContainersTest, TheEndWakesEveryWaiter) {
  LiveContainers live;
  std::atomic<bool> ended{false};
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const auto asked = [&ended] { return ended.load(); };
      const absl::Time until = absl::Now() + kForever;
      woken += i % 2 == 0 ? live.WaitForEnd(until, asked)
                          : live.WaitUntilKillTime(kId, until, nullptr, asked);
    });
  }
  ended = true;
  live.NotifyEnd(kId);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken, 4);
}

TEST(LiveContainersTest, AKillTimeShrinksAndNeverGrows) {
  LiveContainers live;
  const absl::Time now = absl::Now();
  const auto near = [](absl::Time a, absl::Time b) {
    return absl::AbsDuration(a - b) < absl::Seconds(1);
  };
  EXPECT_TRUE(near(live.ShrinkKillTime(kId, now + absl::Hours(2)), now + absl::Hours(2)));
  std::thread sooner([&] { live.ShrinkKillTime(kId, now); });
  // Ends at the sooner time, though it began with the later one.
  EXPECT_FALSE(live.WaitUntilKillTime(kId, now + kForever, nullptr, [] { return false; }));
  sooner.join();
  EXPECT_LT(absl::Now() - now, kForever);
  EXPECT_TRUE(near(live.ShrinkKillTime(kId, now + absl::Hours(3)), now));
}

TEST(LiveContainersTest, AnInfiniteKillTimeOnlyAsks) {
  LiveContainers live;
  const auto ask = [&live] { return live.ShrinkKillTime(kId, absl::InfiniteFuture()); };
  EXPECT_EQ(ask(), absl::InfiniteFuture());
  const absl::Time at = absl::Now() + absl::Hours(1);
  live.ShrinkKillTime(kId, at);
  EXPECT_LT(absl::AbsDuration(ask() - at), absl::Seconds(1));
  live.NotifyEnd(kId);
  EXPECT_EQ(ask(), absl::InfiniteFuture());
}

TEST(LiveContainersTest, OnlyOneGoesOnWithAKillUntilTheEnd) {
  LiveContainers live;
  EXPECT_TRUE(live.TakePursuit(kId));
  EXPECT_FALSE(live.TakePursuit(kId));
  live.NotifyEnd(kId);
  EXPECT_TRUE(live.TakePursuit(kId));
}

TEST(LiveContainersTest, AJumpOfTheClockMovesNoKillTime) {
  std::string path = testing::TempDir() + "/clock.XXXXXX";
  const int fd = mkstemp(path.data());
  const auto set = [fd](absl::Duration offset) {
    const int64_t nanos = absl::ToInt64Nanoseconds(offset);
    ASSERT_EQ(pwrite(fd, &nanos, sizeof nanos, 0), 8);
  };
  set(absl::ZeroDuration());
  ASSERT_TRUE(ShareWallClockOffset(path).ok());
  for (const int hours : {-10, 10}) {
    LiveContainers live;
    const absl::Time begin = SteadyNow();
    live.ShrinkKillTime(kId, WallNow() + absl::Milliseconds(100));
    std::thread jump([&] { set(absl::Hours(hours)); });
    live.WaitUntilKillTime(kId, WallNow() + absl::Hours(100), nullptr, [] { return false; });
    EXPECT_GE(SteadyNow() - begin, absl::Milliseconds(99)) << hours;
    EXPECT_LT(SteadyNow() - begin, absl::Seconds(60)) << hours;
    jump.join();
    set(absl::ZeroDuration());
  }
  close(fd);
  unlink(path.c_str());
}

TEST(LiveContainersTest, ACallerThatLeavesWaitsNoLonger) {
  LiveContainers live;
  CallContext caller("1", "unix:", absl::InfiniteFuture());
  std::thread leave([&] { caller.Cancel(); });
  EXPECT_FALSE(live.WaitUntilKillTime(kId, absl::Now() + kForever, &caller, [] { return false; }));
  leave.join();
  EXPECT_TRUE(caller.cancelled());
}

TEST(LiveContainersTest, WhatIsErasedLeavesNothing) {
  LiveContainers live;
  live.SetGated(kId, true);
  EXPECT_TRUE(live.Gated(kId));
  live.Erase(kId);
  EXPECT_FALSE(live.Gated(kId));
  EXPECT_EQ(live.Spec(kId), nullptr);
}

}  // namespace
}  // namespace berth
