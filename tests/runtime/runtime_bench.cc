// Where a start's and an exec's time goes, without the daemon: p50 and p10 in microseconds.
//   runtime_bench [ROUNDS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gtest/gtest.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

class Bench : public RuntimeTest {
 protected:
  void Mark(const char* phase) {
    const absl::Time now = absl::Now();
    samples_[phase].push_back(absl::ToDoubleMicroseconds(now - last_));
    last_ = absl::Now();
  }
  void Print() {
    for (auto& [phase, values] : samples_) {
      std::sort(values.begin(), values.end());
      std::printf("%-28s p50 %7.0f  p10 %7.0f  p99 %7.0f\n", phase.c_str(),
                  values[values.size() / 2], values[values.size() / 10],
                  values[values.size() * 99 / 100]);
    }
  }
  absl::Time last_;
  std::map<std::string, std::vector<double>> samples_;
};

TEST_F(Bench, Phases) {
  const char* rounds = std::getenv("ROUNDS");
  const int n = rounds ? std::atoi(rounds) : 300;
  PlanContents contents = Contents({"/guest", "sleep"});
  UseOverlay(&contents, dir_);
  const std::string plan = BuildPlan(contents).value();
  PlanContents exec_contents = ExecContents({"/guest", "exit", "0"});
  exec_contents.cgroups = cgroups_;
  const std::string exec = BuildPlan(exec_contents).value();
  exec_contents.flags |= kPlanHop;
  const std::string hop = BuildPlan(exec_contents).value();
  const ContainerId id("c1");
  for (int i = 0; i < n; ++i) {
    last_ = absl::Now();
    keeper_ = launcher_->Spawn(Options(), Soon()).value();
    Mark("1 keeper spawn");
    ASSERT_TRUE(keeper_->Create(id, plan, {}, Soon()).ok());
    Mark("2 create to gate");
    ASSERT_TRUE(keeper_->Start(id, OpenLog(id), Soon()).ok());
    Mark("3 gate to execve");
    for (int k = 0; k < 3; ++k) {
      last_ = absl::Now();
      ASSERT_EQ(keeper_->ExecSync(id, exec, 1000, Soon()).value().exit_code, 0);
      Mark("4 exec of an empty program");
      ASSERT_EQ(keeper_->ExecSync(id, hop, 1000, Soon()).value().exit_code, 0);
      Mark("4 the same with a hop");
    }
    if (i == 0) {
      std::printf(
          "keeper: %s\n",
          ReadFile(absl::StrCat("/proc/", keeper_->pid(), "/smaps_rollup")).value().c_str());
    }
    last_ = absl::Now();
    ASSERT_TRUE(keeper_->Signal(id, SIGKILL, Soon()).ok());
    while (keeper_->Forget(id, Soon()).code() == absl::StatusCode::kFailedPrecondition) continue;
    Mark("5 kill to forgotten");
    ASSERT_TRUE(keeper_->Shutdown(Soon()).ok());
    Mark("6 keeper shutdown");
    keeper_.reset();
  }
  Print();
}

}  // namespace
}  // namespace berth
