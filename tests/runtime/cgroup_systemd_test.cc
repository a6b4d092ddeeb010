// The systemd cgroup driver against this machine's systemd, without a daemon: ./dev vm --systemd.
#include "runtime/cgroup_systemd.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

constexpr char kInstance[] = "00000000000000aa";
constexpr char kName[] = "0123456789abcdef";
constexpr char kUnit[] = "berth-0123456789abcdef.scope";

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

std::string Shell(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "re");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, n);
  pclose(pipe);
  return std::string(absl::StripAsciiWhitespace(output));
}

// One call for all: a call takes a second under emulation.
std::string Properties() {
  return absl::StrCat(
      Shell(absl::StrCat("systemctl show -p MemoryMax,MemoryHigh,CPUWeight,CPUQuotaPerSecUSec,"
                         "AllowedCPUs,TasksMax,Slice,Delegate,ActiveState ",
                         kUnit)),
      "\n");
}

std::string Scopes() {
  return Shell("systemctl list-units --all --plain --no-legend 'berth-*.scope'");
}

class CgroupSystemdTest : public testing::Test {
 protected:
  void SetUp() override {
    auto host = SystemdCgroupHost::Make(CgroupHost::Detect().value(),
                                        "runtime/keeper/bin/berth-keeper", InstanceId(kInstance));
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = std::move(*host);
    path_ = host_->PathFor("berthunit-pod1.slice", kName).value();
  }
  void TearDown() override {
    ASSERT_EQ(ArmFailpoints(""), absl::OkStatus());
    if (host_ == nullptr) return;
    EXPECT_EQ(host_->Kill(path_, Soon()), absl::OkStatus());
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    EXPECT_EQ(host_->Remove(path_), absl::OkStatus());
    EXPECT_FALSE(host_->Exists(path_));
    EXPECT_EQ(Scopes(), "");
    EXPECT_EQ(host_->Remove(host_->ParentPath("berthunit-pod1.slice").value()), absl::OkStatus());
  }
  // The cgroup with a process of its own in it, and no placeholder any more.
  void Occupy() {
    auto hold = host_->CreateHeld(path_);
    ASSERT_TRUE(hold.ok()) << hold.status();
    pid_ = fork();
    if (pid_ == 0) {
      for (const std::string& procs : host_->ProcsPaths(path_)) {
        if (!WriteKernelFile(procs, "0").ok()) _exit(1);
      }
      for (;;) pause();
    }
    for (int i = 0; i < 1000 && host_->Processes(path_)->size() < 2; ++i) usleep(10000);
    hold->reset();
    EXPECT_EQ(*host_->Processes(path_), std::vector<pid_t>{pid_});
  }
  std::string Value(const std::string& file) {
    return std::string(absl::StripAsciiWhitespace(
        ReadFile(absl::StrCat("/sys/fs/cgroup", path_, "/container/", file)).value_or("missing")));
  }
  static CgroupResources Limits() {
    CgroupResources r;
    r.memory_limit = 128 << 20;
    r.cpu_shares = 512;
    r.cpu_quota = 50000;
    r.cpu_period = 100000;
    r.cpuset_cpus = "0";
    r.pids_limit = 77;
    r.hugepages = {{"2MB", 4 << 20}};
    r.devices = DefaultDeviceRules();
    r.unified = {{"memory.oom.group", "1"}, {"memory.high", "104857600"}};
    return r;
  }
  void ExpectLimits(const std::string& when, const std::string& memory = "134217728") {
    SCOPED_TRACE(when);
    EXPECT_EQ(Value("memory.max"), memory);
    EXPECT_EQ(Value("memory.oom.group"), "1");
    EXPECT_EQ(Value("memory.high"), "104857600");
    EXPECT_EQ(Value("cpu.max"), "50000 100000");
    EXPECT_EQ(Value("cpu.weight"), "20");
    EXPECT_EQ(Value("cpuset.cpus"), "0");
    EXPECT_EQ(Value("pids.max"), "77");
    EXPECT_EQ(Value("hugetlb.2MB.max"), "4194304");
    const std::string unit = Properties();
    for (const std::string& property :
         {absl::StrCat("MemoryMax=", memory), std::string("MemoryHigh=104857600"),
          std::string("CPUWeight=20"), std::string("CPUQuotaPerSecUSec=500ms"),
          std::string("AllowedCPUs=0"), std::string("TasksMax=77"),
          std::string("Slice=berthunit-pod1.slice"), std::string("Delegate=yes"),
          std::string("ActiveState=active")}) {
      EXPECT_TRUE(absl::StrContains(unit, property + "\n")) << property << " in\n" << unit;
    }
  }

  std::unique_ptr<SystemdCgroupHost> host_;
  std::string path_;
  pid_t pid_ = 0;
};

TEST_F(CgroupSystemdTest, LimitsStandInBothAndSurviveAReload) {
  EXPECT_EQ(path_, absl::StrCat("/berthunit.slice/berthunit-pod1.slice/", kUnit));
  ASSERT_NO_FATAL_FAILURE(Occupy());
  EXPECT_EQ(host_->UnifiedPath(path_), absl::StrCat("/sys/fs/cgroup", path_, "/container"));
  ASSERT_EQ(host_->Apply(path_, Limits()), absl::OkStatus());
  Shell("systemctl daemon-reload");
  ExpectLimits("after a reload");
  CgroupResources more;
  more.memory_limit = 256 << 20;
  ASSERT_EQ(host_->Apply(path_, more), absl::OkStatus());
  ExpectLimits("after an update", "268435456");
  EXPECT_EQ(host_->Oom(path_)->memory_limit, 268435456);
}

TEST_F(CgroupSystemdTest, WithoutAProcessOfItsOwnTheScopeEndsWithTheHold) {
  {
    ASSERT_TRUE(host_->CreateHeld(path_).ok());
  }
  for (int i = 0; i < 1000 && host_->Exists(path_); ++i) usleep(10000);
  EXPECT_FALSE(host_->Exists(path_));
  // The same name again, at once: systemd may not have forgotten the first.
  ASSERT_TRUE(host_->CreateHeld(path_).ok());
  ASSERT_NO_FATAL_FAILURE(Occupy());
  // What runs is not taken over.
  EXPECT_EQ(host_->CreateHeld(path_).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(CgroupSystemdTest, BadLimitsAreNamedAndFailuresTold) {
  ASSERT_NO_FATAL_FAILURE(Occupy());
  CgroupResources bad;
  bad.cpuset_cpus = "4000";
  EXPECT_EQ(host_->Apply(path_, bad).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(ArmFailpoints("systemd.set=error"), absl::OkStatus());
  EXPECT_FALSE(host_->Apply(path_, Limits()).ok());
  ASSERT_EQ(ArmFailpoints("systemd.start=error"), absl::OkStatus());
  const std::string other = host_->PathFor("berthunit-pod1.slice", "ff").value();
  EXPECT_FALSE(host_->CreateHeld(other).ok());
  EXPECT_FALSE(host_->Exists(other));
}

TEST_F(CgroupSystemdTest, OnlyOwnScopesAreLeftovers) {
  ASSERT_NO_FATAL_FAILURE(Occupy());
  const auto mine = host_->Leftovers();
  ASSERT_TRUE(mine.ok()) << mine.status();
  ASSERT_EQ(mine->size(), 1u);
  EXPECT_EQ(mine->front().name, kName);
  EXPECT_EQ(mine->front().path, path_);
  const auto stranger = SystemdCgroupHost::Make(CgroupHost::Detect().value(), "unused",
                                                InstanceId("00000000000000bb"));
  EXPECT_TRUE((*stranger)->Leftovers()->empty());
}

TEST_F(CgroupSystemdTest, ParentsAreSlices) {
  for (const char* parent : {"/kubepods", "kubepods", "", "a/b.slice"}) {
    EXPECT_EQ(host_->PathFor(parent, "ab").status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(host_->PathFor("a.slice", "not-hex").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(host_->DefaultParent(), "berth-00000000000000aa.slice");
}

}  // namespace
}  // namespace berth
