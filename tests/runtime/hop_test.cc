// Entering PID namespaces whose members may trace: nothing of ours can be taken there.
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::HasSubstr;

constexpr uint64_t kTracing = 0xa80425fb | 1u << 19;  // and CAP_SYS_PTRACE

class HopTest : public RuntimeTest {
 protected:
  PlanContents Tracing(std::vector<std::string> argv, PidMode mode = PidMode::kOwn) {
    PlanContents c = Contents(std::move(argv));
    c.capabilities = {kTracing, kTracing, kTracing, 0, 0};
    c.pid_mode = mode;
    c.flags |= kPlanHop;
    return c;
  }
  PlanContents TracingExec(std::vector<std::string> argv) {
    PlanContents c = ExecContents(std::move(argv));
    c.cgroups = cgroups_;
    c.flags |= kPlanHop;
    return c;
  }
  void StartPod() {
    KeeperOptions options = Options();
    options.shared_pid = true;
    StartKeeper(options);
  }
  absl::StatusOr<ExecResult> Exec(const ContainerId& id, const PlanContents& c,
                                  absl::Time deadline = Soon()) {
    return keeper_->ExecSync(id, BuildPlan(c).value(), 1 << 20, deadline);
  }
  void ExpectNothingTaken(const ContainerId& scanner) {
    EXPECT_EQ(exits_.WaitForExit(scanner).exit_code, 0);
    const std::string out = Output(scanner);
    EXPECT_NE(Fact(out, "seen"), "0") << "the scanner has met no process before its execve";
    EXPECT_EQ(Fact(out, "taken"), "0");
    EXPECT_EQ(Fact(out, "privileged"), "0");
  }
  const ContainerId id_{"c1"};
};

TEST_F(HopTest, ATracingNeighbourTakesNothingFromExecs) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Tracing({"/guest", "scan", "1500"})).ok());
  WaitForOutput(id_, "scanning");
  const std::string plan = BuildPlan(TracingExec({"/guest", "exit", "3"})).value();
  const absl::Time end = absl::Now() + absl::Milliseconds(1200);
  while (absl::Now() < end)
    ASSERT_EQ(keeper_->ExecSync(id_, plan, 100, Soon()).value().exit_code, 3);
  ExpectNothingTaken(id_);
}

TEST_F(HopTest, ADebuggerTakesNothingFromExecsOfItsTarget) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "sleep"})).ok());
  const ContainerId debugger("debugger");
  PlanContents c = Tracing({"/guest", "scan", "1500"}, PidMode::kTarget);
  c.pid_target = "c1";
  c.cgroups.clear();
  ASSERT_TRUE(CreateAndStart(debugger, c).ok());
  WaitForOutput(debugger, "scanning");
  PlanContents exec = ExecContents({"/guest", "exit", "3"});  // knows nothing of the debugger
  exec.cgroups = cgroups_;
  const std::string plan = BuildPlan(exec).value();
  const absl::Time end = absl::Now() + absl::Milliseconds(1200);
  while (absl::Now() < end)
    ASSERT_EQ(keeper_->ExecSync(id_, plan, 100, Soon()).value().exit_code, 3);
  ExpectNothingTaken(debugger);
}

TEST_F(HopTest, ATracingNeighbourTakesNothingFromContainersOfItsPod) {
  StartPod();
  ASSERT_TRUE(CreateAndStart(id_, Tracing({"/guest", "scan", "1500"}, PidMode::kPod)).ok());
  WaitForOutput(id_, "scanning");
  const absl::Time end = absl::Now() + absl::Milliseconds(1200);
  for (int i = 0; absl::Now() < end; ++i) {
    const ContainerId id(absl::StrCat("n", i));
    PlanContents c = Tracing({"/guest", "exit", "3"}, PidMode::kPod);
    c.cgroups.clear();  // shared with the scanner, they would be killed at the end
    const ExitRecord record = RunToExit(id, c);
    ASSERT_EQ(record.exit_code, 3);
    ASSERT_TRUE(record.started);
    ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
  }
  ExpectNothingTaken(id_);
}

TEST_F(HopTest, AContainerOfThePodsNamespaceSeesItsOwnProc) {
  StartPod();
  EXPECT_EQ(RunToExit(id_, Tracing({"/guest", "facts"}, PidMode::kPod)).exit_code, 0);
  const std::string out = Output(id_);
  EXPECT_NE(Fact(out, "pid"), "1");
  EXPECT_EQ(Fact(out, "fd"), "0\n1\n2");
  EXPECT_EQ(Fact(out, "CapEff"), absl::StrCat("00000000", absl::Hex(kTracing)));
  EXPECT_EQ(Fact(out, "NoNewPrivs"), "1");
  EXPECT_EQ(Fact(out, "SigBlk"), "0000000000000000");
  EXPECT_THAT(Fact(out, "mount"), HasSubstr(" /proc "));
}

TEST_F(HopTest, AContainerJoinsTheNamespaceOfItsTarget) {
  StartKeeper(Options());
  PlanContents joining = Tracing({"/guest", "facts"}, PidMode::kTarget);
  joining.pid_target = "c1";
  joining.cgroups.clear();
  const ContainerId early("early"), id("joining"), late("late");
  EXPECT_EQ(keeper_->Create(early, BuildPlan(joining).value(), {}, Soon()).status().code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "sleep"})).ok());
  const ExecResult own = Exec(id_, TracingExec({"/guest", "facts"})).value();
  EXPECT_EQ(RunToExit(id, joining).exit_code, 0);
  EXPECT_EQ(Fact(Output(id), "ns.pid"), Fact(own.out, "ns.pid"));
  EXPECT_NE(Fact(Output(id), "ns.mnt"), Fact(own.out, "ns.mnt"));
  EXPECT_NE(Fact(Output(id), "pid"), "1");
  joining.flags &= ~kPlanHop;  // prepared inside, as before 6.17
  EXPECT_EQ(RunToExit(late, joining).exit_code, 0);
  EXPECT_EQ(Fact(Output(late), "ns.pid"), Fact(own.out, "ns.pid"));
}

TEST_F(HopTest, FailuresAreToldAsWithoutAHop) {
  StartPod();
  ASSERT_TRUE(CreateAndStart(id_, Tracing({"/guest", "sleep"}, PidMode::kPod)).ok());
  EXPECT_EQ(Exec(id_, TracingExec({"/no/program"})).status(),
            absl::NotFoundError("execute /no/program: No such file or directory"));
  PlanContents c = TracingExec({"/guest"});
  c.cwd = "/no/where";
  EXPECT_EQ(Exec(id_, c).status(),
            absl::NotFoundError("enter working directory /no/where: No such file or directory"));
  const ContainerId id("c2");
  PlanContents missing = Tracing({"/no/program"}, PidMode::kPod);
  missing.cgroups.clear();
  EXPECT_EQ(CreateAndStart(id, missing),
            absl::NotFoundError("execute /no/program: No such file or directory"));
  const ExitRecord record = exits_.WaitForExit(id);
  EXPECT_EQ(record.exit_code, 128);
  EXPECT_FALSE(record.started);
}

TEST_F(HopTest, SignalsDeadlinesAndListsMeanTheProcessInside) {
  StartPod();
  const std::string plan = BuildPlan(Tracing({"/guest", "term"}, PidMode::kPod)).value();
  const pid_t gated = keeper_->Create(id_, plan, {}, Soon()).value().pid;
  pid_t started = 0;
  ASSERT_TRUE(keeper_->Start(id_, OpenLog(id_), Soon(), &started).ok());
  EXPECT_NE(started, gated);
  WaitForOutput(id_, "ready\n");
  const absl::Time before = absl::Now();
  EXPECT_EQ(Exec(id_, TracingExec({"/guest", "tree"}), absl::Now() + absl::Milliseconds(300))
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - before, absl::Seconds(3));
  const pid_t pid = keeper_->List(Soon()).value()[0].pid;
  EXPECT_EQ(pid, started);
  EXPECT_THAT(ReadFile(absl::StrCat("/proc/", pid, "/cmdline")).value(), HasSubstr("guest"));
  ASSERT_TRUE(keeper_->Signal(id_, 15, Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(id_).exit_code, 7);
}

TEST_F(HopTest, ATerminalBelongsToTheProcessInside) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Tracing({"/guest", "sleep"})).ok());
  PlanContents c = TracingExec({"/guest", "facts"});
  c.flags |= kPlanTerminal;
  auto session = keeper_->Exec(id_, BuildPlan(c).value(), {}, Soon()).value();
  EXPECT_TRUE(session->TakeTerminal().valid());
  session.reset();
}

TEST_F(HopTest, AUserWithoutRootHops) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Tracing({"/guest", "sleep"})).ok());
  PlanContents c = TracingExec({"/guest", "facts"});
  c.user_flags = 0;
  c.user = "alice";
  const ExecResult result = Exec(id_, c).value();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(Fact(result.out, "uid"), "1000 1000");
  EXPECT_EQ(Fact(result.out, "CapEff"), "0000000000000000");
}

}  // namespace
}  // namespace berth
