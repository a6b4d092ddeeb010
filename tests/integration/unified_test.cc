// What only cgroup v2 has: ./dev vm.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class UnifiedTest : public DaemonTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ReadFile("/sys/fs/cgroup/cgroup.controllers").ok()) << "these tests want cgroup v2";
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  std::string Value(const std::string& id, const std::string& file) {
    const std::string cgroup = absl::StrCat("/sys/fs/cgroup", CgroupOf(id));
    const std::string below = SystemdDriver() ? "/container/" : "/";
    auto text = ReadFile(cgroup + below + file);
    EXPECT_OK(text);
    return std::string(absl::StripAsciiWhitespace(text.value_or("")));
  }
  TestPod pod_;
};

TEST_F(UnifiedTest, EveryLimitStandsInItsFile) {
  cri::ContainerConfig config = ContainerConfig("limited", {"sleep", "1000"});
  auto* r = config.mutable_linux()->mutable_resources();
  r->set_memory_limit_in_bytes(64 << 20);
  r->set_memory_swap_limit_in_bytes(80 << 20);
  r->set_cpu_shares(2);
  r->set_cpu_quota(25000);
  r->set_cpu_period(50000);
  r->set_cpuset_cpus("0");
  r->set_cpuset_mems("0");
  cri::HugepageLimit* huge = r->add_hugepage_limits();
  huge->set_page_size("2MB");
  huge->set_limit(4 << 20);
  (*r->mutable_unified())["memory.min"] = "1048576";
  (*r->mutable_unified())["memory.high"] = "50331648";
  (*r->mutable_unified())["memory.oom.group"] = "1";
  (*r->mutable_unified())["cpu.max.burst"] = "10000";
  (*r->mutable_unified())["io.weight"] = "default 50";
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(Value(id, "memory.max"), "67108864");
  EXPECT_EQ(Value(id, "memory.swap.max"), "16777216");
  EXPECT_EQ(Value(id, "memory.min"), "1048576");
  EXPECT_EQ(Value(id, "memory.high"), "50331648");
  EXPECT_EQ(Value(id, "memory.oom.group"), "1");
  EXPECT_EQ(Value(id, "cpu.weight"), "1");
  EXPECT_EQ(Value(id, "cpu.max"), "25000 50000");
  EXPECT_EQ(Value(id, "cpu.max.burst"), "10000");
  EXPECT_EQ(Value(id, "cpuset.cpus"), "0");
  EXPECT_EQ(Value(id, "cpuset.mems"), "0");
  EXPECT_EQ(Value(id, "hugetlb.2MB.max"), "4194304");
  EXPECT_EQ(Value(id, "hugetlb.2MB.rsvd.max"), "4194304");
  // PSI can be read, for those who look at the container's pressure.
  EXPECT_TRUE(absl::StartsWith(Value(id, "memory.pressure"), "some avg10="));
}

TEST_F(UnifiedTest, UnknownUnifiedFilesAreNamed) {
  for (const char* file : {"memory.no_such", "cgroup.procs", "../memory.max"}) {
    cri::ContainerConfig config = ContainerConfig("bad", {"sleep", "1000"});
    (*config.mutable_linux()->mutable_resources()->mutable_unified())[file] = "1";
    const auto id = Create(pod_, config);
    ASSERT_FALSE(id.ok());
    EXPECT_TRUE(absl::StrContains(id.status().message(), file)) << id.status();
  }
}

// kubelet asks for it by `unified` unless singleProcessOOMKill is set: the whole container ends.
TEST_F(UnifiedTest, AnOomGroupEndsTogether) {
  const char* const script =
      "sleep 1000 & (tail -c 200000000 /dev/zero | tail -c 150000000 >/dev/null); echo went on; "
      "wait";
  for (const bool group : {true, false}) {
    SCOPED_TRACE(group);
    cri::ContainerConfig config = ContainerConfig(
        group ? "group" : "single",
        {"sh", "-c", group ? script : "sleep 1 & exec tail -c 200000000 /dev/zero"});
    auto* r = config.mutable_linux()->mutable_resources();
    r->set_memory_limit_in_bytes(24 << 20);
    r->set_memory_swap_limit_in_bytes(24 << 20);
    if (group) (*r->mutable_unified())["memory.oom.group"] = "1";
    ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
    ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
    EXPECT_EQ(status.reason(), "OOMKilled");
    EXPECT_EQ(status.exit_code(), 137);
    const std::string log =
        absl::StrCat(pod_.config.log_directory(), "/", group ? "group" : "single", "_0.log");
    EXPECT_EQ(LogText(ReadLog(log)), "");
  }
}

TEST_F(UnifiedTest, DevicesThatAreNotGrantedStayShut) {
  const std::string try_it = "(true </dev/k) 2>/dev/null && echo opened || echo refused";
  cri::ContainerConfig granted = ContainerConfig("granted", {"sh", "-c", try_it});
  cri::Device* device = granted.add_devices();
  device->set_host_path("/dev/fuse");
  device->set_container_path("/dev/k");
  device->set_permissions("r");
  EXPECT_EQ(RunToEnd(pod_, granted), "opened\n");

  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  EXPECT_EQ(Exec(id, "mknod /dev/k c 10 229; " + try_it), "refused\n");
  // An update leaves the filter as it is.
  cri::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  request.mutable_linux()->set_memory_limit_in_bytes(64 << 20);
  ASSERT_OK(cri().Call(&CriClient::Runtime::UpdateContainerResources, request));
  EXPECT_EQ(Exec(id, try_it), "refused\n");
}

TEST_F(UnifiedTest, AnExecIsInACgroupOfItsOwnAndDiesWithIt) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  EXPECT_TRUE(absl::StartsWith(Exec(id, "cat /proc/self/cgroup"), "0::/exec-"));
  auto late = cri().ExecSync(id, {"sh", "-c", "setsid sleep 1000 & sleep 1000"}, 1);
  EXPECT_CODE(absl::StatusCode::kDeadlineExceeded, late);
  const std::string look = "ps -o args | grep -qx 'sleep 1000'";
  EXPECT_EQ(Exec(id, look + " && echo there || echo gone"), "gone\n");
  // And it would be seen.
  EXPECT_EQ(Exec(id, "sleep 1000 & until " + look + "; do true; done; kill $!; echo there"),
            "there\n");
}

}  // namespace
}  // namespace berth::testing
