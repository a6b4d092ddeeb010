// A crash, and an error, at each step of each flow: afterwards the call can be repeated, the object
// goes through its whole life, and nothing is left. The steps are those of docs/failpoints.md.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

struct Step {
  std::string failpoint;
  std::string flow;  // "-": another test's
  bool only_crash = false;
};

// The lines `| NAME | FLOW | BEFORE |` of the table.
std::vector<Step> Steps() {
  std::vector<Step> steps;
  const std::string table = ReadFile("docs/failpoints.md").value_or("");
  for (const absl::string_view line : absl::StrSplit(table, '\n')) {
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    if (cells.size() != 3 || !absl::StartsWith(cells[0], "| ")) continue;
    const std::string name = cells[0].substr(2);
    if (name == "name" || name == "---") continue;
    steps.push_back({name, cells[1], absl::StrContains(cells[2], "(only crash)")});
  }
  return steps;
}

std::vector<Step> OwnSteps(bool errors) {
  std::vector<Step> steps = Steps();
  std::erase_if(steps, [errors](const Step& step) {
    return step.flow == "-" || (errors && step.only_crash);
  });
  return steps;
}

// For gtest, which would print its bytes.
void PrintTo(const Step& step, std::ostream* out) { *out << step.failpoint; }

std::string NameOf(const ::testing::TestParamInfo<Step>& info) {
  return absl::StrCat(info.param.flow, "_",
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
    // Its own cgroup and init come with it.
    if (Is("RunPodSandbox")) Namespaces(&config_)->set_pid(cri::POD);
    other_ = registry_.Image("other:1");
    // Its layers are the other's, which are to be fetched and collected.
    if (OfImages()) {
      ASSERT_OK(cri().RemoveImage(image()));
    }
    // Beside the fixture's own.
    images_ = std::make_unique<LeakCheck>(
        std::vector<std::string>{daemon_.root() + "/layers", daemon_.root() + "/blobs"});
    Prepare();
  }

  static cri::NamespaceOption* Namespaces(cri::PodSandboxConfig* config) {
    return config->mutable_linux()->mutable_security_context()->mutable_namespace_options();
  }
  bool Is(const std::string& flow) const { return GetParam().flow == flow; }
  bool OfImages() const { return Is("PullImage") || Is("RemoveImage"); }

  // What has to be there before the flow begins.
  void Prepare() {
    if (Is("RemoveImage")) {
      ASSERT_OK(cri().PullImage(other_));
    }
    if (Is("RunPodSandbox") || OfImages()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RetryRunPod());
    if (Is("CreateContainer")) return;
    ASSERT_OK_AND_ASSIGN(container_, Create(pod_, Config()));
    if (Is("StartContainer")) return;
    ASSERT_OK(cri().StartContainer(container_));
  }

  cri::ContainerConfig Config() {
    cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
    cri::Mount* mount = config.add_mounts();
    mount->set_host_path(daemon_.directory() + "/volume");
    mount->set_container_path("/volume");
    if (GetParam().failpoint == "containers.create.volume") {
      cri::Mount* volume = config.add_mounts();
      volume->mutable_image()->set_image(image());
      volume->set_container_path("/image");
    }
    return config;
  }

  // The network's configuration may not have been noticed yet.
  absl::StatusOr<TestPod> RetryRunPod() {
    absl::StatusOr<TestPod> pod = RunPod(config_);
    for (int i = 0; i < 500 && !pod.ok() && absl::StrContains(pod.status().message(), "cni"); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      pod = RunPod(config_);
    }
    return pod;
  }

  absl::Status Run() {
    if (Is("RunPodSandbox")) return RunPod(config_).status();
    if (Is("CreateContainer")) return Create(pod_, Config()).status();
    if (Is("StartContainer")) return cri().StartContainer(container_);
    if (Is("StopContainer")) return cri().StopContainer(container_, 0);
    if (Is("RemoveContainer")) return cri().RemoveContainer(container_);
    if (Is("StopPodSandbox")) return cri().StopPod(pod_.id);
    if (Is("RemovePodSandbox")) return cri().RemovePod(pod_.id);
    if (Is("PullImage")) return cri().PullImage(other_).status();
    if (Is("RemoveImage")) return cri().RemoveImage(other_);
    return absl::InternalError(absl::StrCat("docs/failpoints.md: no such flow: ", GetParam().flow));
  }

  // The flow again and the rest of the object's life.
  void Finish() {
    if (OfImages()) {
      EXPECT_OK(Run());
      ASSERT_OK(cri().PullImage(other_));
      ASSERT_OK(cri().ImageStatus(other_));
      ASSERT_OK(cri().RemoveImage(other_));
      for (const std::string& leak : images_->Leaks()) {
        if (absl::StartsWith(leak, "file ")) ADD_FAILURE() << "left: " << leak;
      }
      return;
    }
    if (Is("RunPodSandbox")) {
      ASSERT_OK_AND_ASSIGN(pod_, RetryRunPod());
      ASSERT_OK_AND_ASSIGN(const auto status, cri().PodStatus(pod_.id));
      EXPECT_TRUE(absl::StartsWith(status.status().network().ip(), "10.77."));
    }
    if (Is("RunPodSandbox") || Is("CreateContainer")) {
      ASSERT_OK_AND_ASSIGN(container_, Create(pod_, Config()));
      ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
      EXPECT_EQ(containers.size(), 1u);
    }
    if (Is("RunPodSandbox") || Is("CreateContainer") || Is("StartContainer")) {
      const absl::Status start = cri().StartContainer(container_);
      // What ran and could not be recorded was killed: it may be made again, or have ended for
      // good.
      const bool ended = Is("StartContainer") && absl::IsFailedPrecondition(start);
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
    // An undo of the network that failed is tried again after a second.
    const std::string leases =
        "cd " + daemon_.directory() + "/ipam/berth-test-a 2>/dev/null && ls | grep ^10 || true";
    for (int i = 0; i < 1000 && !Shell(leases).empty(); ++i) absl::SleepFor(absl::Milliseconds(10));
    EXPECT_EQ(Shell(leases), "");
  }

  // A daemon in which the flow's first pass of the failpoint is the one that acts: some are passed by the
  // start, too.
  void RestartWith(const char* action) {
    const std::string passed = absl::StrCat("failpoint ", GetParam().failpoint, ":");
    for (int pass = 1; pass < 20; ++pass) {
      daemon_.Kill();
      const size_t before = daemon_.Log().size();
      const absl::Status started =
          daemon_.Start(absl::StrCat(GetParam().failpoint, "=", pass, action));
      if (absl::StrContains(daemon_.Log().substr(before), passed)) continue;
      ASSERT_OK(started);
      return;
    }
    FAIL() << "every start passes " << GetParam().failpoint;
  }

  cri::PodSandboxConfig config_;
  TestPod pod_;
  std::string container_, other_;
  std::unique_ptr<LeakCheck> images_;
};

class AtACrash : public CrashTest {};
TEST_P(AtACrash, TheNextDaemonPutsItRight) {
  RestartWith("*crash");
  ASSERT_FALSE(HasFatalFailure());
  const absl::Status status = Run();
  auto ended = daemon_.WaitForEnd(absl::Seconds(10));
  ASSERT_OK(ended) << " the flow never passed " << GetParam().failpoint << ": " << status;
  ASSERT_OK(daemon_.Start());
  Finish();
}

class AtAnError : public CrashTest {};
TEST_P(AtAnError, TheSameDaemonPutsItRight) {
  RestartWith("@error");
  ASSERT_FALSE(HasFatalFailure());
  const size_t before = daemon_.Log().size();
  const absl::Status status = Run();
  // Some of them are passed in the background.
  const std::string passed = absl::StrCat("failpoint ", GetParam().failpoint, ":");
  for (int i = 0; i < 1000 && !absl::StrContains(daemon_.Log().substr(before), passed); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_TRUE(absl::StrContains(daemon_.Log().substr(before), passed))
      << "the flow never passed it";
  if (Is("RunPodSandbox") && !status.ok()) {
    ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
    // What had been committed is there for the retry.
    EXPECT_EQ(pods.size(), GetParam().failpoint == "pods.run.done" ? 1u : 0u);
  }
  if (Is("CreateContainer") && !status.ok()) {
    ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
    EXPECT_EQ(containers.size(), GetParam().failpoint == "containers.create.done" ? 1u : 0u);
  }
  Finish();
}

TEST(FailpointTableTest, IsRead) { EXPECT_GT(OwnSteps(true).size(), 50u); }

INSTANTIATE_TEST_SUITE_P(Step, AtACrash, ::testing::ValuesIn(OwnSteps(false)), NameOf);
INSTANTIATE_TEST_SUITE_P(Step, AtAnError, ::testing::ValuesIn(OwnSteps(true)), NameOf);

}  // namespace
}  // namespace berth::testing
