#include "server/pods/claims.h"

#include <thread>

#include "base/notification.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

class ClaimsTest : public testing::Test {
 protected:
  // As the daemon ends: no work of the timers meets a member that is gone.
  void TearDown() override { timers_.Stop(); }

  Timers timers_;
  std::string undone_;
  Notification undo_ran_;
  Claims claims_{&timers_,
                 [this](const std::string& id) {
                   undone_ = id;
                   undo_ran_.Notify();
                 },
                 absl::Milliseconds(20)};
};

TEST_F(ClaimsTest, AnEqualRequestJoinsAndADifferentOneSupersedes) {
  CallContext first("1", "unix:", absl::InfiniteFuture());
  CallContext second("2", "unix:", absl::InfiniteFuture());
  CallContext third("3", "unix:", absl::InfiniteFuture());
  Notification started;
  std::atomic<int> runs{0};
  std::thread owner([&] {
    auto outcome = claims_.Run("pod", "A", first, [&](const Creation& creation) {
      ++runs;
      started.Notify();
      while (creation.Check().ok()) std::this_thread::yield();
      return absl::StatusOr<std::string>(creation.Check());
    });
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kCancelled);
  });
  started.WaitForNotification();
  std::thread joiner([&] {
    auto outcome = claims_.Run("pod", "A", second, [&](const Creation&) {
      return absl::StatusOr<std::string>("joiner came too late to join");
    });
    EXPECT_TRUE(!outcome.ok() || *outcome == "joiner came too late to join");
  });
  auto outcome = claims_.Run("pod", "B", third,
                             [&](const Creation&) { return absl::StatusOr<std::string>("b"); });
  EXPECT_EQ(*outcome, "b");
  owner.join();
  joiner.join();
  EXPECT_EQ(runs, 1);
}

TEST_F(ClaimsTest, WhatNobodyClaimsIsUndone) {
  CallContext gone("1", "unix:", absl::InfiniteFuture());
  const auto make = [&gone](const Creation&) {
    gone.Cancel();
    return absl::StatusOr<std::string>("x");
  };
  ASSERT_TRUE(claims_.Run("pod", "A", gone, make).ok());
  ASSERT_TRUE(undo_ran_.WaitForNotificationWithTimeout(absl::Seconds(10)));
  EXPECT_EQ(undone_, "x");
}

TEST_F(ClaimsTest, ARetryClaimsWhatACancelledCallMade) {
  CallContext gone("1", "unix:", absl::InfiniteFuture());
  CallContext retry("2", "unix:", absl::InfiniteFuture());
  const auto make = [&gone](const Creation&) {
    gone.Cancel();
    return absl::StatusOr<std::string>("x");
  };
  ASSERT_TRUE(claims_.Run("pod", "A", gone, make).ok());
  EXPECT_EQ(*claims_.Run("pod", "A", retry, make), "x");
  EXPECT_FALSE(undo_ran_.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
}

TEST_F(ClaimsTest, OneThatHasLeftBeginsNothingAndSupersedesNobody) {
  CallContext gone("1", "unix:", absl::InfiniteFuture());
  CallContext late("2", "unix:", absl::Now() - absl::Seconds(1));
  CallContext call("3", "unix:", absl::InfiniteFuture());
  gone.Cancel();
  const auto never = [](const Creation&) -> absl::StatusOr<std::string> {
    ADD_FAILURE() << "it ran";
    return absl::InternalError("it ran");
  };
  const auto outcome = claims_.Run("pod", "A", call, [&](const Creation& creation) {
    for (const CallContext* left : {&gone, &late}) {
      EXPECT_EQ(claims_.Run("pod", "B", *left, never).status().code(),
                absl::StatusCode::kDeadlineExceeded);
      EXPECT_EQ(claims_.Run("other", "A", *left, never).status().code(),
                absl::StatusCode::kDeadlineExceeded);
    }
    EXPECT_TRUE(creation.Check().ok());
    return absl::StatusOr<std::string>("a");
  });
  EXPECT_EQ(*outcome, "a");
}

TEST_F(ClaimsTest, AFailureLeavesTheNameFree) {
  CallContext call("1", "unix:", absl::InfiniteFuture());
  const auto fail = [](const Creation&) -> absl::StatusOr<std::string> {
    return absl::InternalError("no");
  };
  EXPECT_FALSE(claims_.Run("pod", "A", call, fail).ok());
  EXPECT_EQ(*claims_.Run("pod", "A", call,
                         [](const Creation&) { return absl::StatusOr<std::string>("y"); }),
            "y");
}

}  // namespace
}  // namespace berth
