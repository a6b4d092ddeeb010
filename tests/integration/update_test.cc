// UpdateContainerResources and UpdatePodSandboxResources: in force at once, recorded, shown.
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class UpdateTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }

  static bool Unified() { return ReadFile("/sys/fs/cgroup/cgroup.controllers").ok(); }

  // A file of the container's cgroup: `v1` as `controller/file`, `v2` as `file`.
  static std::string Path(const std::string& id, const std::string& v1, const std::string& v2) {
    const std::string cgroup = TestCgroup() + "/pods/" + id;
    const size_t slash = v1.find('/');
    return Unified() ? "/sys/fs/cgroup" + cgroup + "/" + v2
                     : "/sys/fs/cgroup/" + v1.substr(0, slash) + cgroup + v1.substr(slash);
  }
  static std::string Value(const std::string& id, const std::string& v1, const std::string& v2) {
    auto text = ReadFile(Path(id, v1, v2));
    EXPECT_OK(text);
    return std::string(absl::StripAsciiWhitespace(text.value_or("")));
  }
  static std::string Memory(const std::string& id) {
    return Value(id, "memory/memory.limit_in_bytes", "memory.max");
  }

  template <typename Change>
  absl::Status Update(const std::string& id, Change change) {
    cri::UpdateContainerResourcesRequest request;
    request.set_container_id(id);
    change(request.mutable_linux());
    return cri().Call(&CriClient::Runtime::UpdateContainerResources, request).status();
  }
  cri::LinuxContainerResources Shown(const std::string& id) {
    auto status = cri().ContainerStatus(id);
    EXPECT_OK(status);
    return status.ok() ? status->resources().linux() : cri::LinuxContainerResources();
  }
  // linux.resources of the specification in the verbose status.
  nlohmann::json InSpec(const std::string& id) {
    cri::ContainerStatusRequest request;
    request.set_container_id(id);
    request.set_verbose(true);
    auto answer = cri().Call(&CriClient::Runtime::ContainerStatus, request);
    EXPECT_OK(answer);
    if (!answer.ok()) return {};
    return nlohmann::json::parse(answer->info().at("info"))["runtimeSpec"]["linux"]["resources"];
  }

  absl::StatusOr<std::string> Limited(const std::string& name) {
    cri::ContainerConfig config = ContainerConfig(name, {"sleep", "1000"});
    SetLimits(&config);
    return Create(pod_, config);
  }

  TestPod pod_;
};

TEST_F(UpdateTest, EveryLimitOfARunningContainerChangesAtOnceAndForGood) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Limited("c"));
  ASSERT_OK(cri().StartContainer(id));
  ASSERT_OK(Update(id, [](auto* r) { r->set_memory_limit_in_bytes(64 << 20); }));
  ASSERT_OK(Update(id, [](auto* r) { r->set_cpu_quota(25000); }));  // the period stays
  ASSERT_OK(Update(id, [](auto* r) { r->set_cpu_shares(1024); }));
  ASSERT_OK(Update(id, [](auto* r) { r->set_cpuset_cpus("0"); }));
  const auto check = [&](const char* when) {
    SCOPED_TRACE(when);
    EXPECT_EQ(Memory(id), "67108864");
    if (Unified()) {
      EXPECT_EQ(Value(id, "", "cpu.max"), "25000 100000");
      EXPECT_EQ(Value(id, "", "cpu.weight"), "39");
    } else {
      EXPECT_EQ(Value(id, "cpu/cpu.cfs_quota_us", ""), "25000");
      EXPECT_EQ(Value(id, "cpu/cpu.cfs_period_us", ""), "100000");
      EXPECT_EQ(Value(id, "cpu/cpu.shares", ""), "1024");
    }
    EXPECT_EQ(Value(id, "cpuset/cpuset.cpus", "cpuset.cpus"), "0");
    const cri::LinuxContainerResources shown = Shown(id);
    EXPECT_EQ(shown.memory_limit_in_bytes(), 64 << 20);
    EXPECT_EQ(shown.cpu_quota(), 25000);
    EXPECT_EQ(shown.cpu_period(), 100000);
    EXPECT_EQ(shown.cpuset_cpus(), "0");
    nlohmann::json spec = InSpec(id);
    EXPECT_EQ(spec["memory"]["limit"], 64 << 20);
    EXPECT_EQ(spec["cpu"]["quota"], 25000);
    EXPECT_EQ(spec["cpu"]["cpus"], "0");
    EXPECT_TRUE(spec.contains("devices"));
  };
  check("at once");
  Restart();
  check("after a restart");
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition,
              Update(id, [](auto* r) { r->set_cpu_quota(10000); }));
}

TEST_F(UpdateTest, ACreatedContainerStartsWithItsNewLimits) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Limited("c"));
  ASSERT_OK(Update(id, [](auto* r) { r->set_memory_limit_in_bytes(96 << 20); }));
  EXPECT_EQ(Memory(id), "100663296");
  // Also when its process has to be made again.
  Shell(absl::StrCat("kill -9 ", PidOf(id)));
  // Until the daemon has heard of it, a start finds nobody at the gate.
  absl::Status started = absl::UnavailableError("not tried");
  for (int i = 0; i < 500 && absl::IsUnavailable(started); ++i) {
    started = cri().StartContainer(id);
    absl::SleepFor(absl::Milliseconds(10));
  }
  ASSERT_OK(started);
  EXPECT_EQ(Memory(id), "100663296");
}

TEST_F(UpdateTest, SwapAndMemoryAreJudgedTogether) {
  const bool counted = Unified() || Shell(
                                        "ls /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes "
                                        "2>/dev/null; true") != "";
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(64 << 20);
  config.mutable_linux()->mutable_resources()->set_memory_swap_limit_in_bytes(64 << 20);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  // As it is, the sum would be less than the memory.
  const absl::Status alone = Update(id, [](auto* r) { r->set_memory_limit_in_bytes(128 << 20); });
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, alone);
  EXPECT_TRUE(absl::StrContains(alone.message(), "linux.memory_swap_limit_in_bytes")) << alone;
  EXPECT_EQ(Memory(id), "67108864");
  for (const int64_t mib : {128, 32, 256}) {  // up, down, up: the order of the two writes differs
    ASSERT_OK(Update(id, [&](auto* r) {
      r->set_memory_limit_in_bytes(mib << 20);
      r->set_memory_swap_limit_in_bytes(mib << 20);
    }));
    EXPECT_EQ(Memory(id), absl::StrCat(mib << 20));
    if (!counted) continue;
    EXPECT_EQ(Value(id, "memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
              Unified() ? "0" : absl::StrCat(mib << 20));
  }
}

TEST_F(UpdateTest, HugepagesBySizeAndUnified) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  ASSERT_OK(Update(id, [](auto* r) {
    cri::HugepageLimit* limit = r->add_hugepage_limits();
    limit->set_page_size("2MB");
    limit->set_limit(4 << 20);
  }));
  const std::string file = "/sys/fs/cgroup/" + std::string(Unified() ? "" : "unified") +
                           TestCgroup() + "/pods/" + id + "/hugetlb.2MB.max";
  if (ReadFile(file).ok()) {
    EXPECT_EQ(Shell("cat " + file), "4194304\n");
  }
  EXPECT_EQ(Shown(id).hugepage_limits_size(), 1);

  const absl::Status unified =
      Update(id, [](auto* r) { (*r->mutable_unified())["memory.high"] = "50331648"; });
  if (Unified()) {
    EXPECT_OK(unified);
    EXPECT_EQ(Value(id, "", "memory.high"), "50331648");
    EXPECT_EQ(Shown(id).unified().at("memory.high"), "50331648");
  } else {
    EXPECT_CODE(absl::StatusCode::kFailedPrecondition, unified);
    EXPECT_EQ(Shown(id).unified_size(), 0);
  }
}

TEST_F(UpdateTest, ARefusedUpdateChangesNothing) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Limited("c"));
  ASSERT_OK(cri().StartContainer(id));
  const absl::Status refused = Update(id, [](auto* r) {
    r->set_memory_limit_in_bytes(64 << 20);  // is written before the kernel refuses the next
    r->set_cpuset_cpus("9999");
  });
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, refused);
  EXPECT_TRUE(absl::StrContains(refused.message(), "cpuset.cpus")) << refused;
  EXPECT_EQ(Memory(id), "134217728");
  EXPECT_EQ(Shown(id).memory_limit_in_bytes(), 128 << 20);
  EXPECT_EQ(Shown(id).cpuset_cpus(), "");
}

TEST_F(UpdateTest, TheOomScoreIsOfTheProcessThatWasStarted) {
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
  config.mutable_linux()->mutable_resources()->set_oom_score_adj(500);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  ASSERT_OK(Update(id, [](auto* r) {
    r->set_oom_score_adj(900);
    r->set_cpu_shares(100);
  }));
  EXPECT_EQ(Exec(id, "cat /proc/1/oom_score_adj"), "500\n");
  EXPECT_EQ(Shown(id).oom_score_adj(), 500);
}

TEST_F(UpdateTest, APodsResourcesAreRecordedAndShown) {
  cri::UpdatePodSandboxResourcesRequest request;
  request.set_pod_sandbox_id(pod_.id);
  request.mutable_resources()->set_cpu_quota(75000);
  request.mutable_overhead()->set_memory_limit_in_bytes(1 << 20);
  const auto update = [&] {
    return cri().Call(&CriClient::Runtime::UpdatePodSandboxResources, request).status();
  };
  ASSERT_OK(update());
  Restart();
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod_.id, /*verbose=*/true));
  auto info = nlohmann::json::parse(answer.info().at("info"));
  EXPECT_EQ(info["resources"]["cpu_quota"], 75000);
  EXPECT_EQ(info["overhead"]["memory_limit_in_bytes"], 1 << 20);
  // An equal request is still the same pod.
  ASSERT_OK_AND_ASSIGN(const std::string again, cri().RunPod(pod_.config));
  EXPECT_EQ(again, pod_.id);

  request.mutable_resources()->set_cpu_period(-5);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, update());
  request.mutable_resources()->clear_cpu_period();
  ASSERT_OK(cri().StopPod(pod_.id));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, update());
  request.set_pod_sandbox_id(std::string(64, 'a'));
  EXPECT_CODE(absl::StatusCode::kNotFound, update());
}

}  // namespace
}  // namespace berth::testing
