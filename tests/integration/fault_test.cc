// What fails around the daemon: a full disk, no inodes, no descriptors, a plugin that hangs, a keeper that
// dies or hangs, a clock that jumps. What runs goes on, stopping works, the error says what is wrong, and
// afterwards all is as before.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

// ---- A full disk

struct Disk {
  const char* name;
  const char* directory;  // below the daemon's
  const char* options;
  const char* fill;  // a shell command that runs until nothing fits any more
};

void PrintTo(const Disk& disk, std::ostream* out) { *out << disk.name; }

class FullDiskTest : public DaemonTest, public ::testing::WithParamInterface<Disk> {
 protected:
  void SetUp() override {
    disk_ = daemon_.directory() + "/" + GetParam().directory;
    ASSERT_OK(RemoveTree(daemon_.directory()));
    ASSERT_OK(MakeDirectories(disk_, 0755));
    ASSERT_EQ(mount("tmpfs", disk_.c_str(), "tmpfs", 0, GetParam().options), 0);
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("before"));
    ASSERT_OK_AND_ASSIGN(running_, Sleeper(pod_, "running"));
  }
  void TearDown() override {
    Free();
    DaemonTest::TearDown();
    umount2(disk_.c_str(), MNT_DETACH);
  }
  void Fill() {
    Shell(absl::StrCat("mkdir ", disk_, "/filler; cd ", disk_, "/filler; ", GetParam().fill,
                       "; true"));
  }
  void Free() { Shell("rm -rf " + disk_ + "/filler"); }

  std::string disk_;
  TestPod pod_;
  std::string running_;
};

TEST_P(FullDiskTest, WhatRunsGoesOnAndWhatIsNewIsRefused) {
  Fill();
  EXPECT_EQ(Exec(running_, "echo on"), "on\n");
  // Some fit into what is allocated already.
  absl::Status refused;
  for (int i = 0; i < 200 && refused.ok(); ++i) {
    const auto pod = RunPod(absl::StrCat("new-", i));
    refused = pod.status();
    if (refused.ok()) {
      refused = Create(*pod, ContainerConfig("c", {"sleep", "1000"})).status();
    }
  }
  EXPECT_CODE(absl::StatusCode::kResourceExhausted, refused);
  EXPECT_TRUE(absl::StrContains(refused.message(), "No space left") ||
              absl::StrContains(refused.message(), "full"))
      << refused;
  EXPECT_EQ(Exec(running_, "echo still"), "still\n");
  EXPECT_OK(cri().ListContainers());
}

TEST_P(FullDiskTest, StoppingAndRemovingWork) {
  ASSERT_OK_AND_ASSIGN(const std::string second, Sleeper(pod_, "second"));
  ASSERT_OK(Create(pod_, ContainerConfig("gated", {"true"})));
  Fill();
  EXPECT_OK(cri().StopContainer(running_, 0));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(running_));
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 137);
  EXPECT_OK(cri().RemoveContainer(running_));
  EXPECT_OK(cri().StopPod(pod_.id));
  ASSERT_OK_AND_ASSIGN(const auto stopped, cri().ContainerStatus(second));
  EXPECT_EQ(stopped.state(), cri::CONTAINER_EXITED);
  // What could not be written is written, or found again, once there is room.
  daemon_.Kill();
  Free();
  ASSERT_OK(daemon_.Start());
  ASSERT_OK_AND_ASSIGN(const auto after, cri().PodStatus(pod_.id));
  EXPECT_EQ(after.status().state(), cri::SANDBOX_NOTREADY);
  ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
  // A removal is not refused because it can't be written: what it frees may be needed. After a crash the
  // container is back, as an exited one.
  for (const cri::Container& container : containers) {
    EXPECT_NE(container.state(), cri::CONTAINER_RUNNING);
  }
  EXPECT_OK(cri().RemovePod(pod_.id));
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("before"));
  EXPECT_OK(Sleeper(pod));
}

TEST_P(FullDiskTest, ThePullSaysWhyAndWorksLater) {
  if (std::string(GetParam().directory) != "root") return;
  const std::string other = registry_.Image("other:1");
  Fill();
  const auto pulled = cri().PullImage(other);
  EXPECT_CODE(absl::StatusCode::kResourceExhausted, pulled);
  Free();
  EXPECT_OK(cri().PullImage(other));
  EXPECT_OK(cri().RemoveImage(other));
}

constexpr char kFillBlocks[] =
    "dd if=/dev/zero of=a bs=64k 2>/dev/null; dd if=/dev/zero of=b bs=4k 2>/dev/null";
constexpr char kFillInodes[] = "i=0; while true > f$i; do i=$((i+1)); done 2>/dev/null";

INSTANTIATE_TEST_SUITE_P(
    Disk, FullDiskTest,
    ::testing::Values(Disk{"Root", "root", "size=40m", kFillBlocks},
                      Disk{"State", "state", "size=4m", kFillBlocks},
                      Disk{"RootInodes", "root", "nr_inodes=3000", kFillInodes},
                      Disk{"StateInodes", "state", "nr_inodes=1000", kFillInodes}),
    [](const auto& info) { return std::string(info.param.name); });

// A disk for logs alone.
class FullLogDiskTest : public DaemonTest {
 protected:
  void SetUp() override {
    ASSERT_OK(RemoveTree(daemon_.directory()));
    ASSERT_OK(MakeDirectories(daemon_.pod_logs(), 0755));
    ASSERT_EQ(mount("tmpfs", daemon_.pod_logs().c_str(), "tmpfs", 0, "size=64k"), 0);
    DaemonTest::SetUp();
  }
  void TearDown() override {
    DaemonTest::TearDown();
    umount2(daemon_.pod_logs().c_str(), MNT_DETACH);
  }
};

TEST_F(FullLogDiskTest, WhatIsLostIsCountedAndStopsNobody) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  const auto lost = [this] {
    const auto text = HttpGet(absl::StrCat("http://", daemon_.metrics_address(), "/metrics"));
    return text.ok() && absl::StrContains(*text, "\nberth_container_logs_incomplete_total 1\n");
  };
  RunToEnd(pod, ContainerConfig("short", {"echo", "fits"}));
  EXPECT_FALSE(lost());

  Shell(absl::StrCat("head -c 32k /dev/zero > ", daemon_.pod_logs(), "/filler"));
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      Create(pod, ContainerConfig("long", {"sh", "-c",
                                           "seq 1 100000; touch /full;"
                                           "while [ ! -e /room ]; do sleep 0.01; done;"
                                           "echo after; exit 3"})));
  ASSERT_OK(cri().StartContainer(id));
  EXPECT_EQ(Exec(id, "while [ ! -e /full ]; do sleep 0.01; done; echo full"), "full\n");
  Shell(absl::StrCat("rm ", daemon_.pod_logs(), "/filler"));
  EXPECT_EQ(Exec(id, "touch /room; echo room"), "room\n");
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 3);
  EXPECT_TRUE(lost());
  // A line that was cut short does not spoil the next one.
  ASSERT_OK_AND_ASSIGN(const std::string log,
                       ReadFile(absl::StrCat(pod.config.log_directory(), "/long_0.log")));
  const size_t longest = strlen("2026-01-01T00:00:00.000000000Z stdout F 100000");
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    EXPECT_LE(line.size(), longest) << line;
  }
  EXPECT_TRUE(absl::EndsWith(log, "Z stdout F after\n"));
}

// ---- Everything else

class FaultTest : public DaemonTest {
 protected:
  FaultTest() : DaemonTest({.config = "[network]\nplugin_timeout = \"1s\"\n"}) {}
};

TEST_F(FaultTest, WithoutDescriptorsErrorsAreClearAndAllRecovers) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("before"));
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod, "running"));
  rlimit before;
  ASSERT_EQ(prlimit(daemon_.pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  rlimit low = before;
  low.rlim_cur = 3;  // what is open stays so
  ASSERT_EQ(prlimit(daemon_.pid(), RLIMIT_NOFILE, &low, nullptr), 0);
  for (const absl::Status& status :
       {RunPod("new").status(), Create(pod, ContainerConfig("c", {"true"})).status()}) {
    EXPECT_CODE(absl::StatusCode::kResourceExhausted, status);
    EXPECT_TRUE(absl::StrContains(status.message(), "Too many open files")) << status;
  }
  EXPECT_OK(cri().ListContainers());
  ASSERT_EQ(prlimit(daemon_.pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  EXPECT_EQ(Exec(running, "echo on"), "on\n");
  EXPECT_OK(RunPod("new"));
  EXPECT_OK(Create(pod, ContainerConfig("c", {"true"})));
}

TEST_F(FaultTest, APluginThatHangsIsKilledAndItsNetworkUndoneLater) {
  const std::string hanging = daemon_.plugin_dir() + "/hanging";
  ASSERT_OK(WriteFileAtomically(hanging, "#!/bin/sh\nexec sleep 7654\n", 0755));
  const std::string config = daemon_.cni_conf_dir() + "/10-test.conflist";
  const auto configure = [&](const char* type) {
    return WriteFileAtomically(
        config,
        absl::StrCat(R"({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": ")", type,
                     R"("}]})"),
        0644);
  };
  ASSERT_OK(configure("hanging"));
  const cri::PodSandboxConfig pod = Pod("hung");
  absl::StatusOr<TestPod> made = absl::UnknownError("");
  for (int i = 0; i < 500; ++i) {
    made = RunPod(pod);
    if (made.ok() || absl::IsDeadlineExceeded(made.status())) break;
    absl::SleepFor(absl::Milliseconds(10));  // the configuration has not been noticed yet
  }
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, made);
  EXPECT_TRUE(absl::StrContains(made.status().message(), "hanging")) << made.status();
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  EXPECT_TRUE(pods.empty());
  EXPECT_EQ(Shell("ps -eo args | grep -c '^sleep 7654' || true"), "0\n");
  // Its DEL works from now on: what was owed is done by itself, and the name was never held.
  ASSERT_OK(WriteFileAtomically(hanging,
                                "#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = DEL ] || echo "
                                "'{\"cniVersion\": \"1.0.0\", \"ips\": [{\"address\": "
                                "\"10.1.2.3/24\"}]}'\n",
                                0755));
  EXPECT_OK(RunPod(pod));
  const auto records = [this] {
    return Shell("sqlite3 -readonly " + daemon_.root() + "/state.db 'SELECT count(*) FROM pods'");
  };
  for (int i = 0; i < 1500 && records() != "1\n"; ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(records(), "1\n");
}

TEST_F(FaultTest, AStoppedPodWithADeadKeeperEndsAfterARestart) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod, "running"));
  // The daemon dies in the stop, the keeper meanwhile.
  Restart("pods.stop.commit=crash");
  EXPECT_FALSE(cri().StopPod(pod.id).ok());
  ASSERT_OK(daemon_.WaitForEnd());
  for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);
  ASSERT_OK(daemon_.Start());
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(running));
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_OK(cri().StopPod(pod.id));
  EXPECT_OK(cri().RemovePod(pod.id));
}

// ---- The clock

class ClockTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    file_ = daemon_.directory() + "/clock";
    SetClock(absl::ZeroDuration());
    daemon_.Kill();
    ASSERT_OK(daemon_.Start("", {{"BERTH_WALL_CLOCK_OFFSET", file_}}));
  }
  // From now on the daemon's wall clock is off by this.
  void SetClock(absl::Duration offset) {
    const int64_t nanos = absl::ToInt64Nanoseconds(offset);
    const int fd = open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(pwrite(fd, &nanos, sizeof nanos, 0), 8);
    close(fd);
  }
  std::string file_;
};

TEST_F(ClockTest, CreationTimesIncreaseWhateverTheClockDoes) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  int64_t last = 0;
  int number = 0;
  for (const int hours : {0, -30, 50, -5000, 0, -1}) {
    SetClock(absl::Hours(hours));
    for (int i = 0; i < 2; ++i) {
      const std::string name = absl::StrCat("c", number++);
      ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod, name));
      ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
      EXPECT_GT(status.created_at(), last) << hours;
      last = status.created_at();
    }
  }
  daemon_.Kill();
  ASSERT_OK(daemon_.Start("", {{"BERTH_WALL_CLOCK_OFFSET", file_}}));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod, "after"));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
  EXPECT_GT(status.created_at(), last);
  ASSERT_OK(cri().StopContainer(id, 0));
  ASSERT_OK_AND_ASSIGN(const auto ended, cri().ContainerStatus(id));
  EXPECT_GE(ended.finished_at(), ended.started_at());
}

TEST_F(ClockTest, AGracePeriodIsNeitherCutNorStretched) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  for (const int hours : {-10, 10}) {
    SetClock(absl::ZeroDuration());
    const auto config =
        ContainerConfig(absl::StrCat("deaf", hours + 10),
                        {"sh", "-c", "trap 'echo heard' TERM; while :; do sleep 0.05; done"});
    ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, config));
    Exec(id, "true");
    absl::SleepFor(absl::Milliseconds(200));  // for the trap
    const absl::Time begin = absl::Now();
    std::thread jump([&] {
      absl::SleepFor(absl::Milliseconds(500));
      SetClock(absl::Hours(hours));
    });
    EXPECT_OK(cri().StopContainer(id, 2));
    jump.join();
    EXPECT_GE(absl::Now() - begin, absl::Milliseconds(1900)) << hours;
    EXPECT_LT(absl::Now() - begin, absl::Seconds(40)) << hours;
    // What the end set off is done, not put off: the keeper has forgotten the container.
    ASSERT_OK(cri().RemoveContainer(id));
  }
}

}  // namespace
}  // namespace berth::testing
