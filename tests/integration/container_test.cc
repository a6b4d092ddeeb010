// The life of a container: create, start, exit, stop, remove.
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class ContainerTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  // Runs a script to its end.
  cri::ContainerStatus Finished(const std::string& name, const std::string& script) {
    auto id = CreateAndStart(pod_, ContainerConfig(name, {"sh", "-c", script}));
    EXPECT_OK(id);
    if (!id.ok()) return {};
    auto status = cri().WaitForExit(*id);
    EXPECT_OK(status);
    return status.ok() ? *status : cri::ContainerStatus();
  }
  cri::ContainerState StateOf(const std::string& id) {
    auto status = cri().ContainerStatus(id);
    EXPECT_OK(status);
    return status.ok() ? status->state() : cri::CONTAINER_UNKNOWN;
  }
  TestPod pod_;
};

TEST_F(ContainerTest, CreatedRunningExitedWithTimes) {
  const int64_t t0 = absl::GetCurrentTimeNanos();
  cri::ContainerConfig config = ContainerConfig("c", {"sh", "-c", "sleep 0.2; exit 7"});
  (*config.mutable_labels())["a"] = "b";
  (*config.mutable_annotations())["c"] = "d";
  config.mutable_metadata()->set_attempt(2);
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, config));
  ASSERT_EQ(id.size(), 64u);
  ASSERT_OK_AND_ASSIGN(auto status, cri().ContainerStatus(id));
  EXPECT_EQ(status.state(), cri::CONTAINER_CREATED);
  EXPECT_GE(status.created_at(), t0);
  EXPECT_EQ(status.started_at(), 0);
  EXPECT_EQ(status.finished_at(), 0);
  EXPECT_EQ(status.labels().at("a"), "b");
  EXPECT_EQ(status.annotations().at("c"), "d");
  EXPECT_EQ(status.metadata().attempt(), 2u);
  EXPECT_EQ(status.log_path(), pod_.config.log_directory() + "/c_0.log");
  EXPECT_EQ(status.image().image(), image());
  EXPECT_TRUE(absl::StartsWith(status.image_id(), "sha256:")) << status.image_id();
  EXPECT_TRUE(absl::StrContains(status.image_ref(), "berth-test/busybox@sha256:"))
      << status.image_ref();
  // kubelet counts log files to choose an attempt.
  EXPECT_FALSE(ReadFile(status.log_path()).ok());

  ASSERT_OK(cri().StartContainer(id));
  ASSERT_OK_AND_ASSIGN(status, cri().ContainerStatus(id));
  EXPECT_EQ(status.state(), cri::CONTAINER_RUNNING);
  EXPECT_GE(status.started_at(), status.created_at());
  ASSERT_OK_AND_ASSIGN(status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 7);
  EXPECT_EQ(status.reason(), "Error");
  EXPECT_GE(status.finished_at() - status.started_at(), 190'000'000);
  EXPECT_LE(status.finished_at(), absl::GetCurrentTimeNanos());
  ASSERT_OK(cri().RemoveContainer(id));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(id));
  EXPECT_OK(cri().RemoveContainer(id));
}

TEST_F(ContainerTest, ExitCodesAndReasons) {
  EXPECT_EQ(Finished("ok", "exit 0").reason(), "Completed");
  EXPECT_EQ(Finished("one", "exit 1").exit_code(), 1);
  EXPECT_EQ(Finished("high", "exit 255").exit_code(), 255);
  // PID 1 of a PID namespace can't kill itself by a signal it doesn't handle; its child can.
  EXPECT_EQ(Finished("term", "sh -c 'kill -9 $$'; exit $?").exit_code(), 137);
}

TEST_F(ContainerTest, AMissingExecutableShowsAtStart) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, ContainerConfig("absent", {"/no/such"})));
  const absl::Status start = cri().StartContainer(id);
  EXPECT_FALSE(start.ok());
  EXPECT_TRUE(absl::StrContains(start.message(), "/no/such")) << start;
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 128);
  EXPECT_EQ(status.reason(), "StartError");
}

TEST_F(ContainerTest, AFileWithoutExecutePermissionShowsAtStart) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       Create(pod_, ContainerConfig("refused", {"/etc/passwd"})));
  const absl::Status start = cri().StartContainer(id);
  EXPECT_FALSE(start.ok());
  EXPECT_TRUE(absl::StrContains(start.message(), "/etc/passwd")) << start;
}

TEST_F(ContainerTest, StartAgainIsARetryWhileItRunsAndRefusedAfterItsEnd) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const pid_t pid = PidOf(id);
  EXPECT_OK(cri().StartContainer(id));
  EXPECT_EQ(PidOf(id), pid);
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, cri().StartContainer(id));
  EXPECT_EQ(StateOf(id), cri::CONTAINER_EXITED);
}

TEST_F(ContainerTest, StopSendsTermAndWaitsForTheEnd) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod_, ContainerConfig("polite", {"sh", "-c",
                                                      "trap 'echo bye; exit 3' TERM; echo ready; "
                                                      "while :; do sleep 0.05; done"})));
  const std::string log = pod_.config.log_directory() + "/polite_0.log";
  for (int i = 0; i < 400 && ReadFile(log).value_or("").empty(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  const absl::Time begin = absl::Now();
  ASSERT_OK(cri().StopContainer(id, 20));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 3);
  EXPECT_EQ(LogText(ReadLog(log)), "ready\nbye\n");
}

TEST_F(ContainerTest, StopKillsAfterTheGracePeriod) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_, "deaf"));  // PID 1 ignores SIGTERM
  const absl::Time begin = absl::Now();
  ASSERT_OK(cri().StopContainer(id, 1));
  const absl::Duration took = absl::Now() - begin;
  EXPECT_GE(took, absl::Milliseconds(950));
  EXPECT_LT(took, absl::Seconds(3));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
  EXPECT_EQ(status.exit_code(), 137);
}

TEST_F(ContainerTest, StopWithoutGraceKillsAtOnceAndAgainIsFine) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const absl::Time begin = absl::Now();
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(1));
  EXPECT_EQ(StateOf(id), cri::CONTAINER_EXITED);
  EXPECT_OK(cri().StopContainer(id, 0));
}

TEST_F(ContainerTest, TheWholeTreeOfAContainerEnds) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod_, ContainerConfig("tree", {"sh", "-c",
                                                    "setsid sleep 4321 & (setsid sleep 4322 &); "
                                                    "sleep 100000"})));
  Exec(id, "while [ $(ps -o args | grep -c '^sleep 432') != 2 ]; do :; done");
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_EQ(Shell("ps -eo args | grep -c '^sleep 432' || true"), "0\n");
}

TEST_F(ContainerTest, ARunningContainerCanBeRemoved) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const pid_t pid = PidOf(id);
  ASSERT_OK(cri().RemoveContainer(id));
  EXPECT_NE(kill(pid, 0), 0);
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(id));
}

TEST_F(ContainerTest, ACreatedContainerCanBeStoppedAndRemoved) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, ContainerConfig("gated", {"true"})));
  const pid_t pid = PidOf(id);
  ASSERT_GT(pid, 0);
  EXPECT_OK(cri().StopContainer(id, 10));
  EXPECT_OK(cri().RemoveContainer(id));
  EXPECT_NE(kill(pid, 0), 0);
}

TEST_F(ContainerTest, AGatedProcessThatDiedStaysCreatedAndStartMakesItAgain) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       Create(pod_, ContainerConfig("again", {"sh", "-c", "exit 5"})));
  const pid_t pid = PidOf(id);
  ASSERT_GT(pid, 0);
  kill(pid, SIGKILL);
  EXPECT_EQ(StateOf(id), cri::CONTAINER_CREATED);
  absl::SleepFor(absl::Milliseconds(200));  // long enough for the death to be heard of
  EXPECT_EQ(StateOf(id), cri::CONTAINER_CREATED);
  ASSERT_OK(cri().StartContainer(id));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 5);
}

TEST_F(ContainerTest, UnknownIdsAreFineForStopAndRemoveOnly) {
  const std::string unknown(64, 'a');
  EXPECT_OK(cri().StopContainer(unknown, 0));
  EXPECT_OK(cri().RemoveContainer(unknown));
  EXPECT_OK(cri().StopPod(unknown));
  EXPECT_OK(cri().RemovePod(unknown));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(unknown));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().StartContainer(unknown));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ExecSync(unknown, {"true"}));
}

TEST_F(ContainerTest, WritableLayersArePrivateAndGoWithTheContainer) {
  ASSERT_OK_AND_ASSIGN(const std::string a, Sleeper(pod_, "a"));
  ASSERT_OK_AND_ASSIGN(const std::string b, Sleeper(pod_, "b"));
  Exec(a, "echo mine > /file");
  EXPECT_EQ(Exec(b, "ls /file 2>/dev/null || echo none"), "none\n");
  ASSERT_OK_AND_ASSIGN(const auto before, ListDirectory(daemon_.root() + "/snapshots"));
  ASSERT_OK(cri().RemoveContainer(a));
  ASSERT_OK_AND_ASSIGN(const auto after, ListDirectory(daemon_.root() + "/snapshots"));
  EXPECT_EQ(after.size() + 1, before.size());
}

TEST_F(ContainerTest, StdinIsClosedUnlessAskedFor) {
  EXPECT_EQ(RunToEnd(pod_, ContainerConfig("stdin", {"sh", "-c", "cat; echo eof"})), "eof\n");
}

TEST_F(ContainerTest, ATerminalIsATerminal) {
  cri::ContainerConfig config =
      ContainerConfig("tty", {"sh", "-c", "tty; test -t 0 && test -t 1 && echo yes"});
  config.set_tty(true);
  const std::string text = RunToEnd(pod_, config);
  EXPECT_TRUE(absl::StrContains(text, "/dev/pts/0")) << text;
  EXPECT_TRUE(absl::StrContains(text, "yes")) << text;
}

}  // namespace
}  // namespace berth::testing
