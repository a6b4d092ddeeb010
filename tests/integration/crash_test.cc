// A crash, and an error, at each step of each flow: afterwards the call can be repeated, the object
// goes through its whole life, and nothing is left.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

enum class Flow {
  kRunPod,
  kCreate,
  kStart,
  kStopPod,
  kRemovePod,
  kStopContainer,
  kRemoveContainer,
  kPull
};

struct Step {
  const char* failpoint;  // as in docs/failpoints.md
  Flow flow;
};

std::string NameOf(const ::testing::TestParamInfo<Step>& info) {
  static const char* const kFlows[] = {"RunPod",    "Create",        "Start",           "StopPod",
                                       "RemovePod", "StopContainer", "RemoveContainer", "Pull"};
  return absl::StrCat(kFlows[static_cast<int>(info.param.flow)], "_",
                      absl::StrReplaceAll(info.param.failpoint, {{".", "_"}}));
}

class CrashTest : public DaemonTest, public ::testing::WithParamInterface<Step> {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(daemon_.WriteCniConfig());
    config_ = Pod("pod");
    config_.set_log_directory(daemon_.pod_logs() + "/pod");
    other_ = registry_.Image("other:1");
    Prepare();
  }

  // What has to be there before the flow begins.
  void Prepare() {
    const Flow flow = GetParam().flow;
    if (flow == Flow::kRunPod || flow == Flow::kPull) return;
    ASSERT_OK_AND_ASSIGN(pod_, RetryRunPod());
    if (flow == Flow::kCreate) return;
    ASSERT_OK_AND_ASSIGN(container_, Create(pod_, Config()));
    if (flow != Flow::kStart) {
      ASSERT_OK(cri().StartContainer(container_));
    }
  }

  // With an image as volume, whose view must not be left behind either.
  cri::ContainerConfig Config() {
    cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
    cri::Mount* volume = config.add_mounts();
    volume->set_container_path("/volume");
    volume->mutable_image()->set_image(image());
    return config;
  }

  // The network's configuration may not have been noticed yet.
  absl::StatusOr<TestPod> RetryRunPod() {
    absl::StatusOr<TestPod> pod = RunPod(config_);
    for (int i = 0; i < 200 && !pod.ok() && absl::StrContains(pod.status().message(), "cni"); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      pod = RunPod(config_);
    }
    return pod;
  }

  absl::Status Run() {
    switch (GetParam().flow) {
      case Flow::kRunPod:
        return RunPod(config_).status();
      case Flow::kCreate:
        return Create(pod_, Config()).status();
      case Flow::kStart:
        return cri().StartContainer(container_);
      case Flow::kStopPod:
        return cri().StopPod(pod_.id);
      case Flow::kRemovePod:
        return cri().RemovePod(pod_.id);
      case Flow::kStopContainer:
        return cri().StopContainer(container_, 0);
      case Flow::kRemoveContainer:
        return cri().RemoveContainer(container_);
      case Flow::kPull:
        return cri().PullImage(other_).status();
    }
    return absl::InternalError("no such flow");
  }

  // The flow again and the rest of the object's life.
  void Finish() {
    const Flow flow = GetParam().flow;
    if (flow == Flow::kPull) {
      ASSERT_OK(cri().PullImage(other_));
      ASSERT_OK(cri().ImageStatus(other_));
      ASSERT_OK(cri().RemoveImage(other_));
      return;
    }
    if (flow == Flow::kRunPod) {
      ASSERT_OK_AND_ASSIGN(pod_, RetryRunPod());
      ASSERT_OK_AND_ASSIGN(const auto status, cri().PodStatus(pod_.id));
      EXPECT_TRUE(absl::StartsWith(status.status().network().ip(), "10.77."));
    }
    if (flow == Flow::kRunPod || flow == Flow::kCreate) {
      ASSERT_OK_AND_ASSIGN(container_, Create(pod_, Config()));
      ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
      EXPECT_EQ(containers.size(), 1u);
    }
    if (flow == Flow::kRunPod || flow == Flow::kCreate || flow == Flow::kStart) {
      const absl::Status start = cri().StartContainer(container_);
      // What ran and could not be recorded was killed: it may be made again, or have ended for
      // good.
      const bool ended = flow == Flow::kStart && absl::IsFailedPrecondition(start);
      EXPECT_TRUE(start.ok() || ended) << start;
      if (!ended) {
        EXPECT_EQ(Exec(container_, "echo on"), "on\n");
      }
    } else {
      EXPECT_OK(Run());
    }
    EXPECT_OK(cri().StopContainer(container_, 0));
    EXPECT_OK(cri().RemoveContainer(container_));
    EXPECT_OK(cri().StopPod(pod_.id));
    EXPECT_OK(cri().RemovePod(pod_.id));
    ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
    EXPECT_TRUE(pods.empty());
    EXPECT_EQ(Shell("cd " + daemon_.directory() +
                    "/ipam/berth-test-a 2>/dev/null && ls | grep ^10 || true"),
              "");
  }

  cri::PodSandboxConfig config_;
  TestPod pod_;
  std::string container_, other_;
};

TEST_P(CrashTest, ACrashThere) {
  Restart(absl::StrCat(GetParam().failpoint, "=crash"));
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_FALSE(Run().ok());
  auto ended = daemon_.WaitForEnd(absl::Seconds(5));
  ASSERT_OK(ended) << " the flow never passed " << GetParam().failpoint;
  ASSERT_OK(daemon_.Start());
  Finish();
}

TEST_P(CrashTest, AnErrorThere) {
  Restart(absl::StrCat(GetParam().failpoint, "=error"));
  ASSERT_FALSE(HasFatalFailure());
  const absl::Status status = Run();
  const Flow flow = GetParam().flow;
  if (flow == Flow::kRunPod) {
    EXPECT_FALSE(status.ok());
    ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
    EXPECT_TRUE(pods.empty()) << pods[0].ShortDebugString();
  }
  if (flow == Flow::kCreate) {
    EXPECT_FALSE(status.ok());
    ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
    EXPECT_TRUE(containers.empty());
  }
  Restart();
  ASSERT_FALSE(HasFatalFailure());
  Finish();
}

INSTANTIATE_TEST_SUITE_P(
    Steps, CrashTest,
    ::testing::Values(
        Step{"pods.run.directory", Flow::kRunPod}, Step{"pods.run.keeper", Flow::kRunPod},
        Step{"pods.run.netns", Flow::kRunPod}, Step{"pods.run.intent", Flow::kRunPod},
        Step{"pods.run.cni", Flow::kRunPod}, Step{"pods.run.commit", Flow::kRunPod},
        Step{"network.netns.pin", Flow::kRunPod}, Step{"network.pod_files", Flow::kRunPod},
        Step{"network.cni.add.bridge", Flow::kRunPod},
        Step{"network.cni.add.portmap", Flow::kRunPod},
        Step{"containers.create.snapshot", Flow::kCreate},
        Step{"containers.create.volume", Flow::kCreate},
        Step{"containers.create.cgroup", Flow::kCreate},
        Step{"containers.create.keeper", Flow::kCreate},
        Step{"containers.create.commit", Flow::kCreate}, Step{"containers.start.log", Flow::kStart},
        Step{"containers.start.gate", Flow::kStart}, Step{"containers.start.commit", Flow::kStart},
        Step{"containers.stop.signal", Flow::kStopContainer},
        Step{"containers.stop.kill", Flow::kStopContainer},
        Step{"containers.remove.commit", Flow::kRemoveContainer},
        Step{"containers.remove.snapshot", Flow::kRemoveContainer},
        Step{"pods.stop.keeper", Flow::kStopPod}, Step{"pods.stop.cni", Flow::kStopPod},
        Step{"pods.stop.commit", Flow::kStopPod}, Step{"network.netns.unpin", Flow::kStopPod},
        Step{"network.cni.del.portmap", Flow::kStopPod},
        Step{"network.cni.del.bridge", Flow::kStopPod},
        Step{"pods.remove.commit", Flow::kRemovePod},
        Step{"pods.remove.directory", Flow::kRemovePod},
        Step{"images.registry.request", Flow::kPull}),
    NameOf);

}  // namespace
}  // namespace berth::testing
