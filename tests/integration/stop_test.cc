// Stop always ends: by its signal, by a kill, or at its deadline with a clear error, and nothing else
// waits for it.
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/harness/silent_fuse.h"

namespace berth::testing {
namespace {

class StopTest : public DaemonTest {
 protected:
  StopTest() : DaemonTest({.config = "[runtime]\npids_limit = 300\n"}) {}
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }

  absl::StatusOr<std::string> StartScript(const std::string& name, const std::string& script) {
    return CreateAndStart(pod_, ContainerConfig(name, {"sh", "-c", script}));
  }
  // Writes to `file` of the cgroup in the freezer's hierarchy, or with v2 to cgroup.freeze.
  static void SetFrozen(const std::string& cgroup, bool frozen) {
    const bool v2 = ReadFile("/sys/fs/cgroup/cgroup.controllers").ok();
    const std::string path = v2 ? "/sys/fs/cgroup" + cgroup + "/cgroup.freeze"
                                : "/sys/fs/cgroup/freezer" + cgroup + "/freezer.state";
    std::ofstream file(path);
    file << (v2 ? (frozen ? "1" : "0") : (frozen ? "FROZEN" : "THAWED")) << std::flush;
    EXPECT_TRUE(file.good()) << path;
  }
  std::string CgroupOf(const std::string& id) const { return TestCgroup() + "/pods/" + id; }
  // A client whose calls last `timeout`.
  CriClient Hasty(absl::Duration timeout) { return CriClient(daemon_.socket(), timeout); }

  void WaitForLog(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(pod_.config.log_directory(), "/", name, "_0.log");
    for (int i = 0; i < 1000; ++i) {
      if (absl::StrContains(ReadFile(path).value_or(""), text)) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    FAIL() << path << " has no `" << text << "`";
  }
  // Takes no longer than `limit`.
  static void ExpectWithin(absl::Duration limit, const std::function<void()>& work,
                           const char* what) {
    const absl::Time begin = absl::Now();
    work();
    EXPECT_LT(absl::Now() - begin, limit) << what;
  }
  // Everything but one container goes on: reads, execs beside it, another pod's whole life.
  void ExpectTheRestGoesOn(const std::string& neighbour) {
    ExpectWithin(
        absl::Seconds(5),
        [&] {
          EXPECT_OK(cri().ListContainers());
          EXPECT_OK(cri().ContainerStatus(neighbour));
          EXPECT_EQ(Exec(neighbour, "echo here"), "here\n");
          ASSERT_OK_AND_ASSIGN(const TestPod other, RunPod("other"));
          ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(other));
          EXPECT_OK(cri().StopContainer(id, 0));
          EXPECT_OK(cri().RemovePod(other.id));
        },
        "what has nothing to do with it");
  }

  TestPod pod_;
};

TEST_F(StopTest, AProcessInUninterruptibleSleepStopsNothingElse) {
  ASSERT_OK_AND_ASSIGN(auto fuse, SilentFuse::Mount(daemon_.directory() + "/fuse"));
  ASSERT_OK_AND_ASSIGN(const std::string neighbour, Sleeper(pod_, "neighbour"));
  cri::ContainerConfig config = ContainerConfig("stuck", {"cat", "/data/file"});
  cri::Mount* mount = config.add_mounts();
  mount->set_host_path(daemon_.directory() + "/fuse");
  mount->set_container_path("/data");
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  ASSERT_TRUE(fuse->WaitUntilHeld());

  // At its deadline, with what holds it up.
  CriClient hasty = Hasty(absl::Seconds(3));
  const absl::Status stopped = hasty.StopContainer(id, 1);
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, stopped);
  EXPECT_TRUE(absl::StrContains(stopped.message(), "uninterruptible sleep")) << stopped;
  EXPECT_TRUE(absl::StrContains(stopped.message(), "goes on in the background")) << stopped;
  const absl::Status removed = hasty.RemoveContainer(id);
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, removed);
  EXPECT_FALSE(absl::StrContains(removed.message(), "client deadline")) << removed;

  // While others try, too.
  std::thread stop_pod([&] {
    CriClient client = Hasty(absl::Seconds(3));
    EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, client.StopPod(pod_.id));
  });
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_EQ(status.state(), cri::CONTAINER_RUNNING);
  stop_pod.join();
  // The pod's stop ended what can end.
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus ended, cri().ContainerStatus(neighbour));
  EXPECT_EQ(ended.state(), cri::CONTAINER_EXITED);
  ASSERT_OK_AND_ASSIGN(const std::string second, Sleeper(pod_, "second"));
  ExpectTheRestGoesOn(second);
  ExpectWithin(absl::Seconds(5), [&] { Restart(); }, "a restart");
  ExpectTheRestGoesOn(second);

  fuse.reset();
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus exited, cri().WaitForExit(id));
  EXPECT_EQ(exited.exit_code(), 137);
}

TEST_F(StopTest, ALogThatDoesNotAnswerStopsNothingElse) {
  ASSERT_OK_AND_ASSIGN(auto fuse, SilentFuse::Mount(daemon_.directory() + "/fuse"));
  ASSERT_OK_AND_ASSIGN(const std::string neighbour, Sleeper(pod_, "neighbour"));
  cri::PodSandboxConfig slow = PodConfig("slow");
  slow.set_log_directory(daemon_.directory() + "/fuse");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(slow));
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod, ContainerConfig("talker", {"sh", "-c", "seq 1 100000; sleep 1000"})));
  ASSERT_TRUE(fuse->WaitUntilHeld());
  ExpectTheRestGoesOn(neighbour);
  ExpectWithin(absl::Seconds(10), [&] { EXPECT_OK(cri().StopContainer(id, 0)); }, "the stop");
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_TRUE(absl::StrContains(status.message(), "not in its log")) << status.message();

  // A log that can't even be opened is the start's error, and nobody's else.
  ASSERT_OK_AND_ASSIGN(const std::string mute, Create(pod, ContainerConfig("mute", {"true"})));
  fuse->Silence();
  const int held = fuse->held();
  std::thread start([&] {
    const absl::Status started = cri().StartContainer(mute);
    EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, started);
    EXPECT_TRUE(absl::StrContains(started.message(), "did not answer")) << started;
  });
  EXPECT_TRUE(fuse->WaitUntilHeld(held + 1));
  ExpectTheRestGoesOn(neighbour);
  start.join();
  ExpectWithin(absl::Seconds(5), [&] { Restart(); }, "a restart");
  ExpectTheRestGoesOn(neighbour);
  fuse.reset();
}

TEST_F(StopTest, AVolumeThatDoesNotAnswerStopsNothingElse) {
  ASSERT_OK_AND_ASSIGN(auto fuse, SilentFuse::Mount(daemon_.directory() + "/fuse"));
  ASSERT_OK_AND_ASSIGN(const std::string neighbour, Sleeper(pod_, "neighbour"));
  fuse->Silence();
  cri::ContainerConfig config = ContainerConfig("never", {"true"});
  cri::Mount* mount = config.add_mounts();
  mount->set_host_path(daemon_.directory() + "/fuse/dir/volume");
  mount->set_container_path("/data");
  MatchNamespaces(pod_.config, &config);
  CriClient hasty = Hasty(absl::Seconds(1));
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded,
              hasty.CreateContainer(pod_.id, config, pod_.config));
  EXPECT_TRUE(fuse->WaitUntilHeld());
  ExpectTheRestGoesOn(neighbour);
  ExpectWithin(absl::Seconds(5), [&] { Restart(); }, "a restart");
  ExpectTheRestGoesOn(neighbour);
  fuse.reset();
}

TEST_F(StopTest, ARootFileSystemThatDoesNotAnswerStopsNothingElse) {
  ASSERT_OK_AND_ASSIGN(const std::string neighbour, Sleeper(pod_, "neighbour"));
  const std::string layers = daemon_.root() + "/layers";
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> before, ListDirectory(layers));
  const std::string reference = registry_.Image("layers:1");
  ASSERT_OK(cri().PullImage(reference));
  ASSERT_OK_AND_ASSIGN(std::vector<std::string> pulled, ListDirectory(layers));
  std::erase_if(pulled, [&](const std::string& layer) {
    return std::find(before.begin(), before.end(), layer) != before.end();
  });
  ASSERT_FALSE(pulled.empty());
  std::vector<std::unique_ptr<SilentFuse>> disks;
  for (const std::string& layer : pulled) {
    const std::string tree = absl::StrCat(layers, "/", layer, "/fs");
    ASSERT_OK_AND_ASSIGN(auto fuse, SilentFuse::Mount(tree));
    ASSERT_OK(ListDirectory(tree));  // it has begun
    fuse->Silence();
    disks.push_back(std::move(fuse));
  }
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("rootless"));
  cri::ContainerConfig config = ContainerConfig("never", {"/file"});
  config.mutable_image()->set_image(reference);
  MatchNamespaces(pod.config, &config);
  CriClient hasty = Hasty(absl::Seconds(1));
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded,
              hasty.CreateContainer(pod.id, config, pod.config));
  const auto held = [](const std::unique_ptr<SilentFuse>& disk) { return disk->held() > 0; };
  for (int i = 0; i < 1000 && std::none_of(disks.begin(), disks.end(), held); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_TRUE(std::any_of(disks.begin(), disks.end(), held));
  ExpectTheRestGoesOn(neighbour);
  ExpectWithin(absl::Seconds(5), [&] { Restart(); }, "a restart");
  ExpectTheRestGoesOn(neighbour);
  disks.clear();
}

// The program itself comes from a disk that does not answer.
TEST_F(StopTest, AStartThatHangsIsStopped) {
  ASSERT_OK_AND_ASSIGN(auto fuse, SilentFuse::Mount(daemon_.directory() + "/fuse"));
  ASSERT_OK_AND_ASSIGN(const std::string neighbour, Sleeper(pod_, "neighbour"));
  cri::ContainerConfig config = ContainerConfig("hung", {"/data/file"});
  cri::Mount* mount = config.add_mounts();
  mount->set_host_path(daemon_.directory() + "/fuse");
  mount->set_container_path("/data");
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, config));
  std::thread start([&] { EXPECT_FALSE(cri().StartContainer(id).ok()); });
  ASSERT_TRUE(fuse->WaitUntilHeld());
  ExpectTheRestGoesOn(neighbour);
  CriClient hasty = Hasty(absl::Seconds(4));
  const absl::Status stopped = hasty.StopContainer(id, 1);
  if (!stopped.ok()) {
    EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, stopped);
    EXPECT_FALSE(absl::StrContains(stopped.message(), "client deadline")) << stopped;
  }
  fuse.reset();
  start.join();
  // Its program has never run.
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_EQ(status.state(), cri::CONTAINER_CREATED);
  EXPECT_OK(cri().StopContainer(id, 0));
}

TEST_F(StopTest, ACallerThatLeavesDoesNotEndTheStop) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       StartScript("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done"));
  WaitForLog("deaf", "ready");
  const absl::Time begin = absl::Now();
  CriClient hasty = Hasty(absl::Milliseconds(500));
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, hasty.StopContainer(id, 2));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 137);
  EXPECT_GE(absl::FromUnixNanos(status.finished_at()), begin + absl::Seconds(2));
}

TEST_F(StopTest, AStopInTheBackgroundOutlivesTheDaemon) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       StartScript("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done"));
  WaitForLog("deaf", "ready");
  const absl::Time begin = absl::Now();
  CriClient hasty = Hasty(absl::Milliseconds(500));
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, hasty.StopContainer(id, 3));
  // A stop with more patience changes nothing.
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, hasty.StopContainer(id, 1000));
  Restart();
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 137);
  EXPECT_GE(absl::FromUnixNanos(status.finished_at()), begin + absl::Seconds(3));
}

TEST_F(StopTest, ADeadlineShrinks) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       StartScript("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done"));
  WaitForLog("deaf", "ready");
  ExpectWithin(
      absl::Seconds(20),
      [&] {
        std::thread patient([&] { EXPECT_OK(cri().StopContainer(id, 1000)); });
        absl::SleepFor(absl::Milliseconds(100));  // whichever comes first, the same follows
        EXPECT_OK(cri().StopContainer(id, 1));
        patient.join();
      },
      "both stops");
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_EQ(status.exit_code(), 137);
}

TEST_F(StopTest, StopsAndRemovalsAtOnceAllSucceed) {
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(absl::StrCat("round-", round)));
    ASSERT_OK_AND_ASSIGN(
        const std::string id,
        CreateAndStart(pod, ContainerConfig("deaf", {"sh", "-c", "trap '' TERM; sleep 1000"})));
    ASSERT_OK_AND_ASSIGN(const std::string gated, Create(pod, ContainerConfig("gated", {"true"})));
    std::vector<std::thread> threads;
    threads.emplace_back([&] { EXPECT_OK(cri().StopContainer(id, 1000)); });
    threads.emplace_back([&] { EXPECT_OK(cri().StopContainer(gated, 1000)); });
    threads.emplace_back([&] { EXPECT_OK(cri().StopPod(pod.id)); });
    threads.emplace_back([&] { EXPECT_OK(cri().RemoveContainer(id)); });
    threads.emplace_back([&] { EXPECT_OK(cri().RemoveContainer(id)); });
    threads.emplace_back([&] { EXPECT_OK(cri().RemovePod(pod.id)); });
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_F(StopTest, WhatIsFrozenFromOutsideHandlesItsSignal) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      StartScript("polite", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"));
  WaitForLog("polite", "ready");
  SetFrozen(CgroupOf(id), true);
  ExpectWithin(absl::Seconds(20), [&] { EXPECT_OK(cri().StopContainer(id, 30)); }, "the stop");
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_EQ(status.exit_code(), 7);
}

TEST_F(StopTest, AFrozenPodIsKilled) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  SetFrozen(TestCgroup() + "/pods", true);
  const absl::Cleanup thaw = [] { SetFrozen(TestCgroup() + "/pods", false); };
  ExpectWithin(absl::Seconds(8), [&] { EXPECT_OK(cri().StopContainer(id, 0)); }, "the stop");
}

TEST_F(StopTest, AStoppedProcessIsKilledAfterItsGracePeriod) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  ASSERT_EQ(kill(PidOf(id), SIGSTOP), 0);
  ExpectWithin(absl::Seconds(8), [&] { EXPECT_OK(cri().StopContainer(id, 1)); }, "the stop");
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_EQ(status.exit_code(), 137);
}

TEST_F(StopTest, AStoppedKeeperIsWoken) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  ASSERT_EQ(Keepers().size(), 1u);
  ASSERT_EQ(kill(Keepers()[0], SIGSTOP), 0);
  ExpectWithin(absl::Seconds(9), [&] { EXPECT_OK(cri().StopContainer(id, 0)); }, "the stop");
}

TEST_F(StopTest, AForkBombEnds) {
  // The bomb fills its limit of processes and goes on trying.
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      StartScript("bomb",
                  "trap '' TERM; f() { trap '' TERM; while :; do (sleep 0.01 &); f & done; }"
                  "; echo ready; f 2>/dev/null"));
  WaitForLog("bomb", "ready");
  absl::SleepFor(absl::Milliseconds(300));  // it grows; the stop ends whatever size it has
  ExpectWithin(absl::Seconds(20), [&] { EXPECT_OK(cri().StopContainer(id, 0)); }, "the stop");
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  EXPECT_EQ(status.exit_code(), 137);
  EXPECT_OK(cri().RemoveContainer(id));
}

TEST_F(StopTest, ZombiesDoNotMatter) {
  // `sleep` reaps nothing.
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      StartScript("crypt",
                  "i=0; while [ $i -lt 200 ]; do true & i=$((i+1)); done; echo ready; "
                  "exec sleep 100000"));
  WaitForLog("crypt", "ready");
  ExpectWithin(absl::Seconds(8), [&] { EXPECT_OK(cri().StopContainer(id, 0)); }, "the stop");
}

}  // namespace
}  // namespace berth::testing
