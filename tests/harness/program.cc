#include "tests/harness/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "base/status.h"

namespace berth::testing {

absl::StatusOr<std::unique_ptr<Program>> Program::Start(
    const std::vector<std::string>& argv, const std::string& log,
    const std::map<std::string, std::string>& environment) {
  ASSIGN_OR_RETURN(const UniqueFd output, OpenFile(log, O_WRONLY | O_CREAT | O_APPEND, 0644));
  ASSIGN_OR_RETURN(const UniqueFd input, OpenFile("/dev/null", O_RDONLY));
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus("fork");
  if (pid == 0) {
    // The test has gRPC's threads by now. What follows is safe there but for setenv's lock, which
    // only this test's own thread takes.
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    dup2(input.get(), 0);
    dup2(output.get(), 1);
    dup2(output.get(), 2);
    close_range(3, ~0u, 0);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return ErrnoStatus("pidfd_open", argv[0]);
  return std::unique_ptr<Program>(new Program(pid, std::move(pidfd)));
}

Program::~Program() {
  if (reaped_) return;
  Signal(SIGKILL);
  waitpid(pid_, &status_, 0);
}

bool Program::running() const {
  pollfd entry = {pidfd_.get(), POLLIN, 0};
  return !reaped_ && poll(&entry, 1, 0) == 0;
}

void Program::Signal(int signal) {
  syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

absl::StatusOr<int> Program::Wait(absl::Duration timeout) {
  if (reaped_) return status_;
  pollfd entry = {pidfd_.get(), POLLIN, 0};
  const int ready = poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  if (ready == 0) return absl::DeadlineExceededError(absl::StrCat("process ", pid_, " still runs"));
  if (waitpid(pid_, &status_, 0) != pid_) return ErrnoStatus("waitpid");
  reaped_ = true;
  return status_;
}

absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv,
                                         absl::Duration timeout) {
  char log[] = "/tmp/berth-command.XXXXXX";
  const UniqueFd output(mkstemp(log));
  if (!output.valid()) return ErrnoStatus("mkstemp");
  auto program = Program::Start(argv, log);
  unlink(log);
  RETURN_IF_ERROR(program.status());
  ASSIGN_OR_RETURN_WITH(const int status, (*program)->Wait(timeout), absl::StrJoin(argv, " "));
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ASSIGN_OR_RETURN(result.output, ReadFd(output.get()));
  return result;
}

std::string Shell(const std::string& script) {
  auto result = RunCommand({"/bin/sh", "-c", script});
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return "";
  EXPECT_EQ(result->exit_code, 0) << script << "\n" << result->output;
  return result->output;
}

std::string FindOwnProgram(const std::string& name) {
  std::vector<std::string> places = {"build/bin/"};
  // Where the binaries of a Bazel run are, below the runfiles' directory.
  for (const char* package : {"server/", "server/main/", "runtime/", "runtime/keeper/",
                              "snapshotter/", "snapshotter/unpacker/", "cli/"}) {
    places.insert(places.begin(), package);
  }
  if (const char* bin = getenv("BERTH_BIN")) places.insert(places.begin(), absl::StrCat(bin, "/"));
  for (const std::string& place : places) {
    char* path = realpath((place + name).c_str(), nullptr);
    if (path == nullptr) continue;
    const std::string result = path;
    free(path);
    if (access(result.c_str(), X_OK) == 0) return result;
  }
  return "";
}

absl::StatusOr<std::string> HttpGet(const std::string& url) {
  ASSIGN_OR_RETURN(CommandResult result, RunCommand({"curl", "-sS", "--fail", "--noproxy", "*",
                                                     "--max-time", "10", url}));
  if (result.exit_code != 0) return absl::UnavailableError(result.output);
  return std::move(result.output);
}

}  // namespace berth::testing
