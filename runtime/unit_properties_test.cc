#include "runtime/unit_properties.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::VariantWith;

constexpr uint64_t kInfinity = ~uint64_t{0};

template <typename M>
auto Number(M matcher) {
  return VariantWith<uint64_t>(matcher);
}

TEST(UnitProperties, ADashIsALevelOfSlices) {
  EXPECT_EQ(*SlicePath("kubepods.slice"), "/kubepods.slice");
  EXPECT_EQ(*SlicePath("kubepods-burstable-pod1_2.slice"),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice");
  EXPECT_EQ(*SlicePath("-.slice"), "");
}

TEST(UnitProperties, WhatIsNoSliceIsRefused) {
  for (const char* name : {"/kubepods/pod1", "", ".slice", "a", "a/b.slice", "a--b.slice",
                           "-a.slice", "a-.slice", "a b.slice", "kubepods.slice/x"}) {
    EXPECT_EQ(SlicePath(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(UnitProperties, OnlyWhatIsSetIsThere) {
  EXPECT_TRUE(PropertiesOf({})->empty());
  CgroupResources r;
  r.memory_limit = 1 << 20;
  r.cpu_shares = 1024;
  r.pids_limit = 0;
  EXPECT_THAT(*PropertiesOf(r),
              ElementsAre(Pair("MemoryMax", Number(1u << 20)), Pair("CPUWeight", Number(39u)),
                          Pair("TasksMax", Number(kInfinity))));
}

TEST(UnitProperties, SwapIsCountedAlone) {
  CgroupResources r;
  r.memory_limit = 100;
  r.memory_swap = 150;
  EXPECT_THAT(*PropertiesOf(r),
              ElementsAre(Pair("MemoryMax", Number(100u)), Pair("MemorySwapMax", Number(50u))));
}

// A unit that throttles more than its container's cgroup would change what was asked for.
TEST(UnitProperties, AQuotaIsRoundedUpToAPercent) {
  CgroupResources r;
  r.cpu_quota = 50'500;
  r.cpu_period = 100'000;
  EXPECT_THAT(*PropertiesOf(r), ElementsAre(Pair("CPUQuotaPeriodUSec", Number(100'000u)),
                                            Pair("CPUQuotaPerSecUSec", Number(510'000u))));
  r.cpu_quota = -1;
  EXPECT_THAT(*PropertiesOf(r), ElementsAre(Pair("CPUQuotaPeriodUSec", Number(100'000u)),
                                            Pair("CPUQuotaPerSecUSec", Number(kInfinity))));
}

TEST(UnitProperties, CpuListsAreMasks) {
  EXPECT_THAT(*CpuListMask("0-2,8"), ElementsAre(0x07, 0x01));
  EXPECT_THAT(*CpuListMask(""), ElementsAre());
  for (const char* list : {"x", "3-1", "1-", "-1", "99999"}) {
    EXPECT_FALSE(CpuListMask(list).ok()) << list;
  }
  CgroupResources r;
  r.cpuset_cpus = "x";
  EXPECT_THAT(std::string(PropertiesOf(r).status().message()), HasSubstr("cpuset.cpus"));
}

TEST(UnitProperties, UnifiedLimitsThatHaveAPropertyAreTold) {
  CgroupResources r;
  r.unified = {{"memory.high", "4096"}, {"memory.min", "max"}, {"memory.oom.group", "1"}};
  EXPECT_THAT(*PropertiesOf(r),
              ElementsAre(Pair("MemoryMin", Number(kInfinity)), Pair("MemoryHigh", Number(4096u))));
}

TEST(UnitProperties, SharesBecomeWeights) {
  EXPECT_EQ(CpuWeightOfShares(2), 1u);
  EXPECT_EQ(CpuWeightOfShares(512), 20u);
  EXPECT_EQ(CpuWeightOfShares(262144), 10000u);
  EXPECT_EQ(CpuWeightOfShares(0), 1u);
  EXPECT_EQ(CpuWeightOfShares(1u << 30), 10000u);
}

}  // namespace
}  // namespace berth
