#include "runtime/plan_builder.h"

#include <cstring>
#include <random>

#include "gtest/gtest.h"

namespace berth {
namespace {

PlanContents Sample() {
  PlanContents c;
  c.rootfs_kind = RootfsKind::kOverlay;
  c.lowers = {"/layers/b/fs", "/layers/a/fs"};
  c.upper = "/up";
  c.work = "/work";
  c.cgroups = {{"/sys/fs/cgroup/pids/x", kCgroupFreezer}};
  c.mounts.push_back({MountKind::kProc, "", "/proc"});
  c.mounts.push_back({MountKind::kBind, "/srv/data", "/data"});
  c.devices.push_back({"/dev/null", 0020666, 1, 3});
  c.symlinks.push_back({"/proc/self/fd", "/dev/fd"});
  c.masked_paths = {"/proc/kcore"};
  c.sysctls = {{"net/ipv4/ip_forward", "1"}};
  c.rlimits = {{7, 1024, 4096}};
  c.seccomp = {{6, 0, 0, 0x7fff0000}};
  c.groups = {10, 20};
  c.argv = {"/bin/true", ""};
  c.envp = {"PATH=/bin"};
  return c;
}

const Plan& AsPlan(const std::string& bytes) {
  return *reinterpret_cast<const Plan*>(bytes.data());
}

TEST(PlanBuilderTest, WhatWasPutInComesOut) {
  const std::string bytes = BuildPlan(Sample()).value();
  const Plan& plan = AsPlan(bytes);
  EXPECT_EQ(plan.size, bytes.size());
  EXPECT_STREQ(PlanString(plan, PlanTable(plan, plan.rootfs.lowers)[1]), "/layers/a/fs");
  EXPECT_STREQ(PlanString(plan, PlanTable(plan, plan.mounts)[1].source), "/srv/data");
  EXPECT_EQ(PlanTable(plan, plan.rlimits)[0].hard, 4096u);
  EXPECT_EQ(PlanTable(plan, plan.user.groups)[1], 20u);
  EXPECT_STREQ(PlanString(plan, PlanTable(plan, plan.argv)[1]), "");
  EXPECT_EQ(PlanString(plan, plan.hostname), nullptr);
}

TEST(PlanBuilderTest, FieldsThatAreWrongAreNamed) {
  auto refused = [](auto change) {
    PlanContents c = Sample();
    change(c);
    return std::string(BuildPlan(c).status().message());
  };
  EXPECT_EQ(refused([](auto& c) { c.argv.clear(); }), "plan: invalid argv");
  EXPECT_EQ(refused([](auto& c) { c.cwd = "relative"; }), "plan: invalid cwd");
  EXPECT_EQ(refused([](auto& c) { c.mounts[1].source = "data"; }), "plan: invalid mounts");
  EXPECT_EQ(refused([](auto& c) { c.sysctls[0].path = "net/../../self/mem"; }),
            "plan: invalid sysctls");
  EXPECT_EQ(refused([](auto& c) { c.work.clear(); }), "plan: invalid rootfs.work");
  EXPECT_EQ(refused([](auto& c) { c.envp = {std::string("A=\0B", 4)}; }),
            "plan: a string contains a NUL byte");
}

TEST(PlanTest, EveryTruncationIsRefused) {
  const std::string bytes = BuildPlan(Sample()).value();
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_NE(ValidatePlan(bytes.data(), n), nullptr) << n;
  }
}

std::string ErrorOf(const PlanContents& contents) {
  return std::string(BuildPlan(contents).status().message());
}

TEST(PlanTest, IdMapsThatAKernelWouldRefuseAreInvalid) {
  PlanContents c = Sample();
  c.uid_maps = {{0, 100000, 1000}};
  EXPECT_EQ(ErrorOf(c), "plan: invalid gid_maps");
  c.gid_maps = c.uid_maps;
  EXPECT_TRUE(BuildPlan(c).ok());
  for (const std::vector<PlanIdMap>& bad :
       std::vector<std::vector<PlanIdMap>>{{{0, 100000, 0}},
                                           {{1, 100000, 1}},                     // no root
                                           {{0, 100000, 10}, {9, 200000, 10}},   // overlap inside
                                           {{0, 100000, 10}, {10, 100009, 10}},  // ... and outside
                                           {{0, 0xffffffff, 1}},
                                           {{0, 0xfffffff0, 0x10}},
                                           std::vector<PlanIdMap>(200, PlanIdMap{0, 1, 1})}) {
    c.uid_maps = bad;
    EXPECT_EQ(ErrorOf(c), "plan: invalid uid_maps");
  }
}

TEST(PlanTest, AMountsIdMapMustBeThereAndIsForBinds) {
  PlanContents c = Sample();
  c.mounts[1].id_map = 1;
  EXPECT_EQ(ErrorOf(c), "plan: invalid mounts");
  c.id_maps = {{{{0, 1, 1}}, {{0, 1, 1}}}};
  EXPECT_TRUE(BuildPlan(c).ok());
  c.mounts[0].id_map = 1;  // proc
  EXPECT_EQ(ErrorOf(c), "plan: invalid mounts");
  c.mounts[0].id_map = 0;
  c.id_maps[0].gids.clear();
  EXPECT_EQ(ErrorOf(c), "plan: invalid id_maps");
}

TEST(PlanTest, LayersMountsAreBounded) {
  PlanContents c = Sample();
  PlanContents::Mount m;
  m.kind = MountKind::kLayers;
  m.target = "/image";
  m.lowers = {"/l/1"};
  c.mounts.push_back(m);
  EXPECT_EQ(ErrorOf(c), "plan: invalid mounts");  // overlayfs wants two
  c.mounts.back().lowers.push_back("/l/2");
  c.mounts.back().sub_path = "etc";
  EXPECT_TRUE(BuildPlan(c).ok());
  c.mounts.back().lowers = std::vector<std::string>(kMaxPlanLowers, "/l");
  EXPECT_TRUE(BuildPlan(c).ok());
  for (int i = 0; i < 2; ++i) c.mounts.push_back(c.mounts.back());
  EXPECT_EQ(ErrorOf(c), "plan: invalid mounts");  // more layers than fit
  c = Sample();
  c.mounts[1].sub_path = "etc";
  EXPECT_EQ(ErrorOf(c), "plan: invalid mounts");
}

TEST(PlanTest, DamagedBytesNeverReachOutsideTheBuffer) {  // ASan and UBSan judge this one
  const std::string good = BuildPlan(Sample()).value();
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int i = 0; i < 3; ++i) {
      const size_t at = 12 + random() % (bytes.size() - 12);
      bytes[at] = static_cast<char>(random());
    }
    if (ValidatePlan(bytes.data(), bytes.size()) != nullptr) continue;
    const Plan& plan = AsPlan(bytes);
    for (uint32_t i = 0; i < plan.argv.count; ++i) {
      const char* arg = PlanString(plan, PlanTable(plan, plan.argv)[i]);
      EXPECT_LE(arg + std::strlen(arg), bytes.data() + bytes.size());
    }
  }
}

}  // namespace
}  // namespace berth
