#include "runtime/cgroup_stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth {
namespace {

using cgroup_stats::ParseNumber;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

TEST(CgroupStatsTest, NumbersAndTheirAbsence) {
  EXPECT_THAT(ParseNumber("4096\n"), Optional(4096u));
  EXPECT_THAT(ParseNumber("0"), Optional(0u));
  for (const char* text :
       {"", "max\n", "-1\n", "9223372036854771712\n", "4096 bytes", "\n", "99999999999999999999"}) {
    EXPECT_EQ(ParseNumber(text), std::nullopt) << text;
  }
}

TEST(CgroupStatsTest, UnifiedCpu) {
  CpuUse cpu;
  cgroup_stats::ParseCpuStat(
      "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnice_usec 0\n"
      "core_sched.force_idle_usec 0\nnr_periods 10\nnr_throttled 3\nthrottled_usec 2500\n"
      "nr_bursts 0\nburst_usec 0\n",
      &cpu);
  EXPECT_THAT(cpu.usage_ns, Optional(1234567000u));
  EXPECT_THAT(cpu.user_ns, Optional(1000000000u));
  EXPECT_THAT(cpu.system_ns, Optional(234567000u));
  EXPECT_THAT(cpu.periods, Optional(10u));
  EXPECT_THAT(cpu.throttled_periods, Optional(3u));
  EXPECT_THAT(cpu.throttled_ns, Optional(2500000u));
}

TEST(CgroupStatsTest, UnifiedCpuWithoutTheController) {
  CpuUse cpu;
  cgroup_stats::ParseCpuStat("usage_usec 5\nuser_usec 3\nsystem_usec 2\n", &cpu);
  EXPECT_THAT(cpu.usage_ns, Optional(5000u));
  EXPECT_EQ(cpu.periods, std::nullopt);
  EXPECT_EQ(cpu.throttled_ns, std::nullopt);
}

TEST(CgroupStatsTest, LegacyCpu) {
  CpuUse cpu;
  cgroup_stats::ParseLegacyCpuStat("nr_periods 7\nnr_throttled 2\nthrottled_time 123456\n", &cpu);
  EXPECT_THAT(cpu.periods, Optional(7u));
  EXPECT_THAT(cpu.throttled_periods, Optional(2u));
  EXPECT_THAT(cpu.throttled_ns, Optional(123456u));
}

TEST(CgroupStatsTest, UnifiedMemory) {
  MemoryUse memory;
  cgroup_stats::ParseMemoryStat(
      "anon 1000\nfile 5000\nkernel 300\nkernel_stack 16\npagetables 20\nsock 0\nfile_mapped 77\n"
      "inactive_anon 900\nactive_anon 100\ninactive_file 4000\nactive_file 1000\nslab 200\n"
      "pgfault 42\npgmajfault 2\n",
      &memory);
  EXPECT_THAT(memory.rss, Optional(1000u));
  EXPECT_THAT(memory.cache, Optional(5000u));
  EXPECT_THAT(memory.mapped_file, Optional(77u));
  EXPECT_THAT(memory.inactive_file, Optional(4000u));
  EXPECT_THAT(memory.active_file, Optional(1000u));
  EXPECT_THAT(memory.kernel, Optional(300u));
  EXPECT_THAT(memory.page_faults, Optional(42u));
  EXPECT_THAT(memory.major_page_faults, Optional(2u));
  memory.usage = 6300;
  EXPECT_THAT(memory.WorkingSet(), Optional(2300u));
  EXPECT_EQ(memory.Available(), std::nullopt);
  memory.limit = 10000;
  EXPECT_THAT(memory.Available(), Optional(7700u));
}

TEST(CgroupStatsTest, KernelMemoryOfOldKernelsIsSummedUp) {
  MemoryUse memory;
  cgroup_stats::ParseMemoryStat("anon 1\nkernel_stack 16\npagetables 20\npercpu 4\nslab 200\n",
                                &memory);
  EXPECT_THAT(memory.kernel, Optional(240u));
}

TEST(CgroupStatsTest, LegacyMemoryCountsSubCgroups) {
  MemoryUse memory;
  cgroup_stats::ParseLegacyMemoryStat(
      "cache 1\nrss 2\npgfault 3\ninactive_file 4\nhierarchical_memory_limit 9\ntotal_cache 100\n"
      "total_rss 200\ntotal_mapped_file 300\ntotal_pgfault 400\ntotal_pgmajfault 5\n"
      "total_inactive_file 600\ntotal_active_file 700\n",
      &memory);
  EXPECT_THAT(memory.cache, Optional(100u));
  EXPECT_THAT(memory.rss, Optional(200u));
  EXPECT_THAT(memory.mapped_file, Optional(300u));
  EXPECT_THAT(memory.page_faults, Optional(400u));
  EXPECT_THAT(memory.major_page_faults, Optional(5u));
  EXPECT_THAT(memory.inactive_file, Optional(600u));
  memory.usage = 500;  // read at another instant: smaller than the inactive part
  EXPECT_THAT(memory.WorkingSet(), Optional(0u));
}

TEST(CgroupStatsTest, AWorkingSetBeyondTheLimitLeavesNothing) {
  MemoryUse memory;
  EXPECT_EQ(memory.WorkingSet(), std::nullopt);
  memory.usage = 10;
  memory.limit = 8;
  EXPECT_THAT(memory.Available(), Optional(0u));
}

TEST(CgroupStatsTest, PressureOfTasks) {
  const auto pressure = cgroup_stats::ParsePressure(
      "some avg10=1.50 avg60=0.25 avg300=0.01 total=123456\n"
      "full avg10=0.00 avg60=0.00 avg300=0.00 total=42\n");
  ASSERT_TRUE(pressure.has_value());
  EXPECT_DOUBLE_EQ(pressure->some.avg10, 1.5);
  EXPECT_DOUBLE_EQ(pressure->some.avg60, 0.25);
  EXPECT_DOUBLE_EQ(pressure->some.avg300, 0.01);
  EXPECT_EQ(pressure->some.total_us, 123456u);
  EXPECT_EQ(pressure->full.total_us, 42u);
}

TEST(CgroupStatsTest, CpuPressureMayLackItsFullLine) {
  const auto pressure =
      cgroup_stats::ParsePressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n");
  ASSERT_TRUE(pressure.has_value());
  EXPECT_EQ(pressure->some.total_us, 9u);
  EXPECT_EQ(pressure->full.total_us, 0u);
}

TEST(CgroupStatsTest, NoPressure) {
  for (const char* text : {"", "\n", "some avg10=x avg60=0 avg300=0 total=1", "none"}) {
    EXPECT_FALSE(cgroup_stats::ParsePressure(text).has_value()) << text;
  }
}

TEST(CgroupStatsTest, UnifiedIo) {
  const auto devices = cgroup_stats::ParseIoStat(
      "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=1\n253:1 \n"
      "7:3 rbytes=1 wbytes=0 rios=1 wios=0 dbytes=0 dios=0 cost.usage=3\nnonsense rbytes=1\n");
  ASSERT_THAT(devices, SizeIs(2));
  EXPECT_EQ(devices[0].major, 8u);
  EXPECT_EQ(devices[0].read_bytes, 4096u);
  EXPECT_EQ(devices[0].written_bytes, 8192u);
  EXPECT_EQ(devices[0].discarded_bytes, 512u);
  EXPECT_EQ(devices[0].reads, 1u);
  EXPECT_EQ(devices[0].writes, 2u);
  EXPECT_EQ(devices[1].major, 7u);
  EXPECT_EQ(devices[1].minor, 3u);
}

TEST(CgroupStatsTest, LegacyIo) {
  const auto devices = cgroup_stats::ParseLegacyIo(
      "8:16 Read 4096\n8:16 Write 8192\n8:16 Sync 8192\n8:16 Async 4096\n8:16 Discard 7\n"
      "8:16 Total 12288\nTotal 12288\n",
      "8:16 Read 3\n8:16 Write 4\n8:16 Total 7\n8:32 Write 1\nTotal 8\n");
  ASSERT_THAT(devices, SizeIs(2));
  EXPECT_EQ(devices[0].minor, 16u);
  EXPECT_EQ(devices[0].read_bytes, 4096u);
  EXPECT_EQ(devices[0].written_bytes, 8192u);
  EXPECT_EQ(devices[0].discarded_bytes, 7u);
  EXPECT_EQ(devices[0].reads, 3u);
  EXPECT_EQ(devices[0].writes, 4u);
  EXPECT_EQ(devices[1].writes, 1u);
  EXPECT_THAT(cgroup_stats::ParseLegacyIo("Total 0\n", ""), IsEmpty());
}

}  // namespace
}  // namespace berth
