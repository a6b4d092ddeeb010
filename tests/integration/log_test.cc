// Container logs: the CRI format, both streams, nothing lost, nothing torn.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class LogTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  std::vector<LogLine> Run(const std::string& name, const std::string& script) {
    RunToEnd(pod_, ContainerConfig(name, {"sh", "-c", script}));
    return ReadLog(absl::StrCat(pod_.config.log_directory(), "/", name, "_0.log"));
  }
  TestPod pod_;
};

TEST_F(LogTest, LinesHaveTimeStreamAndTag) {
  const auto lines = Run("plain", "echo out; echo err >&2; echo; echo ' two  blanks'");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(LogText(lines, "stdout"), "out\n\n two  blanks\n");
  EXPECT_EQ(LogText(lines, "stderr"), "err\n");
  absl::Time last = absl::Now() - absl::Minutes(1);
  for (const LogLine& line : lines) {
    absl::Time time;
    std::string error;
    ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, line.time, &time, &error)) << line.time;
    EXPECT_GE(time, last);
    last = time;
  }
  EXPECT_LE(last, absl::Now());
}

TEST_F(LogTest, AnUnfinishedLastLineIsWrittenAsPartial) {
  const auto lines = Run("unfinished", "printf 'no newline'");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, "no newline");
}

TEST_F(LogTest, LongLinesAreSplitAt16KiBAndJoinAgain) {
  const auto lines = Run("long", "head -c 40000 /dev/zero | tr '\\0' x; echo");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].partial);
  EXPECT_TRUE(lines[1].partial);
  EXPECT_FALSE(lines[2].partial);
  EXPECT_EQ(lines[0].text.size(), 16384u);
  EXPECT_EQ(LogText(lines), std::string(40000, 'x') + "\n");
}

TEST_F(LogTest, NothingIsLostAtExit) {
  // 3 MB as fast as it goes, and the exit at once after it.
  const auto lines = Run("fast", "seq 1 400000");
  ASSERT_EQ(lines.size(), 400000u);
  EXPECT_EQ(lines.front().text, "1");
  EXPECT_EQ(lines[199999].text, "200000");
  EXPECT_EQ(lines.back().text, "400000");
}

TEST_F(LogTest, BothStreamsAreComplete) {
  const auto lines = Run("both", "seq 1 50000 & seq 1 50000 >&2 & wait");
  std::string expected;
  for (int i = 1; i <= 50000; ++i) absl::StrAppend(&expected, i, "\n");
  EXPECT_TRUE(LogText(lines, "stdout") == expected);
  EXPECT_TRUE(LogText(lines, "stderr") == expected);
}

TEST_F(LogTest, BinaryBytesPassThrough) {
  const auto lines = Run("binary", "printf 'a\\000b\\377c\\r\\n'");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, std::string("a\0b\377c\r", 6));
}

TEST_F(LogTest, TheLogGoesOnWhileTheDaemonIsDown) {
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod_, ContainerConfig("steady", {"sh", "-c",
                                                      "i=0; while [ $i -lt 60 ]; do i=$((i+1)); "
                                                      "echo $i; sleep 0.02; done"})));
  daemon_.Kill();
  absl::SleepFor(absl::Seconds(2));  // the whole of it passes without a daemon
  ASSERT_OK(daemon_.Start());
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 0);
  std::string expected;
  for (int i = 1; i <= 60; ++i) absl::StrAppend(&expected, i, "\n");
  EXPECT_EQ(LogText(ReadLog(pod_.config.log_directory() + "/steady_0.log")), expected);
}

// As kubelet rotates: the file is renamed, then the log is reopened, while the container writes.
TEST_F(LogTest, ReopeningUnderLoadLosesAndRepeatsNothing) {
  constexpr int kRotations = 50;
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod_, ContainerConfig("busy", {"sh", "-c",
                                                    "i=0; while :; do i=$((i+1)); echo line $i; "
                                                    "echo error $i >&2; done"})));
  const std::string log = pod_.config.log_directory() + "/busy_0.log";
  cri::ReopenContainerLogRequest request;
  request.set_container_id(id);
  for (int i = 0; i < kRotations; ++i) {
    // Something is in each file, so that there is something to lose.
    for (const absl::Time end = absl::Now() + absl::Seconds(20); absl::Now() < end;) {
      if (!ReadFile(log, size_t{1} << 30).value_or("").empty()) break;
      absl::SleepFor(absl::Milliseconds(1));
    }
    ASSERT_EQ(rename(log.c_str(), absl::StrCat(log, ".", i).c_str()), 0);
    ASSERT_OK(cri().Call(&CriClient::Runtime::ReopenContainerLog, request));
    ASSERT_OK(ReadFile(log, size_t{1} << 30));
  }
  ASSERT_OK(cri().StopContainer(id, 0));
  std::vector<LogLine> lines;
  for (int i = 0; i <= kRotations; ++i) {
    const auto part = ReadLog(i < kRotations ? absl::StrCat(log, ".", i) : log);
    lines.insert(lines.end(), part.begin(), part.end());
  }
  int out = 0, err = 0;
  for (const LogLine& line : lines) {
    const bool is_out = line.stream == "stdout";
    const std::string expected =
        is_out ? absl::StrCat("line ", ++out) : absl::StrCat("error ", ++err);
    ASSERT_EQ(line.text, expected);
    ASSERT_FALSE(line.partial);
  }
  EXPECT_GT(out, kRotations);
  EXPECT_LE(out - err, 1);
}

TEST_F(LogTest, ReopeningWithoutALogIsFine) {
  cri::ContainerConfig config = ContainerConfig("silent", {"sleep", "1000"});
  config.clear_log_path();
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  cri::ReopenContainerLogRequest request;
  request.set_container_id(id);
  EXPECT_OK(cri().Call(&CriClient::Runtime::ReopenContainerLog, request));
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition,
              cri().Call(&CriClient::Runtime::ReopenContainerLog, request));
}

TEST_F(LogTest, AGrandchildThatHoldsThePipeDoesNotDelayTheExit) {
  cri::PodSandboxConfig config = PodConfig("shared-pid");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      CreateAndStart(pod, ContainerConfig("parent", {"sh", "-c", "sleep 30 & echo done; exit 4"})));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id, absl::Seconds(10)));
  EXPECT_EQ(status.exit_code(), 4);
  EXPECT_EQ(LogText(ReadLog(config.log_directory() + "/parent_0.log")), "done\n");
}

TEST_F(LogTest, WithoutALogPathOutputIsDropped) {
  cri::ContainerConfig config = ContainerConfig("silent", {"sh", "-c", "seq 1 100000; exit 6"});
  config.clear_log_path();
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 6);
  EXPECT_EQ(status.log_path(), "");
}

TEST_F(LogTest, NonRootMayReopenItsOwnStreams) {
  cri::ContainerConfig config =
      ContainerConfig("devstdout", {"sh", "-c", "echo via > /dev/stdout; echo err > /dev/stderr"});
  config.mutable_linux()->mutable_security_context()->mutable_run_as_user()->set_value(1000);
  RunToEnd(pod_, config);
  const auto lines = ReadLog(pod_.config.log_directory() + "/devstdout_0.log");
  EXPECT_EQ(LogText(lines, "stdout"), "via\n");
  EXPECT_EQ(LogText(lines, "stderr"), "err\n");
}

}  // namespace
}  // namespace berth::testing
