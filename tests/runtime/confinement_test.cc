// Memory limits, system call filters, a network namespace made by someone else.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "runtime/capabilities.h"
#include "runtime/seccomp/filter.h"
#include "runtime/seccomp/profile.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::AnyOf;

class ConfinementTest : public RuntimeTest {
 protected:
  // A memory cgroup of 16 MiB without swap; gone at the end of the test.
  void MakeMemoryCgroup() {
    const bool v1 = access("/sys/fs/cgroup/memory/cgroup.procs", F_OK) == 0;
    const std::string path = absl::StrCat(v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup",
                                          "/berth-test-memory-", getpid());
    ASSERT_TRUE(MakeDirectories(path, 0755).ok());
    cgroup_dirs_.push_back(path);
    memory_ = {path, kCgroupMemory | (v1 ? 0u : uint32_t{kCgroupV2 | kCgroupExecParent})};
    Write(path + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), "16777216");
    const std::string swap = path + (v1 ? "/memory.memsw.limit_in_bytes" : "/memory.swap.max");
    if (access(swap.c_str(), F_OK) == 0) Write(swap, v1 ? "16777216" : "0");
  }
  void Write(const std::string& path, const std::string& text) {
    const UniqueFd fd = OpenFile(path, O_WRONLY).value();
    ASSERT_EQ(write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size())) << path;
  }
  PlanContents Filtered(std::vector<std::string> argv) {
    PlanContents c = Contents(std::move(argv));
    const SeccompFilter filter =
        CompileSeccomp(*DefaultSeccompProfile(DefaultCapabilities())).value();
    for (const sock_filter& i : filter.program) c.seccomp.push_back({i.code, i.jt, i.jf, i.k});
    c.seccomp_flags = filter.flags;
    return c;
  }
  void ExpectFiltered(const std::string& out) {
    EXPECT_EQ(Fact(out, "getpid"), "ok");
    EXPECT_EQ(Fact(out, "keyctl"), "EPERM");
    EXPECT_EQ(Fact(out, "unshare"), "EPERM");
    EXPECT_EQ(Fact(out, "clone3"), "ENOSYS");  // so that libraries fall back to clone
    EXPECT_EQ(Fact(out, "unknown"), "ENOSYS");
    EXPECT_THAT(Fact(out, "x32 keyctl"), AnyOf("EPERM", "ENOSYS"));
  }
  // On v2 a process is in one cgroup.
  void Use(PlanContents* c) {
    if ((memory_.flags & kCgroupV2) != 0) c->cgroups.clear();
    c->cgroups.push_back(memory_);
  }
  PlanContents::Cgroup memory_;
  const ContainerId id_{"c1"};
};

TEST_F(ConfinementTest, TheRecordTellsOfTheOomKiller) {
  MakeMemoryCgroup();
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "eat", "64"});
  Use(&c);
  PlanContents modest = Contents({"/guest", "eat", "2"});
  Use(&modest);
  const ExitRecord before = RunToExit(ContainerId("modest"), modest);
  EXPECT_EQ(before.exit_code, 0);
  EXPECT_FALSE(before.oom_killed);
  const ExitRecord record = RunToExit(id_, c);
  EXPECT_EQ(record.exit_code, 137);
  EXPECT_EQ(record.signal, SIGKILL);
  EXPECT_TRUE(record.oom_killed);
  const auto records = ReadExitRecords(state_).value();
  for (const auto& [id, r] : records) EXPECT_EQ(r.oom_killed, id == id_) << id.str();
}

TEST_F(ConfinementTest, TheDefaultFilterAnswersWithErrors) {
  StartKeeper(Options());
  EXPECT_EQ(RunToExit(id_, Filtered({"/guest", "calls"})).exit_code, 0);
  ExpectFiltered(Output(id_));
  RunToExit(ContainerId("facts"), Filtered({"/guest", "facts"}));
  EXPECT_EQ(Fact(Output(ContainerId("facts")), "Seccomp"), "2");
}

// Then the filter is installed while SYS_ADMIN is still there, and everything after it passes it.
TEST_F(ConfinementTest, AFilterNeedsNotTheNoNewPrivilegesBit) {
  StartKeeper(Options());
  PlanContents c = Filtered({"/guest", "calls"});
  c.flags &= ~kPlanNoNewPrivs;
  c.user_flags = kUserHasUid | kUserHasGid;
  c.uid = c.gid = 1000;
  EXPECT_EQ(RunToExit(id_, c).exit_code, 0);
  ExpectFiltered(Output(id_));
}

TEST_F(ConfinementTest, ExecsAreFilteredAlsoAfterAHop) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "sleep"})).ok());
  for (const uint32_t flags :
       {uint32_t{kPlanNoNewPrivs}, uint32_t{kPlanNoNewPrivs | kPlanHop}, uint32_t{kPlanHop}}) {
    PlanContents c = Filtered({"/guest", "calls"});
    PlanContents exec = ExecContents({"/guest", "calls"});
    exec.cgroups = cgroups_;
    exec.flags = kPlanExec | kPlanCgroupNamespace | flags;
    exec.seccomp = c.seccomp;
    exec.seccomp_flags = c.seccomp_flags;
    const absl::StatusOr<ExecResult> result =
        keeper_->ExecSync(id_, BuildPlan(exec).value(), 1 << 16, Soon());
    ASSERT_TRUE(result.ok()) << result.status() << flags;
    EXPECT_EQ(result->exit_code, 0);
    ExpectFiltered(result->out);
  }
}

#ifdef __x86_64__
// A filter that does not name x32 kills what calls through it.
TEST_F(ConfinementTest, WithoutX32InTheListItsCallsKill) {
  StartKeeper(Options());
  SeccompProfile profile = *DefaultSeccompProfile(DefaultCapabilities());
  profile.architectures = {NativeSeccompArch()};
  const SeccompFilter filter = CompileSeccomp(profile).value();
  PlanContents c = Contents({"/guest", "calls"});
  for (const sock_filter& i : filter.program) c.seccomp.push_back({i.code, i.jt, i.jf, i.k});
  EXPECT_EQ(RunToExit(id_, c).signal, SIGSYS);
  EXPECT_EQ(Fact(Output(id_), "unknown"), "ENOSYS");
}
#endif

TEST_F(ConfinementTest, APodJoinsTheNetworkNamespaceThatItIsGiven) {
  std::string name;
  UniqueFd ns;
  std::thread([&] {  // a thread of its own, so that ours stays where it is
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    ns = OpenFile("/proc/thread-self/ns/net", O_RDONLY).value();
    char target[64];
    const ssize_t n = readlink("/proc/thread-self/ns/net", target, sizeof target);
    name.assign(target, n > 0 ? n : 0);
  })
      .join();
  KeeperOptions options = Options();
  options.netns_path = absl::StrCat("/proc/self/fd/", ns.get());
  StartKeeper(options);
  RunToExit(id_, Contents({"/guest", "facts"}));
  EXPECT_EQ(Fact(Output(id_), "ns.net"), name);
  KeeperOptions wrong = Options();
  wrong.state_directory = dir_ + "/state2";
  ASSERT_TRUE(MakeDirectories(wrong.state_directory, 0700).ok());
  wrong.netns_path = dir_ + "/no-such-netns";
  EXPECT_EQ(launcher_->Spawn(wrong, Soon()).status().code(), absl::StatusCode::kNotFound);
  wrong.netns_path = "/proc/self/ns/uts";
  EXPECT_THAT(std::string(launcher_->Spawn(wrong, Soon()).status().message()),
              testing::HasSubstr("join network namespace /proc/self/ns/uts"));
}

}  // namespace
}  // namespace berth
