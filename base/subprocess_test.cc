#include "base/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

SubprocessOptions Shell(const std::string& script) {
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", script};
  options.environment = {"PATH=/usr/bin:/bin"};
  return options;
}

SubprocessResult RunProgram(const SubprocessOptions& options,
                            absl::Duration timeout = absl::Seconds(20)) {
  absl::StatusOr<SubprocessResult> result = RunSubprocess(options, absl::Now() + timeout);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.value_or(SubprocessResult{});
}

bool HasChildren() {
  siginfo_t info = {};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

// True once the process is gone or a zombie that its reaper hasn't taken yet.
bool Dies(pid_t pid) {
  for (int i = 0; i < 200; ++i) {
    if (kill(pid, 0) != 0) return true;
    const std::string stat = absl::StrCat("/proc/", pid, "/stat");
    if (FILE* file = fopen(stat.c_str(), "r"); file != nullptr) {
      char state = 0;
      const int fields = fscanf(file, "%*d (%*[^)]) %c", &state);
      fclose(file);
      if (fields == 1 && state == 'Z') return true;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return false;
}

TEST(SubprocessTest, OutputErrorAndExitCodeComeBack) {
  const SubprocessResult result = RunProgram(Shell("echo out; echo err >&2; exit 3"));
  EXPECT_EQ(result.stdout_data, "out\n");
  EXPECT_EQ(result.stderr_tail, "err\n");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.signal, 0);
  EXPECT_FALSE(HasChildren());
}

TEST(SubprocessTest, LargeStdinArrivesWholeAndAnUnreadOneHarmsNobody) {
  SubprocessOptions options = Shell("wc -c; head -c 3 /dev/stdin");
  options.stdin_data = std::string(300000, 'x');
  EXPECT_EQ(RunProgram(options).stdout_data, "300000\nxxx");
  options.argv[2] = "true";
  EXPECT_EQ(RunProgram(options).exit_code, 0);
}

TEST(SubprocessTest, EnvironmentAndDescriptorsAreExactlyThoseGiven) {
  const int leaked = open("/dev/null", O_RDONLY);  // Without O_CLOEXEC.
  SubprocessOptions options = Shell("env | grep -v ^PWD= | grep -v ^_=; ls /proc/self/fd | wc -l");
  options.environment.push_back("A=b c");
  // 0, 1, 2 and the directory that ls reads.
  EXPECT_EQ(RunProgram(options).stdout_data, "A=b c\nPATH=/usr/bin:/bin\n4\n");
  close(leaked);
}

TEST(SubprocessTest, SignalsAreUnblockedAndDefault) {
  signal(SIGUSR1, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  EXPECT_EQ(RunProgram(Shell("kill -USR1 $$")).signal, SIGUSR1);
  EXPECT_EQ(RunProgram(Shell("kill -USR2 $$")).signal, SIGUSR2);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  signal(SIGUSR1, SIG_DFL);
}

TEST(SubprocessTest, AMissingProgramIsAnError) {
  SubprocessOptions options;
  options.argv = {"/nonexistent/program"};
  const absl::Status status = RunSubprocess(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "spawn /nonexistent/program: No such file or directory");
  EXPECT_FALSE(HasChildren());
}

TEST(SubprocessTest, TheDeadlineKillsTheGroupAndWhatLeftIt) {
  const absl::Time start = absl::Now();
  const SubprocessResult result = RunProgram(
      Shell("sleep 100 & echo $!; setsid sleep 100 & echo $!; wait"), absl::Milliseconds(150));
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.signal, SIGKILL);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_FALSE(HasChildren());
  pid_t in_group = 0;
  pid_t in_session = 0;
  ASSERT_EQ(sscanf(result.stdout_data.c_str(), "%d %d", &in_group, &in_session), 2);
  EXPECT_TRUE(Dies(in_group));
  EXPECT_TRUE(Dies(in_session));
}

TEST(SubprocessTest, TooMuchOutputKills) {
  SubprocessOptions options =
      Shell("while :; do echo 0123456789012345678901234567890123456789; done");
  options.stdout_limit = 100000;
  const SubprocessResult result = RunProgram(options);
  EXPECT_TRUE(result.output_too_large);
  EXPECT_LE(result.stdout_data.size(), 100000);
  EXPECT_FALSE(HasChildren());
}

TEST(SubprocessTest, OfStderrTheTailIsKept) {
  SubprocessOptions options =
      Shell("i=0; while [ $i -lt 2000 ]; do echo line$i >&2; i=$((i+1)); done");
  options.stderr_tail = 9;
  EXPECT_EQ(RunProgram(options).stderr_tail, "line1999\n");
}

TEST(SubprocessTest, ADescendantThatHoldsThePipesDelaysNothing) {
  const absl::Time start = absl::Now();
  const SubprocessResult result = RunProgram(Shell("sleep 100 & echo $!"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_EQ(result.exit_code, 0);
  pid_t left = 0;
  ASSERT_TRUE(absl::SimpleAtoi(result.stdout_data, &left));
  EXPECT_EQ(kill(left, SIGKILL), 0);
}

}  // namespace
}  // namespace berth
