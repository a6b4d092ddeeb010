// Cgroups on this machine's own hierarchies. Everything is made below /berth-cgroup-test-PID and gone
// afterwards.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_device_filter.h"
#include "runtime/plan.h"

namespace berth {
namespace {

class CgroupRootTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(geteuid(), 0u) << "this test needs root";
    host_ = CgroupHost::Detect().value();
    top_ = absl::StrCat("/berth-cgroup-test-", getpid());
    path_ = *host_->PathFor(top_, "c1");
    ASSERT_EQ(host_->Create(path_), absl::OkStatus());
  }
  void TearDown() override {
    if (host_ == nullptr) return;
    EXPECT_EQ(host_->Kill(top_, absl::Now() + absl::Seconds(5)), absl::OkStatus());
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    EXPECT_EQ(host_->Remove(top_), absl::OkStatus());
    EXPECT_FALSE(host_->Exists(top_));
  }
  // A child in `path` that waits, after it has forked `forks` more.
  pid_t Spawn(const std::string& path, int forks = 0) {
    int ready[2];
    EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      for (const std::string& procs : host_->ProcsPaths(path)) {
        if (!WriteKernelFile(procs, "0").ok()) _exit(1);
      }
      for (int i = 0; i < forks && fork() != 0; ++i) {
      }
      if (write(ready[1], "x", 1) != 1) _exit(1);
      for (;;) pause();
    }
    close(ready[1]);
    char c;
    for (int i = 0; i <= forks; ++i) EXPECT_EQ(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
  }

  std::unique_ptr<CgroupHost> host_;
  std::string top_, path_;
};

TEST_F(CgroupRootTest, LimitsArrive) {
  CgroupResources r;
  r.cpu_shares = 512;
  r.cpu_quota = 50000;
  r.cpu_period = 100000;
  r.memory_limit = 64 << 20;
  r.pids_limit = 33;
  r.devices = DefaultDeviceRules();
  ASSERT_EQ(host_->Apply(path_, r), absl::OkStatus());
  EXPECT_EQ(host_->Oom(path_)->memory_limit, 64 << 20);
  // Growing, shrinking and lifting again.
  for (const int64_t limit : {int64_t{128} << 20, int64_t{16} << 20, int64_t{-1}}) {
    CgroupResources change;
    change.memory_limit = limit;
    ASSERT_EQ(host_->Apply(path_, change), absl::OkStatus()) << limit;
    EXPECT_EQ(host_->Oom(path_)->memory_limit, limit);
  }
  CgroupResources bad;
  bad.cpuset_cpus = "4000";
  EXPECT_EQ(host_->Apply(path_, bad).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CgroupRootTest, KillEndsATreeWithSubCgroups) {
  const std::string sub = *host_->PathFor(path_, "sub");
  Spawn(path_, 5);  // first: on v2 a cgroup that hands controllers down takes no processes
  ASSERT_EQ(host_->Create(sub), absl::OkStatus());
  Spawn(sub, 3);
  EXPECT_EQ(host_->Processes(path_)->size(), 10u);
  const absl::Time start = absl::Now();
  ASSERT_EQ(host_->Kill(path_, absl::Now() + absl::Seconds(5)), absl::OkStatus());
  std::cout << "kill of 10: " << absl::Now() - start << "\n";
  EXPECT_TRUE(host_->Processes(path_)->empty());
  EXPECT_EQ(host_->Remove(path_), absl::OkStatus());
  EXPECT_EQ(host_->Remove(path_), absl::OkStatus());
  EXPECT_EQ(host_->Kill(path_, absl::Now()), absl::OkStatus());
}

TEST_F(CgroupRootTest, KillReachesFrozenProcesses) {
  Spawn(path_, 1);
  ASSERT_EQ(host_->Freeze(path_, absl::Now() + absl::Seconds(2)), absl::OkStatus());
  ASSERT_EQ(host_->Kill(path_, absl::Now() + absl::Seconds(5)), absl::OkStatus());
}

TEST_F(CgroupRootTest, FreezeAndThaw) {
  const pid_t pid = Spawn(path_);
  ASSERT_EQ(host_->Freeze(path_, absl::Now() + absl::Seconds(2)), absl::OkStatus());
  ASSERT_EQ(kill(pid, SIGTERM), 0);
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), 0);
  ASSERT_EQ(host_->Thaw(path_), absl::OkStatus());
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST_F(CgroupRootTest, OomKillsAreCounted) {
  CgroupResources r;
  r.memory_limit = 8 << 20;
  ASSERT_EQ(host_->Apply(path_, r), absl::OkStatus());
  const pid_t pid = fork();
  if (pid == 0) {
    for (const std::string& procs : host_->ProcsPaths(path_))
      WriteKernelFile(procs, "0").IgnoreError();
    for (int i = 0; i < 64; ++i) {
      char* memory = new char[1 << 20];
      for (int j = 0; j < 1 << 20; j += 4096) const_cast<volatile char*>(memory)[j] = 1;
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(host_->Oom(path_)->oom_kills, 1u);
}

// Whether a process in the cgroup directory may make and open a device.
bool MayOpen(const std::string& procs, const std::string& node, int major, int minor) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (!WriteKernelFile(procs, "0").ok()) _exit(2);
    if (mknod(node.c_str(), S_IFCHR | 0600, makedev(major, minor)) != 0) _exit(3);
    const int fd = open(node.c_str(), O_RDONLY | O_NONBLOCK);
    _exit(fd < 0 && errno == EPERM ? 1 : 0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  unlink(node.c_str());
  EXPECT_LT(WEXITSTATUS(status), 2);
  return WEXITSTATUS(status) == 0;
}

// The cgroup.procs through which a process comes under the device filter.
std::string FilteredProcs(const CgroupHost& host, const std::string& path) {
  for (const CgroupDirectory& d : host.Directories(path)) {
    if (d.name == "devices") return d.path + "/cgroup.procs";
  }
  return host.UnifiedPath(path) + "/cgroup.procs";
}

TEST_F(CgroupRootTest, TheDeviceFilterDecides) {
  CgroupResources r;
  r.devices = DefaultDeviceRules();
  ASSERT_EQ(host_->Apply(path_, r), absl::OkStatus());
  const std::string procs = FilteredProcs(*host_, path_);
  const std::string node = absl::StrCat("/tmp/berth-device-test-", getpid());
  EXPECT_TRUE(MayOpen(procs, node, 1, 3));
  EXPECT_FALSE(MayOpen(procs, node, 1, 11));  // /dev/kmsg
  // A new filter takes the old one's place, the same one again, too.
  for (int i = 0; i < 2; ++i) {
    r.devices = std::vector<DeviceRule>{{true, 'a'}};
    ASSERT_EQ(host_->Apply(path_, r), absl::OkStatus());
    EXPECT_TRUE(MayOpen(procs, node, 1, 11));
  }
  r.devices = std::vector<DeviceRule>{{true, 'a'}, {false, 'c', 1, 11, "r"}};
  ASSERT_EQ(host_->Apply(path_, r), absl::OkStatus());
  EXPECT_FALSE(MayOpen(procs, node, 1, 11));
}

// In a hybrid hierarchy, too: the eBPF filter needs no controller.
TEST_F(CgroupRootTest, AnEbpfFilterIsReplacedWithoutAMomentBetween) {
  const std::string directory = host_->UnifiedPath(path_);
  ASSERT_NE(directory, "") << "no cgroup v2 tree is mounted";
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::vector<DeviceRule> wide = DefaultDeviceRules();
  wide.push_back({true, 'c', 10, 229, ""});
  ASSERT_EQ(SetDeviceFilter(fd.get(), wide), absl::OkStatus());
  int started[2], stop[2];
  ASSERT_EQ(pipe2(started, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(stop, O_CLOEXEC | O_NONBLOCK), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    close(stop[1]);
    const std::string node = absl::StrCat("/tmp/berth-device-test-", getpid());
    if (mknod(node.c_str(), S_IFCHR | 0600, makedev(1, 11)) != 0) _exit(3);
    if (!WriteKernelFile(directory + "/cgroup.procs", "0").ok()) _exit(4);
    if (write(started[1], "x", 1) != 1) _exit(5);
    int result = 0;
    char c;
    while (result == 0 && read(stop[0], &c, 1) != 0) {
      if (open(node.c_str(), O_RDONLY | O_NONBLOCK) >= 0) result = 1;
      const int null = open("/dev/null", O_RDONLY);
      if (null < 0) result = 2;
      close(null);
    }
    unlink(node.c_str());
    _exit(result);
  }
  close(started[1]);
  char c;
  EXPECT_EQ(read(started[0], &c, 1), 1);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(SetDeviceFilter(fd.get(), i % 2 ? wide : DefaultDeviceRules()), absl::OkStatus());
  }
  close(stop[1]);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  close(started[0]);
  close(stop[0]);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: a denied device opened, 2: an allowed one did not";
  EXPECT_TRUE(WIFEXITED(status));
}

TEST_F(CgroupRootTest, WithoutTheKillFileTheFreezerHelps) {
  ASSERT_EQ(ArmFailpoints("cgroup.kill_file=error"), absl::OkStatus());
  Spawn(path_, 3);
  EXPECT_EQ(host_->Kill(path_, absl::Now() + absl::Seconds(5)), absl::OkStatus());
  EXPECT_TRUE(host_->Processes(path_)->empty());
  ASSERT_EQ(ArmFailpoints(""), absl::OkStatus());
}

TEST_F(CgroupRootTest, CreateApplyRemoveIsFast) {
  CgroupResources r;
  r.cpu_shares = 512;
  r.memory_limit = 64 << 20;
  r.devices = DefaultDeviceRules();
  std::vector<double> make, apply, remove;
  for (int i = 0; i < 200; ++i) {
    const std::string path = absl::StrCat(top_, "/speed");
    const absl::Time a = absl::Now();
    ASSERT_TRUE(host_->Create(path).ok());
    const absl::Time b = absl::Now();
    ASSERT_TRUE(host_->Apply(path, r).ok());
    const absl::Time c = absl::Now();
    ASSERT_TRUE(host_->Remove(path).ok());
    make.push_back(absl::ToDoubleMicroseconds(b - a));
    apply.push_back(absl::ToDoubleMicroseconds(c - b));
    remove.push_back(absl::ToDoubleMicroseconds(absl::Now() - c));
  }
  for (auto* v : {&make, &apply, &remove}) std::sort(v->begin(), v->end());
  std::cout << "p50 µs: create " << make[100] << ", apply " << apply[100] << ", remove "
            << remove[100] << "\n";
}

}  // namespace
}  // namespace berth
