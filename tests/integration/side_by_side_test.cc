// Two daemons with different roots on one machine: neither touches what is the other's.
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class SideBySideTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(second_.Start());
    ASSERT_OK(second_.cri().PullImage(image()));
  }
  void TearDown() override {
    EXPECT_OK(second_.RemoveAllPods());
    auto status = second_.Terminate();
    EXPECT_TRUE(status.ok() && *status == 0);
    DaemonTest::TearDown();
  }
  TestDaemon second_{{.name = "b", .metrics_port = 9627}};
};

TEST_F(SideBySideTest, TheSamePodInBothIsTwoPods) {
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod("same"));
  ASSERT_OK_AND_ASSIGN(const std::string second, second_.cri().RunPod(first.config));
  EXPECT_NE(first.id, second);
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  EXPECT_EQ(pods.size(), 1u);
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().PodStatus(second));
  EXPECT_OK(cri().RemovePod(second));  // unknown here
  EXPECT_OK(second_.cri().PodStatus(second));
}

TEST_F(SideBySideTest, RestartsSweepOnlyTheirOwn) {
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod("mine"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(first));
  const pid_t pid = PidOf(container);
  ASSERT_OK_AND_ASSIGN(const std::string pod, second_.cri().RunPod(PodConfig("theirs")));
  for (int i = 0; i < 2; ++i) {
    second_.Kill();
    ASSERT_OK(second_.Start());
    Restart();
  }
  EXPECT_EQ(kill(pid, 0), 0);
  EXPECT_EQ(Exec(container, "echo on"), "on\n");
  ASSERT_OK_AND_ASSIGN(const auto status, second_.cri().PodStatus(pod));
  EXPECT_EQ(status.status().state(), cri::SANDBOX_READY);
}

}  // namespace
}  // namespace berth::testing
