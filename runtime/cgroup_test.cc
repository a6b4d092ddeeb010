// On trees of plain files and directories; the real hierarchies are tests/runtime/cgroup_root_test.cc's.
#include "runtime/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/cgroup_device_filter.h"
#include "runtime/plan.h"

namespace berth {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeTree : public testing::Test {
 protected:
  FakeTree() {
    char name[] = "/tmp/cgroup_test.XXXXXX";
    root_ = mkdtemp(name);
  }
  ~FakeTree() override { RemoveTree(root_).IgnoreError(); }

  void Put(const std::string& file, const std::string& content) {
    const std::string path = absl::StrCat(root_, "/", file);
    ASSERT_TRUE(MakeDirectories(path.substr(0, path.rfind('/')), 0755).ok());
    std::ofstream(path) << content;
  }
  std::string Get(const std::string& file) {
    return ReadFile(absl::StrCat(root_, "/", file)).value_or("(missing)");
  }
  void MountLegacy(const std::string& controllers) {
    ASSERT_TRUE(MakeDirectories(absl::StrCat(root_, "/", controllers), 0755).ok());
    absl::StrAppend(&mountinfo_, "31 23 0:28 / ", root_, "/", controllers,
                    " rw,relatime shared:9 - cgroup cgroup rw,", controllers, "\n");
  }
  void MountUnified(const std::string& name, const std::string& controllers) {
    Put(absl::StrCat(name, "/cgroup.controllers"), controllers);
    absl::StrAppend(&mountinfo_, "41 31 0:38 / ", root_, "/", name, " rw - cgroup2 cgroup2 rw\n");
  }
  std::unique_ptr<CgroupHost> Host() { return CgroupHost::DetectFrom(mountinfo_).value(); }

  std::string root_;
  std::string mountinfo_ = "22 1 8:1 / / rw - ext4 /dev/sda rw\n";
};

TEST_F(FakeTree, NoHierarchyIsAnError) {
  EXPECT_EQ(CgroupHost::DetectFrom(mountinfo_).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(FakeTree, ModesAreTold) {
  MountUnified("v2", "memory pids");
  EXPECT_EQ(Host()->mode(), CgroupMode::kUnified);
  MountLegacy("cpu,cpuacct");
  EXPECT_EQ(Host()->mode(), CgroupMode::kHybrid);
  EXPECT_TRUE(Host()->HasController("cpuacct"));
  EXPECT_FALSE(Host()->HasController("rw"));
}

TEST_F(FakeTree, DirectoriesCarryWhatTheKeeperNeeds) {
  MountLegacy("memory");
  MountLegacy("freezer");
  MountUnified("unified", "hugetlb");
  auto host = Host();
  ASSERT_TRUE(host->Create("/kube/pod/c1").ok());
  const std::vector<CgroupDirectory> d = host->Directories("/kube/pod/c1");
  ASSERT_EQ(d.size(), 3);
  EXPECT_EQ(d[0].path, root_ + "/memory/kube/pod/c1");
  EXPECT_EQ(d[0].name, "memory");
  EXPECT_EQ(d[0].plan_flags, kCgroupMemory);
  EXPECT_EQ(d[1].plan_flags, kCgroupFreezer);
  EXPECT_EQ(d[2].plan_flags, kCgroupV2 | kCgroupExecParent);
  EXPECT_EQ(host->UnifiedPath("/kube/pod/c1"), root_ + "/unified/kube/pod/c1");
  EXPECT_EQ(host->UnifiedPath("/nobody"), "");
}

TEST_F(FakeTree, PathsThatEscapeAreRefused) {
  MountLegacy("memory");
  auto host = Host();
  EXPECT_EQ(*host->PathFor("", "a"), "/a");
  EXPECT_EQ(*host->PathFor("/", "a"), "/a");
  EXPECT_EQ(*host->PathFor("/kubepods/", "a"), "/kubepods/a");
  for (const char* parent : {"kubepods", "/a/../b", "/a//b", "/./a"}) {
    EXPECT_FALSE(host->PathFor(parent, "x").ok()) << parent;
  }
  EXPECT_FALSE(host->PathFor("/a", "b/c").ok());
  EXPECT_FALSE(host->PathFor("/a", "..").ok());
  EXPECT_FALSE(host->Create("/").ok());
  EXPECT_FALSE(host->Remove("/").ok());
  EXPECT_FALSE(host->Kill("/", absl::InfiniteFuture()).ok());
}

TEST_F(FakeTree, NewCpusetsInherit) {
  MountLegacy("cpuset");
  Put("cpuset/cpuset.cpus", "0-1\n");
  Put("cpuset/cpuset.mems", "0\n");
  Put("cpuset/a/cpuset.cpus", "\n");
  Put("cpuset/a/cpuset.mems", "\n");
  ASSERT_TRUE(Host()->Create("/a").ok());
  EXPECT_EQ(Get("cpuset/a/cpuset.cpus").substr(0, 3), "0-1");
  EXPECT_EQ(Get("cpuset/a/cpuset.mems").substr(0, 1), "0");
}

TEST_F(FakeTree, ControllersAreHandedDown) {
  MountUnified("v2", "cpuset cpu memory");
  Put("v2/cgroup.subtree_control", "cpuset");
  Put("v2/a/cgroup.controllers", "cpuset");
  Put("v2/a/cgroup.subtree_control", "");
  Put("v2/a/c1/cgroup.controllers", "");
  ASSERT_TRUE(Host()->Create("/a/c1").ok());
  EXPECT_THAT(Get("v2/cgroup.subtree_control"), HasSubstr("memory"));  // the last that was written
  EXPECT_EQ(Get("v2/a/cgroup.subtree_control"), "+cpuset");
}

TEST_F(FakeTree, UnifiedConversions) {
  MountUnified("v2", "cpu memory pids hugetlb");
  for (const char* file : {"cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "memory.low",
                           "pids.max", "hugetlb.2MB.max", "io.weight"}) {
    Put(absl::StrCat("v2/c/", file), "");
  }
  CgroupResources r;
  r.cpu_shares = 1024;
  r.cpu_quota = 50000;
  r.cpu_period = 100000;
  r.memory_limit = 1 << 20;
  r.memory_swap = 3 << 20;
  r.memory_reservation = 4096;
  r.pids_limit = 0;
  r.hugepages = {{"2MB", 1 << 21}};
  r.unified = {{"io.weight", "50"}};
  ASSERT_EQ(Host()->Apply("/c", r), absl::OkStatus());
  EXPECT_EQ(Get("v2/c/cpu.weight"), "39");
  EXPECT_EQ(Get("v2/c/cpu.max"), "50000 100000");
  EXPECT_EQ(Get("v2/c/memory.max"), "1048576");
  EXPECT_EQ(Get("v2/c/memory.swap.max"), "2097152");
  EXPECT_EQ(Get("v2/c/memory.low"), "4096");
  EXPECT_EQ(Get("v2/c/pids.max"), "max");
  EXPECT_EQ(Get("v2/c/hugetlb.2MB.max"), "2097152");
  EXPECT_EQ(Get("v2/c/io.weight"), "50");
}

TEST_F(FakeTree, LegacyValues) {
  MountLegacy("cpu");
  MountLegacy("memory");
  MountLegacy("pids");
  for (const char* file : {"cpu/c/cpu.shares", "cpu/c/cpu.cfs_quota_us", "cpu/c/cpu.cfs_period_us",
                           "memory/c/memory.memsw.limit_in_bytes", "pids/c/pids.max"}) {
    Put(file, "");
  }
  Put("memory/c/memory.limit_in_bytes", "9223372036854771712");
  CgroupResources r;
  r.cpu_shares = 2;
  r.cpu_quota = -1;
  r.cpu_period = 100000;
  r.memory_limit = 1 << 20;
  r.memory_swap = 1 << 20;
  r.pids_limit = 100;
  ASSERT_EQ(Host()->Apply("/c", r), absl::OkStatus());
  EXPECT_EQ(Get("cpu/c/cpu.shares"), "2");
  EXPECT_EQ(Get("cpu/c/cpu.cfs_quota_us"), "-1");
  EXPECT_THAT(Get("memory/c/memory.limit_in_bytes"), HasSubstr("1048576"));
  EXPECT_EQ(Get("memory/c/memory.memsw.limit_in_bytes"), "1048576");
  EXPECT_EQ(Get("pids/c/pids.max"), "100");
}

TEST_F(FakeTree, WhatIsNotThereIsAskedForInVain) {
  MountLegacy("memory");
  auto host = Host();
  ASSERT_TRUE(host->Create("/c").ok());
  EXPECT_TRUE(host->Apply("/c", CgroupResources()).ok());
  CgroupResources r;
  r.pids_limit = 1;
  const absl::Status status = host->Apply("/c", r);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no pids cgroup controller"));
}

TEST_F(FakeTree, ContradictionsAreRefused) {
  MountUnified("v2", "memory");
  Put("v2/c/memory.max", "max");
  auto host = Host();
  CgroupResources r;
  r.memory_limit = 2000;
  r.memory_swap = 1000;
  EXPECT_EQ(host->Apply("/c", r).code(), absl::StatusCode::kInvalidArgument);
  r = {};
  r.memory_swap = 1000;
  EXPECT_EQ(host->Apply("/c", r).code(), absl::StatusCode::kInvalidArgument);
  for (const char* file : {"../memory.max", "cgroup.kill", "memory"}) {
    r = {};
    r.unified = {{file, "1"}};
    EXPECT_EQ(host->Apply("/c", r).code(), absl::StatusCode::kInvalidArgument) << file;
  }
}

TEST_F(FakeTree, OomCountsAndLimits) {
  MountUnified("v2", "memory");
  Put("v2/c/memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 1\n");
  Put("v2/c/memory.max", "max\n");
  const OomState state = Host()->Oom("/c").value();
  EXPECT_EQ(state.oom_kills, 3u);
  EXPECT_EQ(state.memory_limit, -1);
  EXPECT_TRUE(absl::IsNotFound(Host()->Oom("/gone").status()));
}

TEST_F(FakeTree, ProcessesOfSubCgroupsCount) {
  MountLegacy("freezer");
  Put("freezer/c/cgroup.procs", "12\n7\n");
  Put("freezer/c/x/cgroup.procs", "");
  Put("freezer/c/x/y/cgroup.procs", "99\n");
  EXPECT_THAT(Host()->Processes("/c").value(), ElementsAre(7, 12, 99));
  EXPECT_TRUE(absl::IsNotFound(Host()->Processes("/gone").status()));
}

TEST_F(FakeTree, ChildrenOfAllHierarchiesByPrefix) {
  MountLegacy("memory");
  MountLegacy("pids");
  Put("memory/k/berth-1/x", "");
  Put("pids/k/berth-1/x", "");
  Put("pids/k/berth-2/x", "");
  Put("pids/k/other/x", "");
  EXPECT_THAT(Host()->Children("/k", "berth-").value(), ElementsAre("berth-1", "berth-2"));
  EXPECT_THAT(Host()->Children("/none", "").value(), ElementsAre());
}

TEST(DeviceProgram, RulesThatCatchAllEndIt) {
  // Six instructions of preamble; deny all is two.
  EXPECT_EQ(DeviceProgram({{false, 'a'}}).size(), 8);
  EXPECT_EQ(DeviceProgram({{true, 'c', 1, 3, ""}, {false, 'a'}}).size(), 8);
  EXPECT_GT(DeviceProgram(DefaultDeviceRules()).size(), 40);
}

}  // namespace
}  // namespace berth
