#include "server/cri/call_context.h"

#include <thread>
#include <utility>

#include "base/notification.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(CallContext, TellsSubscribersOnceAndLatecomersAtOnce) {
  CallContext context("r1", "unix:", absl::InfiniteFuture());
  int calls = 0;
  CancelSubscription first = context.OnCancel([&] { ++calls; });
  EXPECT_FALSE(context.cancelled());
  context.Cancel();
  context.Cancel();
  EXPECT_TRUE(context.cancelled());
  EXPECT_EQ(calls, 1);
  CancelSubscription late = context.OnCancel([&] { calls += 10; });
  EXPECT_EQ(calls, 11);
}

TEST(CallContext, AnEndedSubscriptionIsSilent) {
  CallContext context("r1", "unix:", absl::InfiniteFuture());
  bool called = false;
  {
    CancelSubscription subscription = context.OnCancel([&] { called = true; });
    CancelSubscription moved = std::move(subscription);
  }
  context.Cancel();
  EXPECT_FALSE(called);
}

TEST(CallContext, EndingASubscriptionWaitsForItsRunningCallback) {
  CallContext context("r1", "unix:", absl::InfiniteFuture());
  Notification running, release;
  bool finished = false;
  auto* subscription = new CancelSubscription(context.OnCancel([&] {
    running.Notify();
    release.WaitForNotification();
    finished = true;
  }));
  std::thread canceller([&] { context.Cancel(); });
  running.WaitForNotification();
  std::thread releaser([&] {
    absl::SleepFor(absl::Milliseconds(20));
    release.Notify();
  });
  delete subscription;
  EXPECT_TRUE(finished);
  canceller.join();
  releaser.join();
}

TEST(CallContext, ACallbackMayEndItsOwnSubscription) {
  CallContext context("r1", "unix:", absl::InfiniteFuture());
  CancelSubscription subscription;
  subscription = context.OnCancel([&] { subscription = CancelSubscription(); });
  context.Cancel();
}

}  // namespace
}  // namespace berth
