#include "server/pods/admissions.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

const PodId kPod("a");

TEST(AdmissionsTest, AClosedPodLetsNobodyInUntilItOpensAgain) {
  Admissions admissions;
  {
    const auto closure = admissions.Close(kPod);
    EXPECT_TRUE(absl::IsUnavailable(admissions.Enter(kPod).status()));
    EXPECT_TRUE(admissions.Enter(PodId("b")).ok());
    const auto second = admissions.Close(kPod);
  }
  EXPECT_TRUE(admissions.Enter(kPod).ok());
}

TEST(AdmissionsTest, WhoIsInsideLearnsThatThePodEndsAndIsWaitedFor) {
  Admissions admissions;
  auto admission = admissions.Enter(kPod);
  ASSERT_TRUE(admission.ok());
  EXPECT_TRUE(admission->Check().ok());
  const auto closure = admissions.Close(kPod);
  EXPECT_TRUE(absl::IsUnavailable(admission->Check()));
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(admissions.WaitEmpty(kPod, absl::Now() + absl::Milliseconds(5))));
  std::thread leaver([inside = *std::move(admission)] {});
  EXPECT_TRUE(admissions.WaitEmpty(kPod, absl::Now() + absl::Seconds(20)).ok());
  leaver.join();
}

TEST(AdmissionsTest, NobodyIsInsideWhenThePodHasEmptied) {
  Admissions admissions;
  std::atomic<int> inside{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        const auto admission = admissions.Enter(kPod);
        if (!admission.ok()) continue;
        ++inside;
        --inside;
      }
    });
  }
  for (int round = 0; round < 100; ++round) {
    const auto closure = admissions.Close(kPod);
    ASSERT_TRUE(admissions.WaitEmpty(kPod, absl::Now() + absl::Seconds(20)).ok());
    EXPECT_EQ(inside, 0);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace berth
