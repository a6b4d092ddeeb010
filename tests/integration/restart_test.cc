// Restarts: kill -9 of the daemon, death of keepers, a reboot, a damaged state.db.
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class RestartTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }

  cri::ContainerStatus StatusOf(const std::string& id) {
    auto status = cri().ContainerStatus(id);
    EXPECT_OK(status);
    return status.ok() ? *status : cri::ContainerStatus();
  }
  cri::PodSandboxState PodState() {
    auto status = cri().PodStatus(pod_.id);
    EXPECT_OK(status);
    return status.ok() ? status->status().state() : cri::PodSandboxState(-1);
  }
  void WaitForPodState(cri::PodSandboxState state) {
    for (int i = 0; i < 500 && PodState() != state; ++i) absl::SleepFor(absl::Milliseconds(10));
    EXPECT_EQ(PodState(), state);
  }
  static bool Alive(pid_t pid) {
    const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
    return !stat.empty() && !absl::StrContains(stat, ") Z ");
  }

  TestPod pod_;
};

// The daemon died between making a note's file and giving it its name.
TEST_F(RestartTest, AnUnfinishedNoteKeepsNoDirectory) {
  const std::string pods = daemon_.state() + "/pods/";
  const std::string orphan = pods + std::string(64, 'a');
  const std::string note = "/cgroups/" + std::string(64, 'b') + ".tmp-0123456789ab";
  daemon_.Kill();
  ASSERT_OK(MakeDirectories(orphan + "/cgroups", 0700));
  ASSERT_OK(MakeDirectories(pods + pod_.id + "/cgroups", 0700));
  ASSERT_OK(WriteFileAtomically(orphan + note, "", 0600));
  ASSERT_OK(WriteFileAtomically(pods + pod_.id + note, "", 0600));
  ASSERT_OK(daemon_.Start());
  EXPECT_NE(access(orphan.c_str(), F_OK), 0);
  EXPECT_NE(access((pods + pod_.id + note).c_str(), F_OK), 0);
  EXPECT_EQ(access((pods + pod_.id).c_str(), F_OK), 0);
}

TEST_F(RestartTest, ContainersNeverNoticeAKill) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod_, ContainerConfig("c", {"sh", "-c",
                                                 "i=0; while :; do i=$((i+1)); echo $i; "
                                                 "sleep 0.01; done"})));
  const auto before = StatusOf(id);
  const pid_t pid = PidOf(id);
  for (int i = 0; i < 3; ++i) Restart();
  EXPECT_EQ(StatusOf(id).ShortDebugString(), before.ShortDebugString());
  EXPECT_EQ(PidOf(id), pid);
  EXPECT_EQ(PodState(), cri::SANDBOX_READY);
  EXPECT_EQ(Exec(id, "echo on"), "on\n");
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_EQ(StatusOf(id).exit_code(), 137);
  // The log has every number, in order.
  const auto lines = ReadLog(pod_.config.log_directory() + "/c_0.log");
  ASSERT_GT(lines.size(), 10u);
  for (size_t i = 0; i < lines.size(); ++i) ASSERT_EQ(lines[i].text, absl::StrCat(i + 1));
  // The pod takes new containers.
  EXPECT_EQ(RunToEnd(pod_, ContainerConfig("new", {"echo", "hello"})), "hello\n");
}

TEST_F(RestartTest, AnExitMeanwhileHasItsRealCodeAndTime) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod_, ContainerConfig("c", {"sh", "-c", "sleep 0.5; exit 42"})));
  daemon_.Kill();
  absl::SleepFor(absl::Milliseconds(1500));
  const int64_t restarted = absl::GetCurrentTimeNanos();
  ASSERT_OK(daemon_.Start());
  const auto status = StatusOf(id);  // at once, not after polling
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 42);
  EXPECT_EQ(status.reason(), "Error");
  EXPECT_LT(status.finished_at(), restarted - 500'000'000);
  EXPECT_GT(status.finished_at(), status.started_at() + 400'000'000);
}

TEST_F(RestartTest, ACreatedContainerCanBeStartedAfterAKill) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       Create(pod_, ContainerConfig("gated", {"sh", "-c", "echo late; exit 3"})));
  Restart();
  EXPECT_EQ(StatusOf(id).state(), cri::CONTAINER_CREATED);
  ASSERT_OK(cri().StartContainer(id));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 3);
  EXPECT_EQ(LogText(ReadLog(status.log_path())), "late\n");
}

TEST_F(RestartTest, AStartThatTheCrashTookIsNotRepeatedAfterItsEnd) {
  const auto config = ContainerConfig("once", {"sh", "-c", "echo ran; exit 6"});
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, config));
  Restart("containers.start.commit=crash");
  EXPECT_FALSE(cri().StartContainer(id).ok());
  ASSERT_OK(daemon_.WaitForEnd());
  const std::string log = pod_.config.log_directory() + "/once_0.log";
  for (int i = 0; i < 400 && ReadFile(log).value_or("").empty(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  absl::SleepFor(absl::Milliseconds(100));
  ASSERT_OK(daemon_.Start());
  const auto status = StatusOf(id);
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 6);
  EXPECT_GE(status.started_at(), status.created_at());
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, cri().StartContainer(id));
  EXPECT_EQ(LogText(ReadLog(log)), "ran\n");
}

TEST_F(RestartTest, ExitedContainersStayAsTheyWere) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       CreateAndStart(pod_, ContainerConfig("c", {"sh", "-c", "exit 9"})));
  ASSERT_OK(cri().WaitForExit(id));
  const auto before = StatusOf(id);
  Restart();
  EXPECT_EQ(StatusOf(id).ShortDebugString(), before.ShortDebugString());
}

TEST_F(RestartTest, ADeadKeeperMakesThePodNotReady) {
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod_, "running"));
  ASSERT_OK_AND_ASSIGN(const std::string created,
                       Create(pod_, ContainerConfig("created", {"true"})));
  const pid_t pid = PidOf(running);
  for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);
  WaitForPodState(cri::SANDBOX_NOTREADY);
  const auto status = StatusOf(running);
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 255);
  EXPECT_EQ(status.reason(), "Unknown");
  EXPECT_FALSE(Alive(pid));
  EXPECT_EQ(StatusOf(created).state(), cri::CONTAINER_CREATED);
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, cri().StartContainer(created));
  EXPECT_OK(cri().StopPod(pod_.id));
  EXPECT_OK(cri().RemovePod(pod_.id));
}

TEST_F(RestartTest, AKeeperThatDiedWhileTheDaemonWasDownIsSeenByTheFirstList) {
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod_, "running"));
  const pid_t pid = PidOf(running);
  daemon_.Kill();
  for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);
  ASSERT_OK(daemon_.Launch());
  // No waiting for readiness: the first answer has to be right.
  ASSERT_TRUE(cri().WaitUntilListening(absl::Seconds(10)));
  absl::StatusOr<std::vector<cri::PodSandbox>> pods = absl::UnavailableError("");
  for (int i = 0; i < 2000 && absl::IsUnavailable(pods.status()); ++i) {
    pods = cri().ListPods();
    if (!pods.ok()) absl::SleepFor(absl::Milliseconds(2));
  }
  ASSERT_OK(pods);
  ASSERT_EQ(pods->size(), 1u);
  EXPECT_EQ((*pods)[0].state(), cri::SANDBOX_NOTREADY);
  EXPECT_FALSE(Alive(pid));
  const auto status = StatusOf(running);
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 255);
  EXPECT_EQ(status.reason(), "Unknown");
}

TEST_F(RestartTest, AfterARebootNothingIsReadyWhateverThePidsSay) {
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod_, "running"));
  ASSERT_OK_AND_ASSIGN(const std::string created,
                       Create(pod_, ContainerConfig("created", {"true"})));
  daemon_.Kill();
  // What a reboot does: every process ends, /run is empty, the boot id is another.
  for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);
  Shell("ps -eo pid,args | awk '$2 == \"sleep\" { print $1 }' | xargs -r kill -9");
  Shell("for n in /run/netns/*; do umount $n 2>/dev/null; rm -f $n; done; rm -rf " +
        daemon_.state());
  const std::string boot_id = daemon_.directory() + "/boot_id";
  ASSERT_OK(WriteFileAtomically(boot_id, "11111111-2222-3333-4444-555555555555\n", 0444));
  constexpr char kBootId[] = "/proc/sys/kernel/random/boot_id";
  ASSERT_EQ(mount(boot_id.c_str(), kBootId, nullptr, MS_BIND, nullptr), 0);
  const absl::Status started = daemon_.Start();
  umount2(kBootId, MNT_DETACH);
  ASSERT_OK(started);
  EXPECT_EQ(PodState(), cri::SANDBOX_NOTREADY);
  EXPECT_EQ(StatusOf(running).state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(StatusOf(running).reason(), "Unknown");
  EXPECT_EQ(StatusOf(created).state(), cri::CONTAINER_CREATED);
  EXPECT_OK(cri().ImageStatus(image()));
  // The next attempt of the pod runs.
  cri::PodSandboxConfig next = pod_.config;
  next.mutable_metadata()->set_attempt(1);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(next));
  EXPECT_OK(Sleeper(pod));
}

TEST_F(RestartTest, ADamagedStateDbIsSetAsideAndRebuilt) {
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod_, "running"));
  const pid_t pid = PidOf(running);
  daemon_.Kill();
  Shell(absl::StrCat("cd ", daemon_.root(), " && rm -f state.db-wal state.db-shm && ",
                     "dd if=/dev/urandom of=state.db bs=4096 count=8 conv=notrunc status=none"));
  ASSERT_OK(daemon_.Start());
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  ASSERT_EQ(pods.size(), 1u);
  EXPECT_EQ(pods[0].id(), pod_.id);
  EXPECT_EQ(pods[0].state(), cri::SANDBOX_READY);
  EXPECT_EQ(pods[0].metadata().name(), "pod");
  EXPECT_EQ(StatusOf(running).state(), cri::CONTAINER_RUNNING);
  EXPECT_EQ(PidOf(running), pid);
  EXPECT_EQ(Exec(running, "echo on"), "on\n");
  EXPECT_OK(cri().ImageStatus(image()));
  EXPECT_NE(Shell("ls " + daemon_.root() + " | grep -c 'state.db.' || true"), "0\n");
}

TEST_F(RestartTest, ALostStateDbIsRebuilt) {
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod_, "running"));
  daemon_.Kill();
  Shell("rm -f " + daemon_.root() + "/state.db*");
  ASSERT_OK(daemon_.Start());
  EXPECT_EQ(PodState(), cri::SANDBOX_READY);
  EXPECT_EQ(StatusOf(running).state(), cri::CONTAINER_RUNNING);
  EXPECT_OK(cri().ImageStatus(image()));
  EXPECT_EQ(RunToEnd(pod_, ContainerConfig("new", {"echo", "hello"})), "hello\n");
}

TEST_F(RestartTest, AnExecEndsWithItsDaemon) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  std::thread exec([&] { cri().ExecSync(id, {"sleep", "6661"}).status().IgnoreError(); });
  const auto count = [] { return Shell("ps -eo args | grep -c '^sleep 6661' || true"); };
  for (int i = 0; i < 300 && count() == "0\n"; ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(count(), "1\n");
  daemon_.Kill();
  exec.join();
  for (int i = 0; i < 300 && count() != "0\n"; ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(count(), "0\n");
  ASSERT_OK(daemon_.Start());
  EXPECT_EQ(Exec(id, "echo on"), "on\n");
}

TEST_F(RestartTest, KillsAtAnyMomentLeaveNothing) {
  for (int round = 0; round < 8; ++round) {
    std::vector<std::thread> threads;
    threads.reserve(6);
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&, i] {
        // Whatever answer comes, or none: the daemon is shot below it.
        auto pod = RunPod(absl::StrCat("chaos-", round, "-", i));
        if (!pod.ok()) return;
        auto container = CreateAndStart(*pod, ContainerConfig("c", {"sleep", "1000"}));
        if (!container.ok()) return;
        cri().StopPod(pod->id).IgnoreError();
        cri().RemovePod(pod->id).IgnoreError();
      });
    }
    absl::SleepFor(absl::Milliseconds(7 + 9 * round));
    daemon_.Kill();
    for (std::thread& thread : threads) thread.join();
    ASSERT_OK(daemon_.Start());
    // No name is held: the same pods can be run.
    for (int i = 0; i < 6; ++i) {
      const std::string name = absl::StrCat("chaos-", round, "-", i);
      auto pod = RunPod(name);
      if (absl::IsAlreadyExists(pod.status())) continue;  // it had got further than READY
      EXPECT_OK(pod);
    }
    ASSERT_OK(daemon_.RemoveAllPods());
  }
}

}  // namespace
}  // namespace berth::testing
