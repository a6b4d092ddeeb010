// Container output in the CRI log.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using OutputTest = RuntimeTest;

// `stdout F text` without the time.
std::vector<std::string> Lines(const std::string& log) {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    EXPECT_GE(line.size(), 40u);
    absl::Time time;
    std::string error;
    EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, line.substr(0, 30), &time, &error))
        << line << error;
    EXPECT_LT(absl::AbsDuration(absl::Now() - time), absl::Minutes(1));
    lines.emplace_back(line.data() + 31, line.size() - 31);
  }
  return lines;
}

TEST_F(OutputTest, LinesArePutTogetherAndBothStreamsAreInOrder) {
  StartKeeper(Options());
  const ContainerId id("c1");
  EXPECT_EQ(RunToExit(id, Contents({"/guest", "split"})).exit_code, 3);
  EXPECT_EQ(Lines(Log(id)),
            (std::vector<std::string>{"stdout F one line", "stderr F error", "stdout P last"}));
}

TEST_F(OutputTest, LongLinesAreSplitAtSixteenKibibytes) {
  StartKeeper(Options());
  const ContainerId id("c1");
  RunToExit(id, Contents({"/guest", "long"}));
  const std::vector<std::string> lines = Lines(Log(id));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "stdout P " + std::string(16384, 'x'));
  EXPECT_EQ(lines[1], "stdout P " + std::string(16384, 'x'));
  EXPECT_EQ(lines[2], "stdout F " + std::string(40000 - 2 * 16384, 'x'));
}

TEST_F(OutputTest, NothingIsLostAtTheExit) {
  StartKeeper(Options());
  const ContainerId id("c1");
  RunToExit(id, Contents({"/guest", "flood", "20000"}));
  const std::vector<std::string> lines = Lines(Log(id));
  ASSERT_EQ(lines.size(), 20000u);
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(lines[i], absl::StrCat("stdout F line ", i));
}

TEST_F(OutputTest, AGrandchildThatHoldsThePipeDelaysNoExit) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "grandchild"});
  c.pid_mode = PidMode::kNode;
  EXPECT_EQ(RunToExit(ContainerId("c1"), c).exit_code, 0);
  EXPECT_EQ(Lines(Log(ContainerId("c1"))), (std::vector<std::string>{"stdout F bye"}));
}

TEST_F(OutputTest, AReopenedLogGetsTheRest) {
  StartKeeper(Options());
  const ContainerId id("c1");
  ASSERT_TRUE(CreateAndStart(id, Contents({"/guest", "term"})).ok());
  WaitForOutput(id, "ready\n");
  const ContainerId other("other");
  ASSERT_TRUE(keeper_->ReopenLog(id, OpenLog(other), Soon()).ok());
  ASSERT_TRUE(keeper_->Signal(id, SIGTERM, Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(id).exit_code, 7);
  EXPECT_EQ(Output(id), "ready\n");
  EXPECT_EQ(Output(other), "over\n");
}

}  // namespace
}  // namespace berth
