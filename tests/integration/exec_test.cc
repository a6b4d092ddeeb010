// ExecSync: output, exit codes, deadlines that end the whole tree, bounds.
#include <signal.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class ExecTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
    ASSERT_OK_AND_ASSIGN(container_, Sleeper(pod_));
  }
  TestPod pod_;
  std::string container_;
};

TEST_F(ExecTest, OutputAndExitCode) {
  ASSERT_OK_AND_ASSIGN(const auto answer,
                       cri().ExecSync(container_, {"sh", "-c", "echo out; echo err >&2; exit 9"}));
  EXPECT_EQ(answer.stdout(), "out\n");
  EXPECT_EQ(answer.stderr(), "err\n");
  EXPECT_EQ(answer.exit_code(), 9);
}

TEST_F(ExecTest, ASignalIs128PlusItsNumber) {
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().ExecSync(container_, {"sh", "-c", "kill -15 $$"}));
  EXPECT_EQ(answer.exit_code(), 143);
}

TEST_F(ExecTest, TheContainersWorldIsJoined) {
  const pid_t pid = PidOf(container_);
  for (const char* ns : {"mnt", "pid", "ipc", "uts", "net", "cgroup"}) {
    EXPECT_EQ(Exec(container_, absl::StrCat("readlink /proc/self/ns/", ns)),
              Shell(absl::StrCat("readlink /proc/", pid, "/ns/", ns)))
        << ns;
  }
  // The same cgroups, privileges and filter as the container's own process.
  const std::string facts = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' ";
  EXPECT_EQ(Exec(container_, facts + "/proc/self/status"),
            Exec(container_, facts + "/proc/1/status"));
  // It may have a cgroup of its own below, in the hierarchy that execs are ended by.
  const std::string memory = "grep memory: ";
  EXPECT_EQ(Exec(container_, memory + "/proc/self/cgroup"),
            Exec(container_, memory + "/proc/1/cgroup"));
}

TEST_F(ExecTest, AMissingCommandIsAnError) {
  const auto answer = cri().ExecSync(container_, {"/no/such"});
  EXPECT_FALSE(answer.ok());
  EXPECT_TRUE(absl::StrContains(answer.status().message(), "/no/such")) << answer.status();
}

TEST_F(ExecTest, PastItsTimeOutTheTreeIsKilled) {
  const absl::Time begin = absl::Now();
  const auto answer = cri().ExecSync(
      container_, {"sh", "-c", "echo before; setsid sleep 5551 & (sleep 5552 &); sleep 5553"}, 1);
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, answer);
  EXPECT_NE(answer.status().message(), "client deadline");
  EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  std::string left;
  for (int i = 0; i < 100; ++i) {
    left = Shell("ps -eo args | grep '^sleep 555' || true");
    if (left.empty()) break;
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_EQ(left, "");
  EXPECT_EQ(Exec(container_, "echo alive"), "alive\n");
}

TEST_F(ExecTest, BigOutputArrivesWhole) {
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().ExecSync(container_, {"sh", "-c", "seq 1 300000"}));
  EXPECT_EQ(answer.stdout().size(), 1988895u);
  EXPECT_TRUE(absl::EndsWith(answer.stdout(), "299999\n300000\n"));
}

TEST_F(ExecTest, OutputBeyondTheLimitIsDrainedAndDropped) {
  ASSERT_OK_AND_ASSIGN(
      const auto answer,
      cri().ExecSync(container_, {"sh", "-c", "head -c 40000000 /dev/zero; exit 3"}));
  EXPECT_EQ(answer.exit_code(), 3);  // the command was not stopped by a full pipe
  EXPECT_GT(answer.stdout().size(), 1000000u);
  EXPECT_LT(answer.ByteSizeLong(), 16u << 20);
}

TEST_F(ExecTest, AGrandchildThatHoldsThePipeDoesNotDelayTheAnswer) {
  const absl::Time begin = absl::Now();
  ASSERT_OK_AND_ASSIGN(const auto answer,
                       cri().ExecSync(container_, {"sh", "-c", "sleep 20 & echo parent"}, 10));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  EXPECT_EQ(answer.stdout(), "parent\n");
}

TEST_F(ExecTest, ManyAtOnce) {
  std::vector<std::thread> threads;
  std::vector<std::string> outputs(24);
  for (int i = 0; i < 24; ++i) {
    threads.emplace_back([&, i] {
      auto answer = cri().ExecSync(container_, {"sh", "-c", absl::StrCat("sleep 0.1; echo ", i)});
      outputs[i] = answer.ok() ? answer->stdout() : answer.status().ToString();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 24; ++i) EXPECT_EQ(outputs[i], absl::StrCat(i, "\n"));
}

TEST_F(ExecTest, OnlyInRunningContainers) {
  ASSERT_OK_AND_ASSIGN(const std::string created, Create(pod_, ContainerConfig("gated", {"true"})));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, cri().ExecSync(created, {"true"}));
  ASSERT_OK(cri().StopContainer(container_, 0));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, cri().ExecSync(container_, {"true"}));
}

TEST_F(ExecTest, StoppingTheContainerEndsItsExecs) {
  absl::Status ended = absl::UnknownError("not ended");
  std::thread exec([&] { ended = cri().ExecSync(container_, {"sleep", "5561"}).status(); });
  for (int i = 0; i < 300 && Shell("ps -eo args | grep -c '^sleep 5561' || true") == "0\n"; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  ASSERT_OK(cri().StopContainer(container_, 0));
  exec.join();
  EXPECT_EQ(Shell("ps -eo args | grep -c '^sleep 5561' || true"), "0\n");
}

TEST_F(ExecTest, NoZombiesStay) {
  for (int i = 0; i < 20; ++i) Exec(container_, "true");
  EXPECT_EQ(Shell("ps -eo stat,ppid,comm | grep '^Z' || true"), "");
}

}  // namespace
}  // namespace berth::testing
