// Logs that stall, fill up or lose their writer: nothing but output waits for them.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

class LogTest : public RuntimeTest {
 protected:
  absl::Status Start(const ContainerId& id, const std::vector<std::string>& argv, UniqueFd log) {
    PlanContents c = Contents(argv);
    const auto created = keeper_->Create(id, BuildPlan(c).value(), {}, Soon());
    if (!created.ok()) return created.status();
    return keeper_->Start(id, std::move(log), Soon());
  }
  int ExecExit(const ContainerId& id) {
    PlanContents c = ExecContents({"/guest", "exit", "4"});
    c.cgroups = cgroups_;
    const absl::StatusOr<ExecResult> result =
        keeper_->ExecSync(id, BuildPlan(c).value(), 100, Soon());
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->exit_code : -1;
  }
  // With `id` flooding a log that takes nothing: execs, other containers, exits and the pod's end go on.
  void ExpectThePodGoesOn(const ContainerId& id) {
    usleep(100000);  // time for the writer to run into it; none of what follows depends on that
    const absl::Time before = absl::Now();
    EXPECT_EQ(ExecExit(id), 4);
    const ContainerId other("other");
    ASSERT_TRUE(CreateAndStart(other, Contents({"/guest", "sleep"})).ok());
    EXPECT_EQ(ExecExit(other), 4);
    EXPECT_LT(absl::Now() - before, absl::Seconds(1));
    ASSERT_TRUE(keeper_->Signal(id, SIGKILL, Soon()).ok());
    const ExitRecord record = exits_.WaitForExit(id);
    EXPECT_EQ(record.exit_code, 137);
    EXPECT_TRUE(record.log_lost);
    EXPECT_TRUE(keeper_->Forget(id, Soon()).ok());
    ASSERT_TRUE(keeper_->Signal(other, SIGKILL, Soon()).ok());
    const ExitRecord silent = exits_.WaitForExit(other);
    EXPECT_EQ(silent.exit_code, 137);
    EXPECT_FALSE(silent.log_lost);
    EXPECT_TRUE(keeper_->Forget(other, Soon()).ok());
    EXPECT_TRUE(keeper_->Shutdown(Soon()).ok());
    EXPECT_LT(absl::Now() - before, absl::Seconds(5));
    watcher_->Unwatch(pod_);
    keeper_.reset();
  }
  static std::vector<pid_t> Writers(pid_t keeper) {
    const std::string children =
        ReadFile(absl::StrCat("/proc/", keeper, "/task/", keeper, "/children")).value();
    std::vector<pid_t> writers;
    for (absl::string_view word : absl::StrSplit(children, ' ', absl::SkipWhitespace())) {
      if (absl::StartsWith(ReadFile(absl::StrCat("/proc/", word, "/comm")).value_or(""),
                           "berth-log"))
        writers.push_back(std::atoi(std::string(word).c_str()));
    }
    return writers;
  }
  static pid_t Writer(pid_t keeper) {
    const std::vector<pid_t> writers = Writers(keeper);
    return writers.empty() ? 0 : writers[0];
  }
  // The writer that follows `last`; 0 after ten seconds.
  static pid_t NextWriter(pid_t keeper, pid_t last) {
    for (int i = 0; i < 1000; ++i) {
      const std::vector<pid_t> writers = Writers(keeper);
      if (writers.size() == 1 && writers[0] != last) return writers[0];
      usleep(10000);
    }
    return 0;
  }
  const ContainerId id_{"c1"};
};

TEST_F(LogTest, AFullPipeStallsNothingElse) {
  StartKeeper(Options());
  const std::string path = dir_ + "/fifo";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  UniqueFd reader = OpenFile(path, O_RDWR | O_NONBLOCK).value();
  ASSERT_TRUE(
      Start(id_, {"/guest", "flood", "1000000"}, OpenFile(path, O_WRONLY | O_APPEND).value()).ok());
  ExpectThePodGoesOn(id_);
}

TEST_F(LogTest, AFrozenDiskStallsNothingElse) {
  StartKeeper(Options());
  const std::string image = dir_ + "/image", mountpoint = dir_ + "/disk";
  ASSERT_TRUE(MakeDirectories(mountpoint, 0755).ok());
  if (system(absl::StrCat("truncate -s 16M ", image, " && mkfs.ext4 -q ", image,
                          " && mount -o loop ", image, " ", mountpoint)
                 .c_str()) != 0) {
    GTEST_SKIP() << "no loop mounts here";
  }
  const absl::Cleanup unmount = [&] {
    for (int i = 0; i < 500 && umount(mountpoint.c_str()) != 0; ++i) usleep(10000);
  };
  UniqueFd disk = OpenFile(mountpoint, O_RDONLY | O_DIRECTORY).value();
  ASSERT_TRUE(Start(id_, {"/guest", "flood", "1000000"},
                    OpenFile(mountpoint + "/log", O_WRONLY | O_CREAT | O_APPEND, 0600).value())
                  .ok());
  ASSERT_EQ(ioctl(disk.get(), FIFREEZE, 0), 0);
  const absl::Cleanup thaw = [&] {
    ioctl(disk.get(), FITHAW, 0);
    disk.reset();
  };
  ExpectThePodGoesOn(id_);
}

TEST_F(LogTest, AFullDiskIsInTheRecord) {
  StartKeeper(Options());
  ASSERT_TRUE(
      Start(id_, {"/guest", "write", "text\n"}, OpenFile("/dev/full", O_WRONLY | O_APPEND).value())
          .ok());
  const ExitRecord record = exits_.WaitForExit(id_);
  EXPECT_EQ(record.exit_code, 0);
  EXPECT_TRUE(record.log_lost);
  EXPECT_FALSE(RunToExit(ContainerId("c2"), Contents({"/guest", "write", "text\n"})).log_lost);
}

TEST_F(LogTest, AnotherWriterTakesOver) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "term"})).ok());
  WaitForOutput(id_, "ready\n");
  const pid_t first = Writer(keeper_->pid());
  ASSERT_GT(first, 0);
  ASSERT_EQ(kill(first, SIGKILL), 0);
  const pid_t second = NextWriter(keeper_->pid(), first);
  ASSERT_GT(second, 0);
  // A new program has a writer of its own.
  ASSERT_TRUE(keeper_->Reexec(launcher_->binary(), Soon()).ok());
  ASSERT_GT(NextWriter(keeper_->pid(), second), 0);
  ASSERT_TRUE(keeper_->Signal(id_, SIGTERM, Soon()).ok());
  const ExitRecord record = exits_.WaitForExit(id_);
  EXPECT_EQ(record.exit_code, 7);
  EXPECT_FALSE(record.log_lost);  // neither was at work
  EXPECT_EQ(Output(id_), "ready\nover\n");
}

// The keeper finds the request first, and hears of its writer's end after it.
class DeadWriterTest : public LogTest {
 protected:
  void SetUp() override {
    LogTest::SetUp();
    StartKeeper(Options());
    ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "term"})).ok());
    WaitForOutput(id_, "ready\n");
    container_ = keeper_->List(Soon()).value()[0].pid;
  }
  static void WaitForState(pid_t pid, char state) {
    const std::string path = absl::StrCat("/proc/", pid, "/stat");
    const absl::Time deadline = Soon();
    while (absl::Now() < deadline) {
      const std::string stat = ReadFile(path).value_or("");
      const size_t name = stat.rfind(") ");
      if (name != std::string::npos && stat[name + 2] == state) return;
      usleep(1000);
    }
    FAIL() << pid << " is not in state " << state;
  }
  void StopKeeper() {
    ASSERT_EQ(kill(keeper_->pid(), SIGSTOP), 0);
    WaitForState(keeper_->pid(), 'T');
  }
  void KillWriter() {
    const pid_t writer = Writer(keeper_->pid());
    ASSERT_GT(writer, 0);
    ASSERT_EQ(kill(writer, SIGKILL), 0);
    WaitForState(writer, 'Z');
  }
  template <typename Request>
  void AskAndKillWriter(Request request) {
    StopKeeper();
    std::thread asking(request);
    usleep(200000);  // for it to be sent; the test holds without, but proves less
    KillWriter();
    keeper_->Continue();
    asking.join();
  }
  pid_t container_ = 0;
};

TEST_F(DeadWriterTest, AReopenGoesToTheNextWriter) {
  const ContainerId second("second-log");
  absl::Status reopened;
  AskAndKillWriter([&] { reopened = keeper_->ReopenLog(id_, OpenLog(second), Soon()); });
  EXPECT_TRUE(reopened.ok()) << reopened;
  ASSERT_TRUE(keeper_->Signal(id_, SIGTERM, Soon()).ok());
  EXPECT_FALSE(exits_.WaitForExit(id_).log_lost);
  EXPECT_EQ(Output(id_), "ready\n");
  EXPECT_EQ(Output(second), "over\n");
}

TEST_F(DeadWriterTest, AnAttachGoesToTheNextWriter) {
  absl::StatusOr<Keeper::Attachment> attached = absl::UnknownError("");
  AskAndKillWriter([&] { attached = keeper_->Attach(id_, false, Soon()); });
  ASSERT_TRUE(attached.ok()) << attached.status();
  ASSERT_TRUE(keeper_->Signal(id_, SIGTERM, Soon()).ok());
  char message[64];
  const ssize_t n = recv(attached->output.get(), message, sizeof message, 0);
  ASSERT_GT(n, 0);
  EXPECT_EQ(absl::string_view(message + 1, static_cast<size_t>(n) - 1), "over\n");
  exits_.WaitForExit(id_);
}

TEST_F(DeadWriterTest, TheRestOfAnExitGoesToTheNextWriter) {
  StopKeeper();
  KillWriter();
  ASSERT_EQ(kill(container_, SIGTERM), 0);
  WaitForState(container_, 'Z');
  keeper_->Continue();
  EXPECT_FALSE(exits_.WaitForExit(id_).log_lost);
  EXPECT_EQ(Output(id_), "ready\nover\n");
}

TEST_F(LogTest, AStalledLogStallsNoOtherLog) {
  StartKeeper(Options());
  const ContainerId other("other"), late("late");
  ASSERT_TRUE(CreateAndStart(other, Contents({"/guest", "halves"})).ok());
  const std::string path = dir_ + "/fifo";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  UniqueFd reader = OpenFile(path, O_RDWR | O_NONBLOCK).value();
  ASSERT_TRUE(
      Start(id_, {"/guest", "flood", "1000000"}, OpenFile(path, O_WRONLY | O_APPEND).value()).ok());
  for (int i = 0; i < 1000 && Writers(keeper_->pid()).size() < 2; ++i) usleep(10000);
  ASSERT_EQ(Writers(keeper_->pid()).size(), 2u);
  // Half of this line was read by the one writer, half by the other.
  ASSERT_TRUE(keeper_->Signal(other, SIGTERM, Soon()).ok());
  EXPECT_FALSE(exits_.WaitForExit(other).log_lost);
  EXPECT_EQ(Output(other), "half a line\n");
  EXPECT_FALSE(RunToExit(late, Contents({"/guest", "split"})).log_lost);
  EXPECT_EQ(Output(late), "one line\nerror\nlast");
  EXPECT_EQ(Writers(keeper_->pid()).size(), 2u);
  // What was stuck goes on where it was, once it can.
  std::string text;
  char buffer[65536];
  const absl::Time deadline = Soon();
  while (!absl::StrContains(text, " line 20000\n") && absl::Now() < deadline) {
    const ssize_t n = read(reader.get(), buffer, sizeof buffer);
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    if (n < 0) usleep(1000);
  }
  size_t at = 0;
  for (int i = 0; i <= 20000; ++i) {
    at = text.find(absl::StrCat(" line ", i, "\n"), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  ASSERT_TRUE(keeper_->Signal(id_, SIGKILL, Soon()).ok());
  exits_.WaitForExit(id_);
  for (const ContainerId& id : {id_, other, late}) EXPECT_TRUE(keeper_->Forget(id, Soon()).ok());
}

TEST_F(LogTest, TheWriterEndsWithItsKeeper) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "sleep"})).ok());
  const std::string writer = absl::StrCat("/proc/", Writer(keeper_->pid()));
  const pid_t container = keeper_->List(Soon()).value()[0].pid;
  kill(keeper_->pid(), SIGKILL);
  exits_.WaitForDeath(pod_);
  kill(container, SIGKILL);
  for (int i = 0; i < 500 && access(writer.c_str(), F_OK) == 0; ++i) usleep(10000);
  EXPECT_NE(access(writer.c_str(), F_OK), 0);
}

// Nanoseconds of CPU that the process has used (Documentation/scheduler/sched-stats.rst).
int64_t CpuNanoseconds(pid_t pid) {
  return atoll(ReadFile(absl::StrCat("/proc/", pid, "/schedstat")).value_or("").c_str());
}

TEST_F(LogTest, AClosedOutputCostsNothing) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(id_, Contents({"/guest", "silent"})).ok());
  const pid_t writer = Writer(keeper_->pid());
  usleep(300000);  // the container closes its streams, the writer gives its buffer back
  const int64_t before = CpuNanoseconds(writer);
  usleep(300000);
  EXPECT_GT(before, 0);
  EXPECT_LT(CpuNanoseconds(writer) - before, 10'000'000);
}

// One container ends and another takes its place before the writer has heard of either. What it hears first
// differs.
TEST_F(LogTest, TheEndOfOneContainerIsNotTheNextOnes) {
  StartKeeper(Options());
  for (int i = 0; i < 5; ++i) {
    const ContainerId id(absl::StrCat("ends", i));
    ASSERT_TRUE(CreateAndStart(id, Contents({"/guest", "sleep"})).ok());
    const pid_t writer = Writer(keeper_->pid());
    ASSERT_NE(writer, 0);
    ASSERT_EQ(kill(writer, SIGSTOP), 0);
    ASSERT_TRUE(keeper_->Signal(id, SIGKILL, Soon()).ok());
    EXPECT_EQ(exits_.WaitForExit(id).exit_code, 137);
    ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
    const ContainerId next(absl::StrCat("next", i));
    ASSERT_TRUE(CreateAndStart(next, Contents({"/guest", "term"})).ok());
    ASSERT_EQ(kill(writer, SIGCONT), 0);
    WaitForOutput(next, "ready\n");
    ASSERT_TRUE(keeper_->Signal(next, SIGTERM, Soon()).ok());
    EXPECT_EQ(exits_.WaitForExit(next).exit_code, 7);
    ASSERT_TRUE(keeper_->Forget(next, Soon()).ok());
  }
}

TEST_F(LogTest, OutputWithoutALogIsDroppedUntilThereIsOne) {
  StartKeeper(Options());
  ASSERT_TRUE(Start(id_, {"/guest", "term"}, {}).ok());
  usleep(100000);
  ASSERT_TRUE(keeper_->ReopenLog(id_, OpenLog(id_), Soon()).ok());
  ASSERT_TRUE(keeper_->Signal(id_, SIGTERM, Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(id_).exit_code, 7);
  EXPECT_EQ(Output(id_), "over\n");
}

// Both processes of a pod in all, proportional set size in KiB.
TEST_F(LogTest, TenPodsAreSmall) {
  std::vector<std::shared_ptr<Keeper>> keepers;
  for (int i = 0; i < 10; ++i) {
    KeeperOptions options = Options();
    options.pod = PodId(absl::StrCat("pod", i));
    options.state_directory = absl::StrCat(dir_, "/state", i);
    ASSERT_TRUE(MakeDirectories(options.state_directory, 0700).ok());
    keepers.push_back(launcher_->Spawn(options, Soon()).value());
    keeper_ = keepers.back();
    ASSERT_TRUE(
        CreateAndStart(ContainerId(absl::StrCat("c", i)), Contents({"/guest", "term"})).ok());
    WaitForOutput(ContainerId(absl::StrCat("c", i)), "ready\n");
    ASSERT_EQ(ExecExit(ContainerId(absl::StrCat("c", i))), 4);
  }
  keeper_.reset();
  usleep(500000);  // writers give their buffers back
  int total = 0;
  for (const std::shared_ptr<Keeper>& keeper : keepers) {
    for (const pid_t pid : {keeper->pid(), Writer(keeper->pid())}) {
      const std::string rollup = ReadFile(absl::StrCat("/proc/", pid, "/smaps_rollup")).value();
      const int pss = std::atoi(rollup.c_str() + rollup.find("\nPss:") + 5);
      total += pss;
      if (keeper == keepers.back())
        std::printf("%s: Pss %d KiB\n", pid == keeper->pid() ? "keeper" : "writer", pss);
    }
  }
  std::printf("per pod: %d KiB\n", total / 10);
  EXPECT_LE(total / 10, 100);
  for (size_t i = 0; i < keepers.size(); ++i) {
    const ContainerId id(absl::StrCat("c", i));
    EXPECT_TRUE(keepers[i]->Signal(id, SIGKILL, Soon()).ok());
    while (keepers[i]->Forget(id, Soon()).code() == absl::StatusCode::kFailedPrecondition)
      usleep(1000);
    EXPECT_TRUE(keepers[i]->Shutdown(Soon()).ok());
  }
}

}  // namespace
}  // namespace berth
