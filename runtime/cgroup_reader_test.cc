// On trees of plain files; the real hierarchies are read by tests/integration/stats_test.cc.
#include "runtime/cgroup_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "runtime/cgroup.h"

namespace berth {
namespace {

using ::testing::Optional;
using ::testing::SizeIs;

class CgroupReaderTest : public ::testing::Test {
 protected:
  CgroupReaderTest() {
    std::string pattern = ::testing::TempDir() + "/cgroup_reader.XXXXXX";
    root_ = mkdtemp(pattern.data());
  }
  ~CgroupReaderTest() override { RemoveTree(root_).IgnoreError(); }

  void Put(const std::string& file, const std::string& content) {
    const std::string path = absl::StrCat(root_, "/", file);
    ASSERT_TRUE(MakeDirectories(path.substr(0, path.rfind('/')), 0755).ok());
    std::ofstream(path) << content;
  }
  void MountLegacy(const std::string& controller) {
    ASSERT_TRUE(MakeDirectories(absl::StrCat(root_, "/", controller), 0755).ok());
    absl::StrAppend(&mountinfo_, "31 23 0:28 / ", root_, "/", controller, " rw - cgroup cgroup rw,",
                    controller, "\n");
  }
  void MountUnified(const std::string& name, const std::string& controllers) {
    Put(absl::StrCat(name, "/cgroup.controllers"), controllers);
    absl::StrAppend(&mountinfo_, "41 31 0:38 / ", root_, "/", name, " rw - cgroup2 cgroup2 rw\n");
  }
  CgroupReader& Reader() {
    host_ = CgroupHost::DetectFrom(mountinfo_).value();
    reader_ = host_->NewReader("/pods/c");
    return *reader_;
  }
  CgroupStats All(CgroupReader& reader) {
    CgroupStats stats = reader.ReadMain();
    reader.AddRest(&stats);
    return stats;
  }

  std::string root_, mountinfo_;
  std::unique_ptr<CgroupHost> host_;
  std::unique_ptr<CgroupReader> reader_;
};

TEST_F(CgroupReaderTest, Unified) {
  MountUnified("v2", "cpu io memory pids hugetlb");
  Put("v2/pods/c/cpu.stat", "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 1\n");
  Put("v2/pods/c/memory.current", "5000\n");
  Put("v2/pods/c/memory.max", "8000\n");
  Put("v2/pods/c/memory.peak", "6000\n");
  Put("v2/pods/c/memory.stat", "anon 700\nfile 4000\ninactive_file 3000\n");
  Put("v2/pods/c/memory.swap.current", "11\n");
  Put("v2/pods/c/memory.swap.max", "max\n");
  Put("v2/pods/c/memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n");
  Put("v2/pods/c/pids.current", "3\n");
  Put("v2/pods/c/pids.max", "max\n");
  Put("v2/pods/c/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n");
  Put("v2/pods/c/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n");
  const CgroupStats stats = All(Reader());
  EXPECT_THAT(stats.cpu.usage_ns, Optional(10000u));
  EXPECT_THAT(stats.cpu.periods, Optional(1u));
  EXPECT_THAT(stats.memory.WorkingSet(), Optional(2000u));
  EXPECT_THAT(stats.memory.Available(), Optional(6000u));
  EXPECT_THAT(stats.memory.max_usage, Optional(6000u));
  EXPECT_THAT(stats.memory.swap, Optional(11u));
  EXPECT_EQ(stats.memory.swap_limit, std::nullopt);
  EXPECT_THAT(stats.memory.limit_hits, Optional(4u));
  EXPECT_THAT(stats.memory.oom_kills, Optional(1u));
  EXPECT_THAT(stats.pids.current, Optional(3u));
  EXPECT_EQ(stats.pids.limit, std::nullopt);
  ASSERT_THAT(stats.io.devices, SizeIs(1));
  EXPECT_EQ(stats.io.devices[0].writes, 4u);
  ASSERT_TRUE(stats.cpu.pressure.has_value());
  EXPECT_EQ(stats.cpu.pressure->some.total_us, 9u);
  EXPECT_FALSE(stats.memory.pressure.has_value());
}

TEST_F(CgroupReaderTest, LegacyWithPressureFromAHybridTree) {
  for (const char* controller : {"cpu", "cpuacct", "memory", "pids", "blkio"}) {
    MountLegacy(controller);
  }
  MountUnified("unified", "hugetlb");
  Put("cpuacct/pods/c/cpuacct.usage", "123456789\n");
  Put("cpuacct/pods/c/cpuacct.usage_user", "100\n");
  Put("cpuacct/pods/c/cpuacct.usage_sys", "20\n");
  Put("cpu/pods/c/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 77\n");
  Put("memory/pods/c/memory.usage_in_bytes", "5000\n");
  Put("memory/pods/c/memory.limit_in_bytes", "9223372036854771712\n");
  Put("memory/pods/c/memory.memsw.usage_in_bytes", "5400\n");
  Put("memory/pods/c/memory.memsw.limit_in_bytes", "9223372036854771712\n");
  Put("memory/pods/c/memory.stat", "inactive_file 1\ntotal_inactive_file 3000\ntotal_rss 8\n");
  Put("memory/pods/c/memory.failcnt", "6\n");
  Put("memory/pods/c/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  Put("pids/pods/c/pids.current", "4\n");
  Put("blkio/pods/c/blkio.bfq.io_service_bytes_recursive", "Total 0\n");
  Put("blkio/pods/c/blkio.throttle.io_service_bytes_recursive", "8:0 Read 512\nTotal 512\n");
  Put("blkio/pods/c/blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n");
  Put("unified/pods/c/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
  const CgroupStats stats = All(Reader());
  EXPECT_THAT(stats.cpu.usage_ns, Optional(123456789u));
  EXPECT_THAT(stats.cpu.user_ns, Optional(100u));
  EXPECT_THAT(stats.cpu.throttled_ns, Optional(77u));
  EXPECT_THAT(stats.memory.WorkingSet(), Optional(2000u));
  EXPECT_EQ(stats.memory.Available(), std::nullopt);
  EXPECT_THAT(stats.memory.swap, Optional(400u));
  EXPECT_EQ(stats.memory.swap_limit, std::nullopt);
  EXPECT_THAT(stats.memory.limit_hits, Optional(6u));
  EXPECT_THAT(stats.memory.oom_kills, Optional(2u));
  EXPECT_THAT(stats.pids.current, Optional(4u));
  ASSERT_THAT(stats.io.devices, SizeIs(1));
  EXPECT_EQ(stats.io.devices[0].read_bytes, 512u);
  ASSERT_TRUE(stats.memory.pressure.has_value());
}

TEST_F(CgroupReaderTest, ACgroupThatIsNotThereHasNothing) {
  MountUnified("v2", "cpu memory pids");
  const CgroupStats stats = All(Reader());
  EXPECT_EQ(stats.cpu.usage_ns, std::nullopt);
  EXPECT_EQ(stats.memory.WorkingSet(), std::nullopt);
  EXPECT_EQ(stats.pids.current, std::nullopt);
}

TEST_F(CgroupReaderTest, ACgroupMayBeMadeAfterItsReader) {
  MountUnified("v2", "memory");
  CgroupReader& reader = Reader();
  EXPECT_EQ(reader.ReadMain().memory.usage, std::nullopt);
  Put("v2/pods/c/memory.current", "7\n");
  EXPECT_THAT(reader.ReadMain().memory.usage, Optional(7u));
}

TEST_F(CgroupReaderTest, ReadingsFollowTheFileThroughOneDescriptor) {
  MountUnified("v2", "memory");
  Put("v2/pods/c/memory.current", "1\n");
  CgroupReader& reader = Reader();
  EXPECT_THAT(reader.ReadMain().memory.usage, Optional(1u));
  Put("v2/pods/c/memory.current", "22\n");  // in place
  EXPECT_THAT(reader.ReadMain().memory.usage, Optional(22u));
  ASSERT_TRUE(RemoveTree(root_ + "/v2/pods").ok());
  Put("v2/pods/c/memory.current", "333\n");  // another cgroup of that name
  EXPECT_THAT(reader.ReadMain().memory.usage, Optional(22u));
  EXPECT_THAT(host_->NewReader("/pods/c")->ReadMain().memory.usage, Optional(333u));
}

}  // namespace
}  // namespace berth
