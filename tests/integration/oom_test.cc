// OOM kills are reported with the limit that was reached and the victim; limits that nothing fits in say so.
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

constexpr char kEater[] = "tail -c 200000000 /dev/zero";

class OomTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  cri::ContainerConfig Limited(const std::string& name, const std::string& script, int64_t limit) {
    cri::ContainerConfig config = ContainerConfig(name, {"sh", "-c", script});
    if (limit > 0) config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(limit);
    return config;
  }
  cri::ContainerStatus Exit(const cri::ContainerConfig& config) {
    const auto id = CreateAndStart(pod_, config);
    EXPECT_OK(id);
    const auto status =
        id.ok() ? cri().WaitForExit(*id, absl::Seconds(60)) : absl::NotFoundError("");
    EXPECT_OK(status);
    return status.value_or(cri::ContainerStatus());
  }
  // Who was killed, as far as it can be known: from the kernel's log, whose pids are the initial namespace's.
  static void ExpectVictim(const cri::ContainerStatus& status, const std::string& whose) {
    if (!std::ifstream("/dev/kmsg").good()) return;
    EXPECT_TRUE(absl::StartsWith(status.message(), "killed tail")) << status.message();
    if (Shell("readlink /proc/self/ns/pid") != "pid:[4026531836]\n") return;
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat(", ", whose, ")")))
        << status.message();
  }

  TestPod pod_;
};

TEST_F(OomTest, TheContainersLimitAndTheMainProcess) {
  const cri::ContainerStatus status = Exit(Limited("own", absl::StrCat("exec ", kEater), 24 << 20));
  EXPECT_EQ(status.reason(), "OOMKilled");
  EXPECT_EQ(status.exit_code(), 137);
  EXPECT_TRUE(absl::StrContains(
      status.message(), "the container's memory limit of 24 MiB (25165824 bytes) was reached"))
      << status.message();
  ExpectVictim(status, "the main process");
}

TEST_F(OomTest, AChildIsTheVictim) {
  const cri::ContainerStatus status =
      Exit(Limited("child", absl::StrCat(kEater, "; exit 9"), 24 << 20));
  EXPECT_EQ(status.reason(), "OOMKilled");
  EXPECT_EQ(status.exit_code(), 9);
  ExpectVictim(status, "not the main process");
  // Without harm to the container it is a remark, no reason.
  const cri::ContainerStatus good =
      Exit(Limited("survivor", absl::StrCat(kEater, "; exit 0"), 24 << 20));
  EXPECT_EQ(good.reason(), "Completed");
  EXPECT_TRUE(absl::StrContains(good.message(), "memory limit")) << good.message();
}

TEST_F(OomTest, ALimitAboveTheContainer) {
  const bool v2 = ReadFile("/sys/fs/cgroup/cgroup.controllers").ok();
  const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
  // As kubelet makes a pod's cgroup, before the pod. Its parent hands the controller down on v2.
  const std::string pods = TestCgroup() + "/pods";
  ASSERT_OK(Sleeper(pod_));  // the cgroup exists
  for (const auto& [cgroup, whose] :
       {std::make_pair(pods, "the pod's"), std::make_pair(TestCgroup(), "an ancestor's")}) {
    const std::string path = root + cgroup + (v2 ? "/memory.max" : "/memory.limit_in_bytes");
    const auto write_limit = [&](const char* value) {
      std::ofstream file(path);
      file << value << std::flush;
      return file.good();
    };
    ASSERT_TRUE(write_limit("33554432"));
    const cri::ContainerStatus status =
        Exit(Limited(absl::StrCat("unlimited", cgroup.size()), absl::StrCat("exec ", kEater), 0));
    EXPECT_TRUE(write_limit(v2 ? "max" : "-1"));
    EXPECT_EQ(status.reason(), "OOMKilled");
    EXPECT_TRUE(absl::StrContains(
        status.message(),
        absl::StrCat(whose, " (cgroup ", cgroup, ") memory limit of 32 MiB (33554432 bytes)")))
        << status.message();
  }
}

// Works, or says what is too small.
TEST_F(OomTest, SmallLimits) {
  for (const int64_t limit : {64 << 10, 512 << 10, 1 << 20, 4 << 20}) {
    cri::ContainerConfig config = ContainerConfig(absl::StrCat("small-", limit), {"true"});
    config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(limit);
    const auto id = Create(pod_, config);
    const absl::Status started = id.ok() ? cri().StartContainer(*id) : id.status();
    if (!started.ok()) {
      EXPECT_CODE(absl::StatusCode::kInvalidArgument, started);
      EXPECT_TRUE(absl::StrContains(started.message(), absl::StrCat(limit, " bytes"))) << started;
      EXPECT_LT(limit, 4 << 20) << started;
      continue;
    }
    ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().WaitForExit(*id));
    if (status.exit_code() == 0) continue;
    EXPECT_EQ(status.reason(), "OOMKilled");
    EXPECT_TRUE(absl::StrContains(status.message(), "the container's memory limit"))
        << status.message();
  }
}

}  // namespace
}  // namespace berth::testing
