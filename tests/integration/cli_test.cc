// The verbs of `berth` that people sit in front of: exec, attach, logs -f, forward, events.
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMostOutput = 1 << 20;

class CliTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    berth_ = FindOwnProgram("berth");
    ASSERT_NE(berth_, "");
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  std::string Run(const std::string& script, bool in = false) {
    cri::ContainerConfig config = ContainerConfig("c", {"sh", "-c", script});
    config.set_stdin(in);
    absl::StatusOr<std::string> id = CreateAndStart(pod_, config);
    EXPECT_OK(id);
    return id.value_or("");
  }
  // `$berth` in `script` is the program with its address.
  CommandResult Sh(const std::string& script) {
    const auto result = RunCommand(
        {"sh", "-c",
         absl::StrCat("berth='", berth_, " --address ", daemon_.socket(), "'; ", script)});
    EXPECT_OK(result);
    return result.value_or(CommandResult());
  }
  // `berth ARGUMENTS` in the background; its output grows in Output(name).
  std::unique_ptr<Program> Start(std::vector<std::string> arguments, const std::string& name) {
    arguments.insert(arguments.begin(), {berth_, "--address", daemon_.socket()});
    auto program = Program::Start(arguments, OutputPath(name));
    EXPECT_OK(program);
    return *std::move(program);
  }
  std::string OutputPath(const std::string& name) { return daemon_.directory() + "/" + name; }
  std::string Output(const std::string& name) {
    return ReadFile(OutputPath(name), kMostOutput).value_or("");
  }
  bool WaitForOutput(const std::string& name, const std::string& text) {
    for (int i = 0; i < 2000; ++i) {
      if (absl::StrContains(Output(name), text)) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << name << " has no " << text << ": " << Output(name);
    return false;
  }

  std::string berth_;
  TestPod pod_;
};

TEST_F(CliTest, ExecHasTheExitCodeAndBothStreams) {
  const std::string id = Run("sleep 1000");
  const std::string command = "$berth exec " + id + " -- sh -c 'echo out; echo err >&2; exit 7'";
  EXPECT_EQ(Sh(command + " 2>/dev/null").output, "out\n");
  EXPECT_EQ(Sh(command + " 2>&1 >/dev/null").output, "err\n");
  EXPECT_EQ(Sh(command).exit_code, 7);
  EXPECT_EQ(Sh("$berth exec " + id + " true </dev/null").exit_code, 0);
  const CommandResult missing = Sh("$berth exec " + id + " /no/such");
  EXPECT_NE(missing.exit_code, 0);
  EXPECT_THAT(missing.output, HasSubstr("/no/such"));
}

TEST_F(CliTest, ExecTakesStdinToItsEnd) {
  const std::string id = Run("sleep 1000");
  EXPECT_EQ(Sh("printf abc | $berth exec -i " + id + " cat").output, "abc");
  EXPECT_EQ(Sh("head -c 5000000 /dev/zero | $berth exec -i " + id + " wc -c").output, "5000000\n");
}

// A terminal whose other end is this test, with `berth exec -it CONTAINER sh` on it.
struct Terminal {
  UniqueFd master;
  pid_t pid = -1;
  std::string seen;

  termios Mode() const {
    termios mode{};
    tcgetattr(master.get(), &mode);
    return mode;
  }
  // Reads until `text`; false after a while, or at the end.
  bool ReadUntil(const std::string& text) {
    for (int i = 0; i < 2000 && !absl::StrContains(seen, text); ++i) {
      char buffer[4096];
      const ssize_t n = read(master.get(), buffer, sizeof buffer);
      if (n > 0) seen.append(buffer, static_cast<size_t>(n));
      if (n <= 0) absl::SleepFor(absl::Milliseconds(10));
    }
    return absl::StrContains(seen, text);
  }
  int Wait() const {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
  }
};

TEST_F(CliTest, TheTerminalIsAsItWasOnEachWayOut) {
  const std::string id = Run("sleep 1000"), address = daemon_.socket();
  for (const int signal : {0, SIGINT, SIGTERM, SIGHUP}) {
    Terminal terminal;
    int master = -1, slave = -1;
    winsize size{};
    size.ws_row = 33;
    size.ws_col = 99;
    ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, &size), 0);
    terminal.master.reset(master);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(master, F_SETFL, O_NONBLOCK);
    const UniqueFd held(slave);  // else the end of the program would hang it up
    const termios before = terminal.Mode();
    terminal.pid = fork();
    if (terminal.pid == 0) {
      login_tty(slave);
      execl(berth_.c_str(), "berth", "--address", address.c_str(), "exec", "-it", id.c_str(), "sh",
            nullptr);
      _exit(127);
    }
    EXPECT_EQ(write(master, "stty size\r", 10), 10);
    EXPECT_TRUE(terminal.ReadUntil("33 99")) << terminal.seen;
    EXPECT_EQ(terminal.Mode().c_lflag & (ICANON | ECHO), 0u);
    if (signal == 0) {
      EXPECT_EQ(write(master, "exit 3\r", 7), 7);
    } else {
      kill(terminal.pid, signal);
    }
    const int status = terminal.Wait();
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, signal == 0 ? 3 : 128 + signal);
    const termios after = terminal.Mode();
    EXPECT_EQ(after.c_lflag, before.c_lflag) << signal;
    EXPECT_EQ(after.c_iflag, before.c_iflag) << signal;
    EXPECT_EQ(after.c_oflag, before.c_oflag) << signal;
  }
}

TEST_F(CliTest, AttachSpeaksAndHears) {
  const std::string id = Run("read -r l; echo got $l", true);
  const CommandResult result = Sh("(echo hello; sleep 2) | $berth attach -i " + id);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, "got hello\n");
}

TEST_F(CliTest, LogsAreFollowedOverARotationToTheEnd) {
  const std::string id =
      Run("i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.01; done");
  const auto logs = Start({"logs", "-f", id}, "followed");
  ASSERT_TRUE(WaitForOutput("followed", "line 20\n"));
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus container, cri().ContainerStatus(id));
  const std::string& log = container.log_path();
  ASSERT_EQ(rename(log.c_str(), (log + ".1").c_str()), 0);
  cri::ReopenContainerLogRequest reopen;
  reopen.set_container_id(id);
  ASSERT_OK(cri().Call(&CriClient::Runtime::ReopenContainerLog, reopen).status());
  ASSERT_OK_AND_ASSIGN(const int status, logs->Wait(absl::Seconds(30)));
  EXPECT_EQ(status, 0);
  std::string all;
  for (int i = 1; i <= 200; ++i) absl::StrAppend(&all, "line ", i, "\n");
  EXPECT_EQ(Output("followed"), all);
}

TEST_F(CliTest, ForwardListensAndCarries) {
  Run("exec nc -ll -p 7779 -e sh -c 'echo \"<$(cat)>\"'");
  const auto forward = Start({"forward", pod_.id, "0:7779"}, "forwarded");
  ASSERT_TRUE(WaitForOutput("forwarded", " -> 7779\n"));
  const std::string line = Output("forwarded");
  const StreamUrl to = ParseUrl("http://" + line.substr(0, line.find(' ')));
  std::string answer;
  // Until the server within listens.
  for (int i = 0; i < 200 && answer.empty(); ++i) {
    ASSERT_OK_AND_ASSIGN(const UniqueFd socket, ConnectTo(to));
    EXPECT_EQ(send(socket.get(), "hello", 5, MSG_NOSIGNAL), 5);
    shutdown(socket.get(), SHUT_WR);
    char buffer[64];
    for (ssize_t n; (n = recv(socket.get(), buffer, sizeof buffer, 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
    if (answer.empty()) absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ(answer, "<hello>\n");
  forward->Signal(SIGTERM);
  ASSERT_OK_AND_ASSIGN(const int status, forward->Wait(absl::Seconds(20)));
  EXPECT_EQ(status, 0);
}

TEST_F(CliTest, EventsAreTold) {
  const auto events = Start({"events"}, "told");
  // It says nothing when it has begun: pods are made until one is heard of.
  for (int i = 0; i < 100 && Output("told").empty(); ++i) {
    ASSERT_OK(RunPod(absl::StrCat("early", i)));
    absl::SleepFor(absl::Milliseconds(50));
  }
  Run("true");
  EXPECT_TRUE(WaitForOutput("told", "/pod c\n"));
  for (const char* type : {" CREATED ", " STARTED ", " STOPPED "})
    EXPECT_TRUE(WaitForOutput("told", type));
}

}  // namespace
}  // namespace berth::testing
