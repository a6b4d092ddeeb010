#include "runtime/oom_log.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace berth {
namespace {

constexpr char kOfACgroup[] =
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,"
    "oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/c1,task=tail,pid=4711,uid=1000";
constexpr char kOfTheNode[] =
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
    "task_memcg=/kubepods/pod1/c2/exec-1,task=a,pid=1,x,pid=7,uid=0";

TEST(OomReportTest, NamesTheLimitAndTheVictim) {
  const auto report = ParseOomReport(kOfACgroup);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->limit_cgroup, "/kubepods/pod1");
  EXPECT_EQ(report->victim_cgroup, "/kubepods/pod1/c1");
  EXPECT_EQ(report->victim_name, "tail");
  EXPECT_EQ(report->victim_pid, 4711);
}

TEST(OomReportTest, TheNodeHasNoCgroupAndANameMayLookLikeAnything) {
  const auto report = ParseOomReport(kOfTheNode);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->limit_cgroup, "");
  EXPECT_EQ(report->victim_name, "a,pid=1,x");
  EXPECT_EQ(report->victim_pid, 7);
}

TEST(OomReportTest, OtherMessagesAreNone) {
  for (const char* text : {"", "oom-kill:", "oom-kill:constraint=X,task=a,pid=1",
                           "oom-kill:constraint=X,task_memcg=/a,task=b,pid=", "eth0: link up"}) {
    EXPECT_FALSE(ParseOomReport(text).has_value()) << text;
  }
}

TEST(OomLogTest, FindsByTheContainersDirectory) {
  const std::string path = std::string(getenv("TEST_TMPDIR")) + "/kmsg";
  // A regular file is read at once, as one record: enough for one report.
  std::ofstream(path) << "4,100,200,-;" << kOfTheNode << "\n SUBSYSTEM=x\n";
  OomLog log(path, /*own_pids=*/true);
  EXPECT_FALSE(log.Find("c1").has_value());
  EXPECT_FALSE(log.Find("c").has_value());
  ASSERT_TRUE(log.Find("c2").has_value());
  EXPECT_EQ(log.Find("c2")->victim_pid, 7);
  // From within another PID namespace the number would be somebody else's.
  OomLog inner(path, /*own_pids=*/false);
  ASSERT_TRUE(inner.Find("c2").has_value());
  EXPECT_EQ(inner.Find("c2")->victim_pid, 0);
}

TEST(OomLogTest, WithoutALogThereIsNoReport) {
  OomLog log("/nonexistent/kmsg");
  EXPECT_FALSE(log.Find("c1").has_value());
}

}  // namespace
}  // namespace berth
