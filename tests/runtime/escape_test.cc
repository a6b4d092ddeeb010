// Known escapes from other runtimes, each as a root file system, a neighbour or a plan that attempts it.
// docs/security.md says which test is about which.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr uint64_t kTracing = 0xa80425fb | 1u << 19;   // and CAP_SYS_PTRACE
constexpr uint64_t kMounting = 0xa80425fb | 1u << 21;  // and CAP_SYS_ADMIN

// Exchanges two names in a row, as a neighbour does that shares a volume.
class Swapper {
 public:
  Swapper(std::string a, std::string b)
      : thread_([this, a = std::move(a), b = std::move(b)] {
          while (!end_) renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
        }) {}
  ~Swapper() {
    end_ = true;
    thread_.join();
  }
  Swapper(const Swapper&) = delete;
  Swapper& operator=(const Swapper&) = delete;

 private:
  std::atomic<bool> end_{false};
  std::thread thread_;
};

class EscapeTest : public RuntimeTest {
 protected:
  absl::StatusOr<CreatedContainer> Create(const PlanContents& c) {
    return keeper_->Create(id_, BuildPlan(c).value(), {}, Soon());
  }
  absl::StatusOr<ExecResult> Exec(PlanContents c) {
    c.cgroups = cgroups_;
    return keeper_->ExecSync(id_, BuildPlan(c).value(), 1 << 20, Soon());
  }
  std::string Directory(const std::string& name) {
    const std::string path = absl::StrCat(dir_, "/", name);
    EXPECT_TRUE(MakeDirectories(path, 0755).ok());
    return path;
  }
  static void Link(const std::string& target, const std::string& path) {
    ASSERT_EQ(symlink(target.c_str(), path.c_str()), 0) << path;
  }
  static void WithoutDev(PlanContents* c) {
    c->devices.clear();
    c->symlinks.clear();
    for (size_t i = c->mounts.size(); i-- > 0;) {
      if (c->mounts[i].target.rfind("/dev", 0) == 0)
        c->mounts.erase(c->mounts.begin() + static_cast<int>(i));
    }
  }
  const ContainerId id_{"c1"};
};

// CVE-2019-5736: the program that starts containers, overwritten from inside by way of /proc/self/exe.
TEST_F(EscapeTest, TheSupervisorsProgramIsNotOverwritten) {
  {
    // Not even while no keeper runs it, which alone would refuse a writer.
    const std::string path = absl::StrCat("/proc/self/fd/", launcher_->binary());
    const UniqueFd writer(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(write(writer.get(), "#!", 2), -1);
    EXPECT_NE(ftruncate(writer.get(), 0), 0);
  }
  StartKeeper(Options());
  Link("/proc/self/exe", rootfs_ + "/entry");
  PlanContents attacker = Contents({"/guest", "clobber", "1500"});
  attacker.capabilities = {kTracing, kTracing, kTracing, 0, 0};
  attacker.flags |= kPlanHop;
  ASSERT_TRUE(CreateAndStart(id_, attacker).ok());
  WaitForOutput(id_, "scanning");
  PlanContents own = ExecContents({"/guest", "exit", "3"});
  own.flags |= kPlanHop;
  const absl::Time end = absl::Now() + absl::Milliseconds(1200);
  while (absl::Now() < end) {
    for (const char* program : {"/entry", "/proc/self/exe"}) {
      const absl::StatusOr<ExecResult> result = Exec(ExecContents({program}));
      ASSERT_TRUE(!result.ok() || result->exit_code != 0);  // not a program of its own
    }
    ASSERT_EQ(Exec(own).value().exit_code, 3);
  }
  EXPECT_EQ(exits_.WaitForExit(id_).exit_code, 0);
  EXPECT_NE(Fact(Output(id_), "seen"), "0");
  EXPECT_EQ(Fact(Output(id_), "written"), "0");
  PlanContents entry = Contents({"/entry"});
  EXPECT_NE(RunToExit(ContainerId("entry"), entry).exit_code, 0);
  EXPECT_EQ(ReadFile(absl::StrCat("/proc/", keeper_->pid(), "/exe")).value(),
            ReadFile(KeeperPath()).value());
}

// CVE-2024-21626: a descriptor of the runtime's as the working directory.
TEST_F(EscapeTest, AWorkingDirectoryIsNoDescriptorOfOurs) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "sleep"});
  for (int fd = 0; fd < 48; ++fd) {
    c.cwd = absl::StrCat("/proc/self/fd/", fd);
    const absl::Status status = Create(c).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("make working directory " + c.cwd));
    const std::string link = absl::StrCat("/link", fd);
    Link(c.cwd, rootfs_ + link);
    c.cwd = link;
    EXPECT_FALSE(Create(c).ok()) << link;
  }
  c.cwd = "/";
  ASSERT_TRUE(CreateAndStart(id_, c).ok());
  PlanContents exec = ExecContents({"/guest", "facts"});
  for (int fd = 0; fd < 48; ++fd) {
    for (const char* way : {"/proc/self/fd/", "/link"}) {
      exec.cwd = absl::StrCat(way, fd);
      const absl::Status status = Exec(exec).status();
      EXPECT_THAT(std::string(status.message()), HasSubstr("enter working directory " + exec.cwd));
    }
  }
}

// The same, swapped in after the directory was looked at.
TEST_F(EscapeTest, ASwappedWorkingDirectoryLeadsNowhereElse) {
  StartKeeper(Options());
  const std::string outside = absl::StrCat("../../../../../../../../../..", dir_, "/state");
  for (int fd = 3; fd < 24; ++fd) {
    const std::string volume = Directory(absl::StrCat("volume", fd));
    Directory(absl::StrCat("volume", fd, "/w"));
    Link(absl::StrCat("/proc/self/fd/", fd), volume + "/link");
    const Swapper swapper(volume + "/w", volume + "/link");
    PlanContents c = Contents({"/guest", "facts", outside});
    c.mounts.push_back({MountKind::kBind, volume, "/volume"});
    c.cwd = "/volume/w";
    for (int i = 0; i < 4; ++i) {
      const ContainerId id(absl::StrCat("c", fd, "-", i));
      const absl::StatusOr<CreatedContainer> created =
          keeper_->Create(id, BuildPlan(c).value(), {}, Soon());
      if (!created.ok()) continue;
      if (keeper_->Start(id, OpenLog(id), Soon()).ok()) {
        EXPECT_EQ(exits_.WaitForExit(id).exit_code, 0);
        EXPECT_THAT(Fact(Output(id), "cwd"), StartsWith("/"));
        EXPECT_THAT(Fact(Output(id), "path " + outside), StartsWith("error"));
      } else {
        exits_.WaitForExit(id);
      }
      ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
    }
  }
}

// CVE-2021-30465: the target of a mount becomes a link while containers start.
TEST_F(EscapeTest, ASwappedMountTargetStaysInside) {
  StartKeeper(Options());
  const std::string victim = Directory("victim"), inner = Directory("inner");
  const std::string volume = Directory("volume");
  Directory("volume/target");
  Link(victim, volume + "/link");
  PlanContents c = Contents({"/guest", "sleep"});
  c.mounts.push_back({MountKind::kBind, volume, "/volume"});
  c.mounts.push_back({MountKind::kBind, inner, "/volume/target/deep"});
  const std::string straight = volume + "/target/deep", beneath = rootfs_ + victim + "/deep";
  const std::string other = volume + "/link/deep";
  const auto exists = [](const std::string& path) { return access(path.c_str(), F_OK) == 0; };
  const absl::Time end = Soon();
  {
    const Swapper swapper(volume + "/target", volume + "/link");
    bool was_directory = false, was_link = false;
    while (!(was_directory && was_link) && absl::Now() < end) {
      const absl::StatusOr<CreatedContainer> created = Create(c);
      if (created.ok()) {
        ASSERT_TRUE(keeper_->Forget(id_, Soon()).ok());
      }
      was_link = was_link || exists(beneath);
      was_directory = was_directory || exists(straight) || exists(other);
    }
    EXPECT_TRUE(was_directory && was_link);
    for (int i = 0; i < 100; ++i) {
      if (Create(c).ok()) {
        ASSERT_TRUE(keeper_->Forget(id_, Soon()).ok());
      }
    }
  }
  EXPECT_TRUE(ListDirectory(victim)->empty());
  EXPECT_THAT(ReadFile("/proc/self/mountinfo").value(), Not(HasSubstr(dir_)));
}

// CVE-2019-16884, CVE-2025-52881: what looks like /proc is a tree of the container's making.
TEST_F(EscapeTest, WritesReachTheKernelsProcOnly) {
  StartKeeper(Options());
  const std::string fake = Directory("fake");
  for (const char* d :
       {"/self/attr/apparmor", "/1/attr", "/thread-self", "/sys/kernel", "/self/ns"})
    Directory(absl::StrCat("fake", d));
  const std::vector<std::string> baits = {
      fake + "/self/oom_score_adj", fake + "/1/oom_score_adj",   fake + "/sys/kernel/sem",
      fake + "/self/attr/exec",     fake + "/self/attr/current", fake + "/self/attr/apparmor/exec"};
  for (const std::string& bait : baits) ASSERT_TRUE(WriteFileAtomically(bait, "bait", 0666).ok());
  PlanContents c = Contents({"/guest", "sleep"});
  c.mounts[0] = {MountKind::kBind, fake, "/proc"};  // as a volume there replaces the usual mount
  c.oom_score_adj = 321;
  c.sysctls = {{"kernel/sem", "100 200 300 400"}};
  ASSERT_TRUE(CreateAndStart(id_, c).ok());
  PlanContents exec = ExecContents({"/guest", "exit", "3"});
  exec.oom_score_adj = 500;
  EXPECT_EQ(Exec(exec).value().exit_code, 3);
  for (const std::string& bait : baits) EXPECT_EQ(ReadFile(bait).value(), "bait") << bait;
  const pid_t pid = keeper_->List(Soon()).value()[0].pid;
  EXPECT_EQ(ReadFile(absl::StrCat("/proc/", pid, "/oom_score_adj")).value(), "321\n");
  std::string sem;
  std::thread([&] {  // the file shows the reader's own
    const UniqueFd ipc = OpenFile(absl::StrCat("/proc/", pid, "/ns/ipc"), O_RDONLY).value();
    ASSERT_EQ(setns(ipc.get(), CLONE_NEWIPC), 0);
    sem = ReadFile("/proc/sys/kernel/sem").value();
  })
      .join();
  EXPECT_EQ(sem, "100\t200\t300\t400\n");
}

// CVE-2019-19921, CVE-2023-27561: a link leads a mount into /proc, or /proc elsewhere.
TEST_F(EscapeTest, NoLinkLeadsAMountIntoProc) {
  StartKeeper(Options());
  const std::string inner = Directory("inner");
  const std::string file = dir_ + "/file";
  ASSERT_TRUE(WriteFileAtomically(file, "x", 0644).ok());
  for (const auto& [link, target] :
       {std::make_pair("/proc/sys", "/l/kernel"), std::make_pair("/proc/self", "/l/attr"),
        std::make_pair("/proc", "/l/uptime")}) {
    Link(link, rootfs_ + "/l");
    PlanContents c = Contents({"/guest", "sleep"});
    const bool is_file = std::string(target) == "/l/uptime";
    c.mounts.push_back({MountKind::kBind, is_file ? file : inner, target});
    const absl::Status status = Create(c).status();
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat(" at ", target, ": make the mount point: Operation not")));
    unlink((rootfs_ + "/l").c_str());
  }
}

// CVE-2025-31133: what masks is the host's null device, whatever /dev/null is inside.
TEST_F(EscapeTest, ThatWhichMasksIsNotOfTheContainersMaking) {
  StartKeeper(Options());
  Directory("rootfs/dev");
  Link("/etc/passwd", rootfs_ + "/dev/null");
  ASSERT_TRUE(WriteFileAtomically(rootfs_ + "/dev/other", "text", 0666).ok());
  PlanContents c = Contents({"/guest", "facts", "/proc/keys", "/dev/null"});
  WithoutDev(&c);
  const Swapper swapper(rootfs_ + "/dev/null", rootfs_ + "/dev/other");
  for (int i = 0; i < 20; ++i) {
    const ContainerId id(absl::StrCat("c", i));
    EXPECT_EQ(RunToExit(id, c).exit_code, 0);
    const std::string out = Output(id);
    EXPECT_THAT(Fact(out, "path /proc/keys"), StartsWith("chr ")) << out;
    EXPECT_THAT(Fact(out, "path /proc/keys"), HasSubstr("read 0"));
    EXPECT_THAT(Fact(out, "path /dev/null"), Not(StartsWith("chr ")));
    ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
  }
}

// CVE-2025-52565: a terminal mounted on something else than /dev/console.
TEST_F(EscapeTest, AConsoleThatLeadsIntoProcIsRefused) {
  StartKeeper(Options());
  Directory("rootfs/dev/pts");
  PlanContents c = Contents({"/guest", "sleep"});
  const PlanContents::Mount devpts = c.mounts[2];
  WithoutDev(&c);
  c.mounts.push_back(devpts);
  c.flags |= kPlanTerminal;
  for (const char* target : {"/proc/uptime", "/proc/sys/kernel/core_pattern"}) {
    Link(target, rootfs_ + "/dev/console");
    const absl::Status status = Create(c).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("open the terminal (9): Operation not"));
    unlink((rootfs_ + "/dev/console").c_str());
  }
  ASSERT_TRUE(CreateAndStart(id_, c).ok());
}

// The same for execs: the container has put something else where its terminals come from.
TEST_F(EscapeTest, ATerminalComesFromARealDevpts) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "mount", "/dev/pts"});
  c.capabilities = {kMounting, kMounting, kMounting, 0, 0};
  ASSERT_TRUE(CreateAndStart(id_, c).ok());
  WaitForOutput(id_, "mounted=ok");
  const std::string pts =
      absl::StrCat("/proc/", keeper_->List(Soon()).value()[0].pid, "/root/dev/pts");
  PlanContents exec = ExecContents({"/guest", "exit"});
  exec.flags |= kPlanTerminal;
  for (const bool pipe : {true, false}) {
    if (pipe) {
      ASSERT_EQ(mkfifo((pts + "/ptmx").c_str(), 0666), 0);
    } else {
      ASSERT_EQ(unlink((pts + "/ptmx").c_str()), 0);
      ASSERT_TRUE(WriteFileAtomically(pts + "/ptmx", "", 0666).ok());
    }
    const absl::Status status = Exec(exec).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("open the terminal (0): Inappropriate"));
  }
}

}  // namespace
}  // namespace berth
