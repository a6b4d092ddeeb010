// The life of a pod sandbox with the host's network, as kubelet sees it.
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class PodTest : public DaemonTest {};

TEST_F(PodTest, StatusRepeatsWhatWasAsked) {
  cri::PodSandboxConfig config = PodConfig("asked");
  (*config.mutable_labels())["app"] = "web";
  (*config.mutable_labels())["odd"] = "ünï\tcödé\n\"";
  (*config.mutable_annotations())["note"] = std::string(5000, 'x');
  config.mutable_metadata()->set_attempt(3);
  const int64_t before = absl::GetCurrentTimeNanos();
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_EQ(pod.id.size(), 64u);
  EXPECT_EQ(pod.id.find_first_not_of("0123456789abcdef"), std::string::npos);

  ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id));
  const cri::PodSandboxStatus& status = answer.status();
  EXPECT_EQ(status.id(), pod.id);
  EXPECT_EQ(status.state(), cri::SANDBOX_READY);
  EXPECT_EQ(status.metadata().SerializeAsString(), config.metadata().SerializeAsString());
  EXPECT_EQ(status.labels().at("odd"), config.labels().at("odd"));
  EXPECT_EQ(status.labels_size(), 2);
  EXPECT_EQ(status.annotations().at("note"), config.annotations().at("note"));
  EXPECT_GE(status.created_at(), before);
  EXPECT_LE(status.created_at(), absl::GetCurrentTimeNanos());
  const auto& options = status.linux().namespaces().options();
  EXPECT_EQ(options.network(), cri::NODE);
  EXPECT_EQ(options.pid(), cri::CONTAINER);
  EXPECT_EQ(options.ipc(), cri::POD);
  EXPECT_EQ(status.network().ip(), "");
  EXPECT_EQ(answer.info_size(), 0);
}

TEST_F(PodTest, VerboseStatusHasThePid) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("verbose"));
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id, /*verbose=*/true));
  ASSERT_TRUE(answer.info().contains("info"));
  EXPECT_TRUE(absl::StrContains(answer.info().at("info"), "\"pid\"")) << answer.info().at("info");
}

TEST_F(PodTest, AStoppedPodIsNotReadyAndARemovedOneIsGone) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("life"));
  ASSERT_OK(cri().StopPod(pod.id));
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id));
  EXPECT_EQ(answer.status().state(), cri::SANDBOX_NOTREADY);
  EXPECT_EQ(answer.status().linux().namespaces().options().network(), cri::NODE);
  EXPECT_OK(cri().StopPod(pod.id));  // again
  ASSERT_OK(cri().RemovePod(pod.id));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().PodStatus(pod.id));
  EXPECT_OK(cri().RemovePod(pod.id));
  EXPECT_OK(cri().StopPod(pod.id));
}

TEST_F(PodTest, StopEndsTheContainersAndRemoveRemovesThem) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("parent"));
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod, "running"));
  ASSERT_OK_AND_ASSIGN(const std::string created,
                       Create(pod, ContainerConfig("created", {"sleep", "1000"})));
  const pid_t pid = PidOf(running);
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_NE(kill(pid, 0), 0);
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(running));
  EXPECT_EQ(status.state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 137);
  ASSERT_OK(cri().RemovePod(pod.id));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(running));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(created));
}

TEST_F(PodTest, AReadyPodCanBeRemovedAtOnce) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("forced"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  ASSERT_OK(cri().RemovePod(pod.id));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(container));
}

TEST_F(PodTest, CreatedAtStrictlyIncreases) {
  int64_t last = 0;
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(absl::StrCat("ordered-", i)));
    ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id));
    EXPECT_GT(answer.status().created_at(), last);
    last = answer.status().created_at();
  }
}

TEST_F(PodTest, NoContainerCanBeCreatedInAStoppedPod) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("stopped"));
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition,
              Create(pod, ContainerConfig("late", {"true"})));
}

TEST_F(PodTest, AKeeperPerPodAndNoneAfterIt) {
  const size_t before = Keepers().size();
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("kept"));
  EXPECT_EQ(Keepers().size(), before + 1);
  ASSERT_OK(cri().StopPod(pod.id));
  ASSERT_OK(cri().RemovePod(pod.id));
  EXPECT_EQ(Keepers().size(), before);
}

TEST_F(PodTest, TheHostsMountTableStaysAsItWas) {
  const auto mounts = [] { return std::stoi(Shell("wc -l < /proc/self/mountinfo")); };
  const int before = mounts();
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("flat"));
  ASSERT_OK(Sleeper(pod).status());
  EXPECT_EQ(mounts(), before);
}

TEST_F(PodTest, ContainersOfAPodShareIpcAndUts) {
  cri::PodSandboxConfig config = PodConfig("shared");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string a, Sleeper(pod, "a"));
  ASSERT_OK_AND_ASSIGN(const std::string b, Sleeper(pod, "b"));
  EXPECT_EQ(Exec(a, "readlink /proc/self/ns/ipc"), Exec(b, "readlink /proc/self/ns/ipc"));
  EXPECT_EQ(Exec(a, "readlink /proc/self/ns/net"), Shell("readlink /proc/self/ns/net"));
  EXPECT_NE(Exec(a, "readlink /proc/self/ns/pid"), Exec(b, "readlink /proc/self/ns/pid"));
  Exec(a, "echo seen > /dev/shm/file");
  EXPECT_EQ(Exec(b, "cat /dev/shm/file"), "seen\n");
}

TEST_F(PodTest, PidModePodSharesProcesses) {
  cri::PodSandboxConfig config = PodConfig("pid-pod");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string a, Sleeper(pod, "a"));
  ASSERT_OK_AND_ASSIGN(const std::string b,
                       CreateAndStart(pod, ContainerConfig("b", {"sleep", "777"})));
  EXPECT_EQ(Exec(a, "readlink /proc/self/ns/pid"), Exec(b, "readlink /proc/self/ns/pid"));
  EXPECT_TRUE(absl::StrContains(Exec(a, "ps -o args"), "sleep 777"));
  // An orphan is reaped by the pod's init.
  EXPECT_EQ(Exec(a, "sh -c 'sleep 0.1 & exit 0'; sleep 0.5; ps -o stat | grep -c Z || true"),
            "0\n");
}

TEST_F(PodTest, PidModeNodeSeesTheHost) {
  cri::PodSandboxConfig config = PodConfig("pid-node");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::NODE);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  EXPECT_EQ(Exec(container, "readlink /proc/self/ns/pid"), Shell("readlink /proc/self/ns/pid"));
}

// What an ephemeral container of `kubectl debug --target` is.
TEST_F(PodTest, PidModeTargetJoinsARunningContainerOfThePod) {
  cri::PodSandboxConfig config = PodConfig("target");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string target, Sleeper(pod, "target"));
  cri::ContainerConfig debug = ContainerConfig("debug", {"sleep", "1000"});
  MatchNamespaces(config, &debug);
  auto* options = debug.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  options->set_pid(cri::TARGET);
  options->set_target_id("unknown");
  EXPECT_CODE(absl::StatusCode::kNotFound, Create(pod, debug));

  options->set_target_id(target);
  ASSERT_OK_AND_ASSIGN(const std::string joined, CreateAndStart(pod, debug));
  EXPECT_EQ(Exec(joined, "readlink /proc/self/ns/pid"), Exec(target, "readlink /proc/self/ns/pid"));
  EXPECT_EQ(Exec(joined, "cat /proc/1/cmdline | tr '\\0' ' '"),
            Exec(target, "cat /proc/1/cmdline | tr '\\0' ' '"));
  // The namespace ends with its first process.
  ASSERT_OK(cri().StopContainer(target, 0));
  ASSERT_OK_AND_ASSIGN(const auto ended, cri().WaitForExit(joined));
  EXPECT_EQ(ended.exit_code(), 137);
  debug.mutable_metadata()->set_attempt(1);
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, Create(pod, debug));
}

TEST_F(PodTest, PidModeTargetStaysInThePod) {
  ASSERT_OK_AND_ASSIGN(const TestPod other, RunPod("other"));
  ASSERT_OK_AND_ASSIGN(const std::string target, Sleeper(other));
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  cri::ContainerConfig debug = ContainerConfig("debug", {"sleep", "1000"});
  auto* options = debug.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  options->set_pid(cri::TARGET);
  options->set_target_id(target);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, Create(pod, debug));
}

TEST_F(PodTest, APodWithoutContainersLivesAndEnds) {
  cri::PodSandboxConfig config = PodConfig("empty");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  Restart();
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id));
  EXPECT_EQ(answer.status().state(), cri::SANDBOX_READY);
  EXPECT_EQ(answer.containers_statuses_size(), 0);
  ASSERT_OK(cri().StopPod(pod.id));
  ASSERT_OK(cri().RemovePod(pod.id));
}

// What kubelet does when a sandbox died: another attempt of it, and of its containers.
TEST_F(PodTest, ADeadSandboxIsMadeAgainAsAnotherAttempt) {
  cri::PodSandboxConfig config = PodConfig("recreated");
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string lost, Sleeper(first, "c"));
  for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);
  ASSERT_OK_AND_ASSIGN(const auto ended, cri().WaitForExit(lost));
  EXPECT_EQ(ended.exit_code(), 255);
  EXPECT_EQ(ended.reason(), "Unknown");
  cri::PodSandboxState state = cri::SANDBOX_READY;
  for (int i = 0; i < 1000 && state == cri::SANDBOX_READY; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(first.id));
    state = answer.status().state();
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(state, cri::SANDBOX_NOTREADY);
  EXPECT_CODE(absl::StatusCode::kAlreadyExists, RunPod(config));

  ASSERT_OK(cri().StopPod(first.id));
  config.mutable_metadata()->set_attempt(1);
  ASSERT_OK_AND_ASSIGN(const TestPod second, RunPod(config));
  EXPECT_NE(second.id, first.id);
  cri::ContainerConfig container = ContainerConfig("c", {"sleep", "1000"});
  container.mutable_metadata()->set_attempt(1);
  container.set_log_path("c_1.log");
  ASSERT_OK_AND_ASSIGN(const std::string again, CreateAndStart(second, container));
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  EXPECT_EQ(pods.size(), 2u);
  // The old one goes, the new one stays.
  ASSERT_OK(cri().RemovePod(first.id));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ContainerStatus(lost));
  EXPECT_EQ(Exec(again, "echo alive"), "alive\n");
}

TEST_F(PodTest, AContainerIsRestartedAsAnotherAttempt) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("restarts"));
  std::string ids[3];
  for (uint32_t attempt = 0; attempt < 3; ++attempt) {
    cri::ContainerConfig config =
        ContainerConfig("c", {"sh", "-c", absl::StrCat("echo try ", attempt, "; exit 1")});
    config.mutable_metadata()->set_attempt(attempt);
    config.set_log_path(absl::StrCat("c/", attempt, ".log"));
    ASSERT_OK_AND_ASSIGN(ids[attempt], CreateAndStart(pod, config));
    ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(ids[attempt]));
    EXPECT_EQ(status.metadata().attempt(), attempt);
    EXPECT_EQ(LogText(ReadLog(status.log_path())), absl::StrCat("try ", attempt, "\n"));
    // A name and attempt that has run does not come back.
    EXPECT_CODE(absl::StatusCode::kAlreadyExists, Create(pod, config));
  }
  ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
  EXPECT_EQ(containers.size(), 3u);
  ASSERT_OK(cri().RemoveContainer(ids[0]));
  EXPECT_OK(cri().ContainerStatus(ids[2]));
}

TEST_F(PodTest, ACgroupParentThatKubeletMadeStaysAsItIs) {
  const std::string parent = TestCgroup() + "/kubelets/pod1";
  const bool unified = ReadFile("/sys/fs/cgroup/cgroup.controllers").ok();
  const std::string memory = "/sys/fs/cgroup" + std::string(unified ? "" : "/memory") + parent;
  const std::string limit = memory + (unified ? "/memory.max" : "/memory.limit_in_bytes");
  ASSERT_OK(MakeDirectories(memory, 0755));
  if (unified) {
    Shell("cd /sys/fs/cgroup && for d in ." + TestCgroup() + " ." + TestCgroup() +
          "/kubelets; do echo +memory > $d/cgroup.subtree_control; done");
  }
  Shell("echo 268435456 > " + limit);
  cri::PodSandboxConfig config = PodConfig("child");
  config.mutable_linux()->set_cgroup_parent(parent);
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  config.mutable_linux()->mutable_overhead()->set_memory_limit_in_bytes(16 << 20);
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(240 << 20);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_TRUE(absl::StrContains(Shell(absl::StrCat("cat /proc/", PidOf(id), "/cgroup")),
                                absl::StrCat(parent, "/", id)));
  EXPECT_EQ(Shell("cat " + limit), "268435456\n");
  ASSERT_OK(cri().RemovePod(pod.id));
  // It is kubelet's: it stays, with its limit and nothing in it.
  EXPECT_EQ(Shell("cat " + limit), "268435456\n");
  EXPECT_EQ(Shell("find " + memory + " -mindepth 1 -type d"), "");
  Shell("find /sys/fs/cgroup -depth -type d -path '*" + TestCgroup() +
        "/kubelets*' -exec rmdir {} \\;");
}

TEST_F(PodTest, SigtermLeavesPodsRunning) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("survivor"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  const pid_t pid = PidOf(container);
  ASSERT_OK_AND_ASSIGN(const int status, daemon_.Terminate());
  EXPECT_EQ(status, 0);
  EXPECT_EQ(kill(pid, 0), 0);
  ASSERT_OK(daemon_.Start());
  EXPECT_EQ(PidOf(container), pid);
  EXPECT_EQ(Exec(container, "echo on"), "on\n");
}

}  // namespace
}  // namespace berth::testing
