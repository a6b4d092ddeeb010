// RuntimeClass handlers: pods of external OCI runtimes behave as those of this runtime.
#include <signal.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kCrun[] = "/run/berth-test-crun";
constexpr char kCdiDirectory[] = "/run/berth-cdi-test";

// crun refuses hosts that have cgroup v1 beside a v2 tree: it is shown none.
constexpr char kCrunScript[] = R"(#!/bin/sh
[ -d /sys/fs/cgroup/unified ] || exec crun "$@"
exec unshare -m --propagation slave sh -c \
  'mount -t tmpfs none /sys/fs/cgroup/unified && exec crun "$@"' crun "$@"
)";

class HandlerTest : public DaemonTest {
 protected:
  HandlerTest()
      : DaemonTest(
            {.config = absl::StrCat("[runtime.handlers.runc]\npath = \"/usr/sbin/runc\"\n"
                                    "annotations = [\"io.example.*\"]\n"
                                    "[runtime.handlers.crun]\npath = \"",
                                    kCrun,
                                    "\"\n"
                                    "[runtime.handlers.berth]\nannotations = [\"io.berth\"]\n"
                                    "[runtime.handlers.gone]\npath = \"/no/such/runtime\"\n"
                                    "[cdi]\ndirectories = [\"",
                                    kCdiDirectory, "\"]\n")}) {}

  void SetUp() override {
    ASSERT_OK(WriteFileAtomically(kCrun, kCrunScript, 0755));
    ASSERT_OK(MakeDirectories(kCdiDirectory, 0755));
    DaemonTest::SetUp();
  }

  void TearDown() override {
    DaemonTest::TearDown();
    EXPECT_OK(RemoveTree(kCdiDirectory));
    EXPECT_OK(RemoveTree(kCrun));
  }

  // A device of this name, with OCI hooks.
  void WriteHooks(const std::string& device, const nlohmann::json& hooks) {
    nlohmann::json entry = {{"name", device}};
    entry["containerEdits"]["hooks"] = hooks;
    nlohmann::json file = {{"cdiVersion", "0.6.0"}, {"kind", "vendor.com/thing"}};
    file["devices"] = nlohmann::json::array({entry});
    EXPECT_OK(
        WriteFileAtomically(absl::StrCat(kCdiDirectory, "/", device, ".json"), file.dump(), 0644));
  }
  static nlohmann::json Hook(const std::string& name, const std::string& script) {
    nlohmann::json hook = {{"hookName", name}, {"path", "/bin/sh"}};
    hook["args"] = nlohmann::json::array({"sh", "-c", script});
    hook["env"] = nlohmann::json::array({"PATH=/usr/bin:/bin"});
    return hook;
  }
  cri::ContainerConfig WithDevice(const std::string& device, const std::string& script) {
    cri::ContainerConfig config = ContainerConfig(device, {"sh", "-c", script});
    config.add_cdi_devices()->set_name("vendor.com/thing=" + device);
    return config;
  }

  absl::StatusOr<TestPod> RunPodWith(const std::string& handler,
                                     const cri::PodSandboxConfig& config) {
    TestPod pod{config, ""};
    auto id = cri().RunPod(config, handler);
    if (!id.ok()) return id.status();
    pod.id = *id;
    return pod;
  }

  cri::ContainerStatus StatusOf(const std::string& id) {
    auto status = cri().ContainerStatus(id);
    EXPECT_OK(status);
    return status.ok() ? *status : cri::ContainerStatus();
  }

  std::string Bundle(const TestPod& pod, const std::string& container) const {
    return absl::StrCat(daemon_.state(), "/pods/", pod.id, "/oci/", container);
  }
  nlohmann::json BundleConfig(const TestPod& pod, const std::string& container) const {
    const auto text = ReadFile(Bundle(pod, container) + "/config.json");
    EXPECT_OK(text);
    return nlohmann::json::parse(text.value_or(""), nullptr, false);
  }
  std::string container_;  // the last one
  size_t Bundles(const TestPod& pod) const {
    return ListDirectory(absl::StrCat(daemon_.state(), "/pods/", pod.id, "/oci"))
        .value_or(std::vector<std::string>())
        .size();
  }
  static bool Exists(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0;
  }
  static std::string Running(const std::string& command) {
    return Shell("ps -eo args | grep '^" + command + "' || true");
  }
  static bool Gone(const std::string& command) {
    for (int i = 0; i < 500; ++i) {
      if (Running(command).empty()) return true;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }
};

// ---- what all runtimes have to do ----

class RuntimeTest : public HandlerTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    HandlerTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPodWith(GetParam(), PodConfig("pod")));
  }
  void WaitForOutput(const std::string& name, const std::string& text) {
    const std::string log = absl::StrCat(pod_.config.log_directory(), "/", name, "_0.log");
    for (const absl::Time end = absl::Now() + absl::Seconds(30); absl::Now() < end;) {
      if (absl::StrContains(ReadFile(log).value_or(""), text)) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << name << " never wrote " << text;
  }
  TestPod pod_;
};

// What runtimes do each in their own way is tried with all, the rest with one.
class EveryRuntimeTest : public RuntimeTest {};
class OneRuntimeTest : public RuntimeTest {};
std::string NameOf(const ::testing::TestParamInfo<const char*>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(Every, EveryRuntimeTest, ::testing::Values("runc", "crun"), NameOf);
INSTANTIATE_TEST_SUITE_P(One, OneRuntimeTest, ::testing::Values("runc"), NameOf);

TEST_P(EveryRuntimeTest, AContainerRunsToItsEnd) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      Create(pod_, ContainerConfig("c", {"sh", "-c", "echo out; echo err >&2; exit 7"})));
  // It is the runtime that has made it.
  EXPECT_TRUE(Exists(absl::StrCat(Bundle(pod_, id), "/state/", id)));
  EXPECT_EQ(StatusOf(id).state(), cri::CONTAINER_CREATED);
  ASSERT_OK(cri().StartContainer(id));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 7);
  EXPECT_EQ(status.reason(), "Error");
  const auto lines = ReadLog(pod_.config.log_directory() + "/c_0.log");
  EXPECT_EQ(LogText(lines, "stdout"), "out\n");
  EXPECT_EQ(LogText(lines, "stderr"), "err\n");
  ASSERT_OK_AND_ASSIGN(const auto pod, cri().PodStatus(pod_.id));
  EXPECT_EQ(pod.status().runtime_handler(), GetParam());
  ASSERT_OK(cri().RemoveContainer(id));
  EXPECT_FALSE(Exists(Bundle(pod_, id)));
}

TEST_P(EveryRuntimeTest, ExecsHaveTheirOutputAndExitCode) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  ASSERT_OK_AND_ASSIGN(auto answer,
                       cri().ExecSync(id, {"sh", "-c", "echo out; echo err >&2; exit 9"}, 30));
  EXPECT_EQ(answer.stdout(), "out\n");
  EXPECT_EQ(answer.stderr(), "err\n");
  EXPECT_EQ(answer.exit_code(), 9);
  ASSERT_OK_AND_ASSIGN(answer, cri().ExecSync(id, {"sh", "-c", "kill -15 $$"}, 30));
  EXPECT_EQ(answer.exit_code(), 143);
  const pid_t pid = PidOf(id);
  for (const char* ns : {"mnt", "pid", "ipc", "uts", "net", "cgroup"}) {
    EXPECT_EQ(Exec(id, absl::StrCat("readlink /proc/self/ns/", ns)),
              Shell(absl::StrCat("readlink /proc/", pid, "/ns/", ns)))
        << ns;
  }
  const std::string facts = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' ";
  EXPECT_EQ(Exec(id, facts + "/proc/self/status"), Exec(id, facts + "/proc/1/status"));
  EXPECT_EQ(Shell("ls " + Bundle(pod_, id) + " | grep exec || true"), "");
}

TEST_P(EveryRuntimeTest, AMissingCommandOfAnExecIsNamed) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const auto answer = cri().ExecSync(id, {"/no/such"}, 30);
  EXPECT_FALSE(answer.ok());
  EXPECT_THAT(answer.status().message(), HasSubstr("exec: exit code 255: "));
  EXPECT_THAT(answer.status().message(), HasSubstr("/no/such"));
  EXPECT_EQ(Shell("ls " + Bundle(pod_, id) + " | grep exec || true"), "");
}

TEST_P(EveryRuntimeTest, AnExecPastItsTimeOutIsKilledWithItsTree) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const auto answer =
      cri().ExecSync(id, {"sh", "-c", "sleep 5571 & (sleep 5572 &); sh -c 'sleep 5573; true'"}, 2);
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, answer);
  EXPECT_THAT(answer.status().message(), Not(HasSubstr("client deadline")));
  EXPECT_TRUE(Gone("sleep 557")) << Running("sleep 557");
  EXPECT_EQ(Exec(id, "echo alive"), "alive\n");
}

TEST_P(EveryRuntimeTest, AnExecWithATerminal) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  cri::ExecRequest request;
  request.set_container_id(id);
  for (const char* word :
       {"sh", "-c", "tty; while read -r l; do [ $l = end ] && exit 3; stty size; done"})
    request.add_cmd(word);
  request.set_stdin(true);
  request.set_stdout(true);
  request.set_tty(true);
  ASSERT_OK_AND_ASSIGN(const auto url, cri().Call(&CriClient::Runtime::Exec, request));
  ASSERT_OK_AND_ASSIGN(CommandClient c, OpenCommand(url.url(), true, true, false, true, {}));
  EXPECT_TRUE(c.spdy->ReadText(c.out, "/dev/pts/"));
  c.spdy->Send(c.resize, "{\"Width\":91,\"Height\":37}");
  for (int i = 0; i < 200 && !absl::StrContains(c.spdy->stream(c.out).bytes, "37 91"); ++i) {
    c.spdy->Send(c.in, "size\r");
    c.spdy->ReadUntil([&] { return absl::StrContains(c.spdy->stream(c.out).bytes, "37 91"); },
                      absl::Milliseconds(200));
  }
  EXPECT_THAT(c.spdy->stream(c.out).bytes, HasSubstr("37 91\r\n"));
  c.spdy->Send(c.in, "end\r");
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr(R"("message":"3")"));
}

TEST_P(OneRuntimeTest, AContainerWithATerminal) {
  cri::ContainerConfig config = ContainerConfig("tty", {"sh", "-c", "tty; stty size; exit 4"});
  config.set_tty(true);
  config.set_stdin(true);
  int code = -1;
  EXPECT_THAT(RunToEnd(pod_, config, &code), HasSubstr("/dev/"));
  EXPECT_EQ(code, 4);
}

TEST_P(OneRuntimeTest, StoppedBySignalAndByForce) {
  ASSERT_OK_AND_ASSIGN(
      const std::string polite,
      CreateAndStart(pod_, ContainerConfig("polite", {"sh", "-c",
                                                      "trap 'echo bye; exit 5' TERM; echo on; "
                                                      "while :; do sleep 0.1; done"})));
  WaitForOutput("polite", " on");
  ASSERT_OK(cri().StopContainer(polite, 30));
  EXPECT_EQ(StatusOf(polite).exit_code(), 5);
  EXPECT_THAT(LogText(ReadLog(pod_.config.log_directory() + "/polite_0.log")), HasSubstr("bye"));
  ASSERT_OK_AND_ASSIGN(
      const std::string rude,
      CreateAndStart(pod_, ContainerConfig("rude", {"sh", "-c", "trap '' TERM; sleep 5581"})));
  ASSERT_OK(cri().StopContainer(rude, 1));
  EXPECT_EQ(StatusOf(rude).exit_code(), 137);
  EXPECT_TRUE(Gone("sleep 5581"));
}

TEST_P(OneRuntimeTest, ContainersNeverNoticeAKillOfTheDaemon) {
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod_, "running"));
  ASSERT_OK_AND_ASSIGN(
      const std::string ends,
      CreateAndStart(pod_, ContainerConfig("ends", {"sh", "-c", "echo on; sleep 1; exit 42"})));
  ASSERT_OK_AND_ASSIGN(const std::string gated,
                       Create(pod_, ContainerConfig("gated", {"sh", "-c", "exit 6"})));
  const auto before = StatusOf(running);
  const pid_t pid = PidOf(running);
  daemon_.Kill();
  absl::SleepFor(absl::Milliseconds(1500));
  ASSERT_OK(daemon_.Start());
  EXPECT_EQ(StatusOf(running).ShortDebugString(), before.ShortDebugString());
  EXPECT_EQ(PidOf(running), pid);
  EXPECT_EQ(Exec(running, "echo on"), "on\n");
  ASSERT_OK_AND_ASSIGN(auto status, cri().WaitForExit(ends));
  EXPECT_EQ(status.exit_code(), 42);
  ASSERT_OK(cri().StartContainer(gated));
  ASSERT_OK_AND_ASSIGN(status, cri().WaitForExit(gated));
  EXPECT_EQ(status.exit_code(), 6);
  ASSERT_OK(cri().StopContainer(running, 0));
  EXPECT_EQ(StatusOf(running).exit_code(), 137);
}

TEST_P(OneRuntimeTest, AGatedProcessThatDiedIsMadeAgain) {
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       Create(pod_, ContainerConfig("c", {"sh", "-c", "exit 8"})));
  const pid_t pid = PidOf(id);
  ASSERT_GT(pid, 1);
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  for (int i = 0; i < 500 && kill(pid, 0) == 0; ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(StatusOf(id).state(), cri::CONTAINER_CREATED);
  absl::Status started = cri().StartContainer(id);
  // The news of its end may come while the start is at work.
  if (absl::IsUnavailable(started)) started = cri().StartContainer(id);
  ASSERT_OK(started);
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 8);
}

TEST_P(EveryRuntimeTest, LimitsAreAppliedAndUpdated) {
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "100000"});
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(64 << 20);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  const bool v2 = ReadFile("/sys/fs/cgroup/cgroup.controllers").ok();
  const std::string file = v2 ? "/sys/fs/cgroup" + CgroupOf(id) + "/memory.max"
                              : "/sys/fs/cgroup/memory" + CgroupOf(id) + "/memory.limit_in_bytes";
  const auto limit = [&] {
    return std::string(absl::StripAsciiWhitespace(ReadFile(file).value_or("")));
  };
  EXPECT_EQ(limit(), "67108864");
  // Its processes are in there, those of an exec among them.
  EXPECT_THAT(Exec(id, "true; cat /proc/self/cgroup"), HasSubstr(v2 ? "0::/" : "memory:"));
  EXPECT_THAT(ReadFile(absl::StrCat("/proc/", PidOf(id), "/cgroup")).value_or(""),
              HasSubstr(CgroupOf(id)));
  cri::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  request.mutable_linux()->set_memory_limit_in_bytes(96 << 20);
  ASSERT_OK(cri().Call(&CriClient::Runtime::UpdateContainerResources, request));
  EXPECT_EQ(limit(), "100663296");
  cri::ContainerStatsRequest stats;
  stats.set_container_id(id);
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().Call(&CriClient::Runtime::ContainerStats, stats));
  EXPECT_GT(answer.stats().memory().working_set_bytes().value(), 0u);
}

TEST_P(EveryRuntimeTest, AFailingCreateSaysWhatTheRuntimeSaid) {
  const auto made = Create(pod_, ContainerConfig("c", {"/no/such/program"}));
  EXPECT_FALSE(made.ok());
  EXPECT_THAT(made.status().message(), HasSubstr("create: exit code 1: "));
  EXPECT_THAT(made.status().message(), HasSubstr("/no/such/program"));
  EXPECT_EQ(Bundles(pod_), 0u);
  // Nothing of it stands in the way.
  int code = -1;
  EXPECT_EQ(RunToEnd(pod_, ContainerConfig("c", {"echo", "hello"}), &code), "hello\n");
}

TEST_P(OneRuntimeTest, TheUserComesFromTheImage) {
  ASSERT_OK(cri().PullImage(registry_.Image("user:1")));
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "100000"});
  config.mutable_image()->set_image(registry_.Image("user:1"));
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  const auto user = StatusOf(id).user().linux();
  EXPECT_NE(user.uid(), 0);
  EXPECT_EQ(Exec(id, "id -u; id -g"), absl::StrCat(user.uid(), "\n", user.gid(), "\n"));
  EXPECT_EQ(Exec(id, "grep ^Uid: /proc/1/status"),
            absl::StrCat("Uid:\t", user.uid(), "\t", user.uid(), "\t", user.uid(), "\t", user.uid(),
                         "\n"));
  // Output of another user than root.
  EXPECT_EQ(Exec(id, "echo through > /dev/stdout"), "through\n");
}

TEST_P(OneRuntimeTest, ThePodsSharedMemoryAndImageVolumesAreThere) {
  ASSERT_OK_AND_ASSIGN(const std::string writer, Sleeper(pod_, "writer"));
  Exec(writer, "echo shared > /dev/shm/x");
  EXPECT_EQ(RunToEnd(pod_, ContainerConfig("reader", {"cat", "/dev/shm/x"})), "shared\n");

  ASSERT_OK(cri().PullImage(registry_.Image("layers:1")));
  cri::ContainerConfig config =
      ContainerConfig("image", {"sh", "-c",
                                "ls /img/bin/busybox; touch /img/x 2>/dev/null || echo sealed; "
                                "ls /sub/busybox"});
  cri::Mount* mount = config.add_mounts();
  mount->set_container_path("/img");
  mount->mutable_image()->set_image(image());
  mount->set_readonly(true);
  mount = config.add_mounts();
  mount->set_container_path("/sub");
  mount->mutable_image()->set_image(image());
  mount->set_image_sub_path("bin");
  mount->set_readonly(true);
  EXPECT_EQ(RunToEnd(pod_, config), "/img/bin/busybox\nsealed\n/sub/busybox\n");
}

TEST_P(OneRuntimeTest, VolumesAreWritableInAReadOnlyRoot) {
  ASSERT_OK(cri().PullImage(registry_.Image("volumes:1")));
  cri::ContainerConfig config = ContainerConfig(
      "readonly",
      {"sh", "-c",
       "touch /x 2>/dev/null || echo sealed; touch /data/deep/volume/x && echo written"});
  config.mutable_image()->set_image(registry_.Image("volumes:1"));
  config.mutable_linux()->mutable_security_context()->set_readonly_rootfs(true);
  EXPECT_EQ(RunToEnd(pod_, config), "sealed\nwritten\n");
}

TEST_P(OneRuntimeTest, AHostDirectoryIsMounted) {
  const std::string host = daemon_.directory() + "/volume";
  ASSERT_OK(MakeDirectories(host, 0755));
  ASSERT_OK(WriteFileAtomically(host + "/file", "content\n", 0644));
  cri::ContainerConfig config =
      ContainerConfig("c", {"sh", "-c", "cat /v/file; touch /v/new 2>/dev/null || echo read-only"});
  cri::Mount* mount = config.add_mounts();
  mount->set_container_path("/v");
  mount->set_host_path(host);
  mount->set_readonly(true);
  EXPECT_EQ(RunToEnd(pod_, config), "content\nread-only\n");
}

TEST_P(EveryRuntimeTest, HooksOfDevicesAreRunAtTheirPoints) {
  const std::string directory = daemon_.directory();
  nlohmann::json hooks = nlohmann::json::array({Hook("startContainer", "echo started > /started")});
  for (const char* name : {"createRuntime", "createContainer", "poststart", "poststop"}) {
    hooks.push_back(Hook(name, absl::StrCat("cat > ", directory, "/", name)));
  }
  WriteHooks("hooked", hooks);
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, WithDevice("hooked", "cat /started")));
  for (const char* name : {"createRuntime", "createContainer"}) {
    const auto state =
        nlohmann::json::parse(ReadFile(directory + "/" + name).value_or(""), nullptr, false);
    ASSERT_TRUE(state.is_object()) << name;
    EXPECT_EQ(state.value("id", ""), id) << name;
    EXPECT_EQ(state.value("bundle", ""), Bundle(pod_, id)) << name;
  }
  ASSERT_OK(cri().StartContainer(id));
  EXPECT_TRUE(Exists(directory + "/poststart"));
  ASSERT_OK(cri().WaitForExit(id));
  EXPECT_EQ(LogText(ReadLog(pod_.config.log_directory() + "/hooked_0.log")), "started\n");
  EXPECT_FALSE(Exists(directory + "/poststop"));
  ASSERT_OK(cri().RemoveContainer(id));
  EXPECT_TRUE(Exists(directory + "/poststop"));
}

TEST_P(OneRuntimeTest, AHookThatFailsFailsTheCreate) {
  WriteHooks("broken",
             nlohmann::json::array({Hook("createRuntime", "echo no such device >&2; exit 3")}));
  const auto made = Create(pod_, WithDevice("broken", "true"));
  EXPECT_FALSE(made.ok());
  EXPECT_THAT(made.status().message(), HasSubstr("hook"));
  EXPECT_EQ(Bundles(pod_), 0u);
}

// ---- what is the handlers' own ----

TEST_F(HandlerTest, OnlyExternalRuntimesRunHooks) {
  WriteHooks("hooked", nlohmann::json::array({Hook("createRuntime", "true")}));
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPodWith("berth", PodConfig("pod")));
  const auto made = Create(pod, WithDevice("hooked", "true"));
  EXPECT_CODE(absl::StatusCode::kUnimplemented, made);
  EXPECT_THAT(made.status().message(), HasSubstr("hooks"));
}

TEST_F(HandlerTest, ACrashAtAnyStepOfACreationLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPodWith("runc", PodConfig("pod")));
  size_t made = 0;
  for (const char* step : {"bundle", "keeper", "made", "commit"}) {
    Restart(absl::StrCat("containers.create.", step, "=error"));
    const cri::ContainerConfig config = ContainerConfig(step, {"echo", "hello"});
    EXPECT_FALSE(Create(pod, config).ok()) << step;
    EXPECT_EQ(Bundles(pod), made) << step;
    Restart(absl::StrCat("containers.create.", step, "=crash"));
    EXPECT_FALSE(Create(pod, config).ok()) << step;
    ASSERT_OK(daemon_.WaitForEnd());
    ASSERT_OK(daemon_.Start());
    EXPECT_EQ(Bundles(pod), made) << step;
    EXPECT_EQ(RunToEnd(pod, config), "hello\n") << step;
    ++made;
  }
}

TEST_F(HandlerTest, AContainerGoesOnWithoutItsHandlersConfiguration) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPodWith("runc", PodConfig("pod")));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  daemon_.Kill();
  TestDaemon without({});
  ASSERT_OK(without.Start());
  ASSERT_OK_AND_ASSIGN(const auto answer, without.cri().ExecSync(id, {"echo", "on"}, 30));
  EXPECT_EQ(answer.stdout(), "on\n");
  EXPECT_CODE(absl::StatusCode::kInvalidArgument,
              without.cri().CreateContainer(pod.id, ContainerConfig("c", {"true"}), pod.config));
  ASSERT_OK(without.RemoveAllPods());
  ASSERT_OK(without.Terminate());
  ASSERT_OK(daemon_.Start());
}

TEST_F(HandlerTest, AnUnknownHandlerIsRefusedWithThoseThereAre) {
  const auto pod = RunPodWith("kata", PodConfig("pod"));
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, pod);
  EXPECT_THAT(pod.status().message(), HasSubstr("`kata` is not configured"));
  EXPECT_THAT(pod.status().message(), HasSubstr("berth, crun, gone, runc"));
}

TEST_F(HandlerTest, StatusAnnouncesEachWithWhatItCanDo) {
  for (const bool verbose : {false, true}) {
    cri::StatusRequest request;
    request.set_verbose(verbose);
    ASSERT_OK_AND_ASSIGN(const auto status, cri().Call(&CriClient::Runtime::Status, request));
    std::map<std::string, cri::RuntimeHandlerFeatures> features;
    for (const auto& handler : status.runtime_handlers())
      features[handler.name()] = handler.features();
    ASSERT_EQ(features.size(), 5u);
    EXPECT_EQ(features[""].ShortDebugString(), features["berth"].ShortDebugString());
    EXPECT_TRUE(features["berth"].recursive_read_only_mounts());
    EXPECT_TRUE(features["runc"].recursive_read_only_mounts());
    EXPECT_FALSE(features["runc"].user_namespaces());
    EXPECT_FALSE(features["gone"].recursive_read_only_mounts());
  }
}

TEST_F(HandlerTest, OnlyAllowedAnnotationsArePassedOn) {
  const auto annotated = [&](const std::string& handler, TestPod* pod) {
    cri::PodSandboxConfig pod_config = PodConfig(handler);
    (*pod_config.mutable_annotations())["io.example.pod"] = "1";
    (*pod_config.mutable_annotations())["io.other"] = "no";
    (*pod_config.mutable_annotations())["io.berth"] = "2";
    cri::ContainerConfig config = ContainerConfig("c", {"true"});
    (*config.mutable_annotations())["io.example.container"] = "3";
    ASSERT_OK_AND_ASSIGN(*pod, RunPodWith(handler, pod_config));
    ASSERT_OK_AND_ASSIGN(const std::string id, Create(*pod, config));
    container_ = id;
  };
  TestPod pod;
  annotated("runc", &pod);
  nlohmann::json passed = BundleConfig(pod, container_)["annotations"];
  EXPECT_EQ(passed.value("io.example.pod", ""), "1");
  EXPECT_EQ(passed.value("io.example.container", ""), "3");
  EXPECT_FALSE(passed.contains("io.other"));
  EXPECT_FALSE(passed.contains("io.berth"));
  EXPECT_EQ(passed.value("io.kubernetes.cri.container-type", ""), "container");

  annotated("berth", &pod);
  cri::ContainerStatusRequest request;
  request.set_container_id(container_);
  request.set_verbose(true);
  ASSERT_OK_AND_ASSIGN(const auto status,
                       cri().Call(&CriClient::Runtime::ContainerStatus, request));
  const auto info = nlohmann::json::parse(status.info().at("info"), nullptr, false);
  passed = info["runtimeSpec"]["annotations"];
  EXPECT_EQ(passed.value("io.berth", ""), "2");
  EXPECT_FALSE(passed.contains("io.example.pod"));
}

TEST_F(HandlerTest, WhatAnExternalRuntimeHasNotIsRefused) {
  cri::PodSandboxConfig userns = PodConfig("userns");
  cri::UserNamespace* options = userns.mutable_linux()
                                    ->mutable_security_context()
                                    ->mutable_namespace_options()
                                    ->mutable_userns_options();
  options->set_mode(cri::POD);
  for (cri::IDMapping* mapping : {options->add_uids(), options->add_gids()}) {
    mapping->set_host_id(200000);
    mapping->set_container_id(0);
    mapping->set_length(65536);
  }
  const auto refused = RunPodWith("runc", userns);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, refused);
  EXPECT_THAT(refused.status().message(), HasSubstr("`runc` has no user namespaces"));

  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPodWith("gone", PodConfig("gone")));
  const auto made = Create(pod, ContainerConfig("c", {"true"}));
  EXPECT_FALSE(made.ok());
  EXPECT_THAT(made.status().message(),
              HasSubstr("execute the runtime /no/such/runtime: No such file or directory"));
}

TEST_F(HandlerTest, APodWithANetworkOfItsOwn) {
  ASSERT_OK(daemon_.WriteCniConfig());
  cri::PodSandboxConfig config = Pod("netpod");
  config.set_log_directory(daemon_.pod_logs() + "/netpod");
  config.set_hostname("the-host");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPodWith("runc", config));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().PodStatus(pod.id));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Exec(id, "hostname"), "the-host\n");
  EXPECT_THAT(Exec(id, "ip -4 addr show eth0"), HasSubstr(status.status().network().ip()));
  EXPECT_THAT(Exec(id, "cat /etc/hostname"), HasSubstr("the-host"));
}

}  // namespace
}  // namespace berth::testing
