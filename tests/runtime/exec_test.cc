// Execs: results, deadlines, trees.
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::HasSubstr;

class ExecTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    StartKeeper(Options());
    const absl::Status started = CreateAndStart(id_, Contents({"/guest", "sleep"}));
    ASSERT_TRUE(started.ok()) << started;
  }
  absl::StatusOr<ExecResult> Exec(std::vector<std::string> argv, absl::Time deadline = Soon(),
                                  size_t limit = 1 << 20) {
    PlanContents c = ExecContents(std::move(argv));
    c.cgroups = cgroups_;
    return keeper_->ExecSync(id_, BuildPlan(c).value(), limit, deadline);
  }
  // Processes in the container's cgroup, the main one included.
  int Processes() {
    const std::string dir = cgroups_.back().path;
    std::string pids = ReadFile(dir + "/cgroup.procs").value();
    const std::vector<std::string> names = ListDirectory(dir).value();
    for (const std::string& name : names) {
      if (name.rfind("exec-", 0) == 0)
        pids += ReadFile(absl::StrCat(dir, "/", name, "/cgroup.procs")).value_or("");
    }
    return static_cast<int>(std::count(pids.begin(), pids.end(), '\n'));
  }
  bool ProcessesBecome(int n) {
    for (int i = 0; i < 500 && Processes() != n; ++i) usleep(10000);
    return Processes() == n;
  }

  const ContainerId id_{"c1"};
};

TEST_F(ExecTest, RunsInTheContainersNamespacesAndCgroup) {
  const ExecResult result = Exec({"/guest", "facts"}).value();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(Fact(result.out, "hostname"), "pod-host");
  EXPECT_NE(Fact(result.out, "pid"), "1");
  EXPECT_EQ(Fact(result.out, "CapEff"), "00000000a80425fb");
  EXPECT_EQ(Fact(result.out, "fd"), "0\n1\n2");
  EXPECT_EQ(Fact(result.out, "path /guest"), "");
  EXPECT_THAT(Fact(result.out, "cgroup"), HasSubstr("0::/exec-"));
  EXPECT_EQ(Exec({"/guest", "exit", "42"}).value().exit_code, 42);
}

TEST_F(ExecTest, FailuresAreSentences) {
  EXPECT_EQ(Exec({"/no/program"}).status(),
            absl::NotFoundError("execute /no/program: No such file or directory"));
  PlanContents c = ExecContents({"/guest"});
  EXPECT_EQ(
      keeper_->ExecSync(ContainerId("other"), BuildPlan(c).value(), 10, Soon()).status().code(),
      absl::StatusCode::kNotFound);
}

TEST_F(ExecTest, OutputBeyondTheLimitIsDrainedAndDropped) {
  const ExecResult result = Exec({"/guest", "flood", "50000"}, Soon(), 1000).value();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out.size(), 1000u);
  EXPECT_EQ(result.out.substr(0, 7), "line 0\n");
}

TEST_F(ExecTest, TheDeadlineKillsTheWholeTree) {
  const absl::Time before = absl::Now();
  EXPECT_EQ(Exec({"/guest", "tree"}, absl::Now() + absl::Milliseconds(300)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - before, absl::Seconds(3));
  EXPECT_TRUE(ProcessesBecome(1)) << Processes();
}

TEST_F(ExecTest, ARequesterThatGoesAwayTakesTheTreeWithIt) {
  PlanContents c = ExecContents({"/guest", "tree"});
  c.cgroups = cgroups_;
  auto session = keeper_->Exec(id_, BuildPlan(c).value(), {}, absl::InfiniteFuture()).value();
  ASSERT_TRUE(ProcessesBecome(8)) << Processes();
  session.reset();
  EXPECT_TRUE(ProcessesBecome(1)) << Processes();
}

TEST_F(ExecTest, AnExecThatLeavesAChildBehindIsAnsweredAtItsExit) {
  const ExecResult result = Exec({"/guest", "grandchild"}).value();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "bye\n");
}

// Execs use one sub-cgroup after another again; a kill of one must not reach what another left behind.
TEST_F(ExecTest, TheDeadlineSparesWhatAnEarlierExecLeftBehind) {
  ASSERT_EQ(Exec({"/guest", "exit", "3"}).value().exit_code, 3);  // its sub-cgroup is kept
  ASSERT_EQ(Exec({"/guest", "grandchild"}).value().exit_code, 0);
  ASSERT_TRUE(ProcessesBecome(2)) << Processes();
  PlanContents c = ExecContents({"/guest", "sleep"});
  c.cgroups = cgroups_;
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      keeper_->ExecSync(id_, BuildPlan(c).value(), 100, absl::Now() + absl::Milliseconds(200))
          .status()));
  EXPECT_EQ(Processes(), 2);
  // One that was killed is not used again: on some kernels it kills for ever.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Exec({"/guest", "exit", "4"}).value().exit_code, 4);
}

TEST_F(ExecTest, ATerminalGoesToTheRequester) {
  PlanContents c = ExecContents({"/guest", "facts"});
  c.flags |= kPlanTerminal;
  auto session = keeper_->Exec(id_, BuildPlan(c).value(), {}, Soon()).value();
  EXPECT_TRUE(session->TakeTerminal().valid());
  session.reset();
}

TEST_F(ExecTest, AStoppedContainerHasNone) {
  ASSERT_TRUE(keeper_->Signal(id_, SIGKILL, Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(id_).exit_code, 137);
  EXPECT_EQ(Exec({"/guest"}).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace berth
