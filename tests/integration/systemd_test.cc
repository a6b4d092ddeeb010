// The systemd cgroup driver, on a machine that systemd runs: ./dev vm --systemd.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

constexpr char kSlicePath[] = "/berthtest.slice/berthtest-pods.slice";

class SystemdTest : public DaemonTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(SystemdDriver()) << "these tests are for the machine of ./dev vm --systemd";
    DaemonTest::SetUp();
  }

  static std::string UnitOf(const std::string& id) { return absl::StrCat("berth-", id, ".scope"); }
  static std::string Property(const std::string& unit, const std::string& name) {
    return std::string(absl::StripAsciiWhitespace(
        Shell(absl::StrCat("systemctl show --value -p ", name, " ", unit))));
  }
  // A file of the cgroup that the container's processes are in.
  std::string Value(const std::string& id, const std::string& file) {
    auto text = ReadFile(absl::StrCat("/sys/fs/cgroup", CgroupOf(id), "/container/", file));
    EXPECT_OK(text);
    return std::string(absl::StripAsciiWhitespace(text.value_or("")));
  }
  static std::string Scopes() {
    return Shell("systemctl list-units --all --plain --no-legend 'berth-*.scope'");
  }
  cri::ContainerConfig Limited(const std::string& name) {
    cri::ContainerConfig config = ContainerConfig(name, {"sleep", "1000"});
    SetLimits(&config);
    auto* resources = config.mutable_linux()->mutable_resources();
    resources->set_cpuset_cpus("0");
    (*resources->mutable_unified())["memory.oom.group"] = "1";
    (*resources->mutable_unified())["memory.high"] = "104857600";
    (*resources->mutable_unified())["pids.max"] = "77";
    return config;
  }
  void ExpectLimits(const std::string& id, const std::string& when) {
    SCOPED_TRACE(when);
    EXPECT_EQ(Value(id, "memory.max"), "134217728");
    EXPECT_EQ(Value(id, "memory.oom.group"), "1");
    EXPECT_EQ(Value(id, "memory.high"), "104857600");
    EXPECT_EQ(Value(id, "cpu.max"), "50000 100000");
    EXPECT_EQ(Value(id, "cpu.weight"), "20");
    EXPECT_EQ(Value(id, "cpuset.cpus"), "0");
    EXPECT_EQ(Value(id, "pids.max"), "77");
  }
};

TEST_F(SystemdTest, AContainerIsAScopeBelowItsSlice) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, Limited("limited")));
  const std::string unit = UnitOf(id);
  EXPECT_EQ(CgroupOf(id), absl::StrCat(kSlicePath, "/", unit));
  EXPECT_EQ(Shell(absl::StrCat("cat /proc/", PidOf(id), "/cgroup")),
            absl::StrCat("0::", kSlicePath, "/", unit, "/container\n"));
  // The namespace was made in the final place.
  EXPECT_EQ(Exec(id, "cat /proc/1/cgroup"), "0::/\n");
  ExpectLimits(id, "after the start");
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"ActiveState", "active"},
                                                        {"Slice", "berthtest-pods.slice"},
                                                        {"Delegate", "yes"},
                                                        {"Transient", "yes"},
                                                        {"MemoryMax", "134217728"},
                                                        {"MemoryHigh", "104857600"},
                                                        {"CPUWeight", "20"},
                                                        {"CPUQuotaPerSecUSec", "500ms"},
                                                        {"AllowedCPUs", "0"},
                                                        {"TasksMax", "77"}}) {
    EXPECT_EQ(Property(unit, name), value) << name;
  }
  // Nothing of the driver's own stays in it.
  EXPECT_EQ(Shell(absl::StrCat("cat /sys/fs/cgroup", CgroupOf(id), "/cgroup.procs")), "");
  EXPECT_EQ(Value(id, "cgroup.procs"), absl::StrCat(PidOf(id)));

  cri::RuntimeConfigRequest request;
  ASSERT_OK_AND_ASSIGN(const auto config, cri().Call(&CriClient::Runtime::RuntimeConfig, request));
  EXPECT_EQ(config.linux().cgroup_driver(), cri::SYSTEMD);
}

TEST_F(SystemdTest, ADaemonReloadChangesNothing) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, Limited("limited")));
  const std::string try_device =
      "mknod /dev/k c 10 229; (true </dev/k) 2>/dev/null && echo opened || echo refused; rm /dev/k";
  EXPECT_EQ(Exec(id, try_device), "refused\n");
  Shell("systemctl daemon-reload");
  ExpectLimits(id, "after a reload");
  EXPECT_EQ(Exec(id, try_device), "refused\n");
  EXPECT_EQ(Property(UnitOf(id), "ActiveState"), "active");
  // The next container is made by the reloaded systemd.
  EXPECT_OK(Sleeper(pod));
}

TEST_F(SystemdTest, AnUpdateGoesToTheCgroupAndTheUnit) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, Limited("limited")));
  cri::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  request.mutable_linux()->set_memory_limit_in_bytes(64 << 20);
  request.mutable_linux()->set_cpu_shares(1024);
  ASSERT_OK(cri().Call(&CriClient::Runtime::UpdateContainerResources, request));
  for (const char* when : {"at once", "after a reload"}) {
    SCOPED_TRACE(when);
    EXPECT_EQ(Value(id, "memory.max"), "67108864");
    EXPECT_EQ(Value(id, "cpu.weight"), "39");
    EXPECT_EQ(Value(id, "memory.oom.group"), "1");
    EXPECT_EQ(Property(UnitOf(id), "MemoryMax"), "67108864");
    EXPECT_EQ(Property(UnitOf(id), "CPUWeight"), "39");
    Shell("systemctl daemon-reload");
  }
}

TEST_F(SystemdTest, NoUnitStaysBehind) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK(Create(pod, ContainerConfig("gated", {"true"})));
  ASSERT_OK(Sleeper(pod));
  cri::ContainerConfig greedy = ContainerConfig("greedy", {"tail", "-c", "200000000", "/dev/zero"});
  greedy.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(24 << 20);
  ASSERT_OK_AND_ASSIGN(const std::string killed, CreateAndStart(pod, greedy));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(killed));
  EXPECT_EQ(status.reason(), "OOMKilled");
  EXPECT_OK(cri().StopPod(pod.id));
  EXPECT_OK(cri().RemovePod(pod.id));
  EXPECT_EQ(Scopes(), "");
}

TEST_F(SystemdTest, ASharedPidNamespaceHasAScopeOfItsOwn) {
  cri::PodSandboxConfig config = PodConfig("shared");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  EXPECT_EQ(Property(UnitOf(pod.id), "ActiveState"), "active");
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Exec(id, "cat /proc/self/cgroup | grep -c '^0::/exec-'"), "1\n");
  EXPECT_OK(cri().StopPod(pod.id));
  EXPECT_OK(cri().RemovePod(pod.id));
  EXPECT_EQ(Scopes(), "");
}

TEST_F(SystemdTest, AParentThatIsNoSliceIsRefused) {
  for (const char* parent : {"/kubepods/pod1", "kubepods", "a--b.slice", "/kubepods.slice"}) {
    cri::PodSandboxConfig config = PodConfig("bad");
    config.mutable_linux()->set_cgroup_parent(parent);
    const auto pod = RunPod(config);
    EXPECT_CODE(absl::StatusCode::kInvalidArgument, pod);
    EXPECT_TRUE(absl::StrContains(pod.status().message(), "cgroup_parent")) << pod.status();
  }
}

TEST_F(SystemdTest, APodWithoutAParentGetsASliceThatGoesWithIt) {
  cri::PodSandboxConfig config = PodConfig("default");
  config.mutable_linux()->clear_cgroup_parent();
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  const std::string path = CgroupOf(id);
  EXPECT_TRUE(absl::StartsWith(path, "/berth.slice/berth-")) << path;
  EXPECT_OK(cri().StopPod(pod.id));
  EXPECT_OK(cri().RemovePod(pod.id));
  EXPECT_EQ(Shell("systemctl list-units --all --plain --no-legend 'berth-*.slice'"), "");
}

TEST_F(SystemdTest, ACrashWhileAContainerIsMadeLeavesNoScope) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  for (const char* place : {"containers.create.keeper", "containers.create.commit"}) {
    Restart(absl::StrCat(place, "=crash"));
    EXPECT_FALSE(Create(pod, ContainerConfig("lost", {"sleep", "1000"})).ok());
    ASSERT_OK(daemon_.WaitForEnd());
    ASSERT_OK(daemon_.Start());
    EXPECT_EQ(Scopes(), "") << place;
  }
}

TEST_F(SystemdTest, ScopesOfThisInstanceWithoutARecordAreSwept) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string kept, Sleeper(pod));
  const std::string description = Property(UnitOf(kept), "Description");
  const std::string run = "systemd-run --quiet --scope --slice=berthtest-pods.slice --unit=";
  Shell(
      absl::StrCat(run, "berth-ff --description='", description, "' sleep 1000 >/dev/null 2>&1 &"));
  Shell(absl::StrCat(run, "berth-ee --description='of another' sleep 1000 >/dev/null 2>&1 &"));
  Shell("until systemctl is-active -q berth-ff.scope berth-ee.scope; do sleep 0.1; done");
  Restart();
  const std::string scopes = Scopes();
  EXPECT_TRUE(absl::StrContains(scopes, UnitOf(kept))) << scopes;
  EXPECT_FALSE(absl::StrContains(scopes, "berth-ff.scope")) << scopes;
  EXPECT_TRUE(absl::StrContains(scopes, "berth-ee.scope")) << scopes;
  EXPECT_EQ(Exec(kept, "echo there"), "there\n");
  Shell("systemctl kill -s KILL berth-ee.scope; systemctl stop berth-ee.scope || true");
}

// systemd that fails is an error, and no container.
TEST_F(SystemdTest, AScopeThatCantBeStartedIsTold) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  for (const std::string place :
       {"systemd.connect", "systemd.start", "systemd.set", "cgroup.create"}) {
    // The daemon's start makes a cgroup, too.
    Restart(absl::StrCat(place, place == "cgroup.create" ? "=2*error" : "=error"));
    const auto id = Create(pod, ContainerConfig("failed", {"sleep", "1000"}));
    ASSERT_FALSE(id.ok()) << place;
    EXPECT_TRUE(absl::StrContains(id.status().message(), place)) << id.status();
    Restart();
    EXPECT_EQ(Scopes(), "") << place;
  }
}

}  // namespace
}  // namespace berth::testing
