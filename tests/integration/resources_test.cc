// Resources: what is asked for stands in the cgroup's files.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class ResourcesTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }

  static bool Unified() { return ReadFile("/sys/fs/cgroup/cgroup.controllers").ok(); }

  // A file of the container's cgroup: `v1` as `controller/file`, `v2` as `file`.
  std::string Value(const std::string& id, const std::string& v1, const std::string& v2) {
    const std::string cgroup = CgroupOf(id);
    const size_t slash = v1.find('/');
    const std::string path =
        Unified() ? "/sys/fs/cgroup" + cgroup + "/" + v2
                  : "/sys/fs/cgroup/" + v1.substr(0, slash) + cgroup + v1.substr(slash);
    auto text = ReadFile(path);
    EXPECT_OK(text);
    return std::string(absl::StripAsciiWhitespace(text.value_or("")));
  }

  TestPod pod_;
};

TEST_F(ResourcesTest, CpuAndMemoryLimits) {
  cri::ContainerConfig config = ContainerConfig("limited", {"sleep", "1000"});
  SetLimits(&config);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(Value(id, "memory/memory.limit_in_bytes", "memory.max"), "134217728");
  if (Unified()) {
    EXPECT_EQ(Value(id, "", "cpu.max"), "50000 100000");
    EXPECT_EQ(Value(id, "", "cpu.weight"), "20");
  } else {
    EXPECT_EQ(Value(id, "cpu/cpu.cfs_quota_us", ""), "50000");
    EXPECT_EQ(Value(id, "cpu/cpu.cfs_period_us", ""), "100000");
    EXPECT_EQ(Value(id, "cpu/cpu.shares", ""), "512");
  }
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
  EXPECT_EQ(status.resources().linux().memory_limit_in_bytes(), 134217728);
  EXPECT_EQ(status.resources().linux().cpu_quota(), 50000);
}

TEST_F(ResourcesTest, CpusetAndOomScore) {
  cri::ContainerConfig config = ContainerConfig("pinned", {"sleep", "1000"});
  config.mutable_linux()->mutable_resources()->set_cpuset_cpus("0");
  config.mutable_linux()->mutable_resources()->set_oom_score_adj(500);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(Value(id, "cpuset/cpuset.cpus", "cpuset.cpus"), "0");
  EXPECT_EQ(Exec(id, "cat /proc/1/oom_score_adj"), "500\n");
}

TEST_F(ResourcesTest, ALowerOomScoreThanAllowedIsClampedNotRefused) {
  cri::ContainerConfig config = ContainerConfig("low", {"sleep", "1000"});
  config.mutable_linux()->mutable_resources()->set_oom_score_adj(-999);
  EXPECT_OK(CreateAndStart(pod_, config));
}

TEST_F(ResourcesTest, EveryProcessIsInTheCgroupOfItsContainer) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const std::string found = Shell(absl::StrCat("cat /proc/", PidOf(id), "/cgroup"));
  EXPECT_TRUE(absl::StrContains(found, CgroupOf(id))) << found;
  EXPECT_TRUE(absl::StrContains(CgroupOf(id), "pods")) << CgroupOf(id);
  EXPECT_TRUE(absl::StrContains(CgroupOf(id), id)) << CgroupOf(id);
  for (const pid_t keeper : Keepers()) {
    const std::string of_keeper = Shell(absl::StrCat("cat /proc/", keeper, "/cgroup"));
    EXPECT_FALSE(absl::StrContains(of_keeper, "pods")) << of_keeper;
  }
}

TEST_F(ResourcesTest, ExceedingTheMemoryLimitIsOomKilled) {
  cri::ContainerConfig config = ContainerConfig("oom", {"tail", "-c", "200000000", "/dev/zero"});
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(24 << 20);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.reason(), "OOMKilled");
  EXPECT_EQ(status.exit_code(), 137);
}

TEST_F(ResourcesTest, UpdateChangesARunningContainer) {
  cri::ContainerConfig config = ContainerConfig("resized", {"sleep", "1000"});
  SetLimits(&config);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  cri::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  request.mutable_linux()->set_memory_limit_in_bytes(64 << 20);
  const auto answer = cri().Call(&CriClient::Runtime::UpdateContainerResources, request);
  if (absl::IsUnimplemented(answer.status())) {
    EXPECT_TRUE(absl::StrContains(answer.status().message(), "UpdateContainerResources"));
    return;
  }
  ASSERT_OK(answer);
  EXPECT_EQ(Value(id, "memory/memory.limit_in_bytes", "memory.max"), "67108864");
}

TEST_F(ResourcesTest, AMemoryLimitThatNothingFitsInIsNamed) {
  cri::ContainerConfig config = ContainerConfig("tiny", {"sleep", "1000"});
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(4096);
  const auto id = Create(pod_, config);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, id);
  EXPECT_TRUE(absl::StrContains(id.status().message(), "memory_limit_in_bytes")) << id.status();
}

TEST_F(ResourcesTest, UpdatedHugepageLimitsReplaceTheOldOnes) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  cri::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  cri::HugepageLimit* limit = request.mutable_linux()->add_hugepage_limits();
  limit->set_page_size("2MB");
  for (const uint64_t pages : {1, 2, 3}) {
    limit->set_limit(pages << 21);
    ASSERT_OK(cri().Call(&CriClient::Runtime::UpdateContainerResources, request));
  }
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(id));
  ASSERT_EQ(status.resources().linux().hugepage_limits_size(), 1);
  EXPECT_EQ(status.resources().linux().hugepage_limits(0).limit(), 3u << 21);
}

TEST_F(ResourcesTest, ABadValueIsNamedAndLeavesNothing) {
  cri::ContainerConfig config = ContainerConfig("bad", {"sleep", "1000"});
  config.mutable_linux()->mutable_resources()->set_cpuset_cpus("9999");
  const auto id = Create(pod_, config);
  EXPECT_FALSE(id.ok());
  EXPECT_TRUE(absl::StrContains(id.status().message(), "cpuset")) << id.status();
  ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
  EXPECT_TRUE(containers.empty());
}

}  // namespace
}  // namespace berth::testing
