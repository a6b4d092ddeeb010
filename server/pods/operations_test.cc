#include "server/pods/operations.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(OperationsTest, OneAtATimePerObject) {
  Operations operations;
  std::atomic<int> inside{0};
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        const auto operation = operations.Begin("a", "stop", absl::Now() + absl::Seconds(60));
        ASSERT_TRUE(operation.ok()) << operation.status();
        EXPECT_EQ(++inside, 1);
        --inside;
        ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 800);
}

TEST(OperationsTest, WhoWaitsTooLongLearnsForWhat) {
  Operations operations;
  const auto removal = operations.Begin("a", "remove", absl::InfiniteFuture());
  ASSERT_TRUE(removal.ok());
  const auto start = operations.Begin("a", "start", absl::Now() + absl::Milliseconds(5));
  EXPECT_TRUE(absl::IsDeadlineExceeded(start.status()));
  EXPECT_EQ(start.status().message(), "start a: remove is still in progress");
  EXPECT_TRUE(operations.Begin("b", "start", absl::Now()).ok());
}

}  // namespace
}  // namespace berth
