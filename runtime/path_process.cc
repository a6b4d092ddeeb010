#include "runtime/path_process.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "runtime/keeper/path_answer.h"
#include "runtime/keeper_call.h"

namespace berth {
namespace {

// True if the path is in the kernel's cache, so that nobody has to ask a disk (5.12).
bool IsCached(const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_CACHED;
  const UniqueFd fd(
      static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
  return fd.valid();
}

struct Process {
  pid_t pid;
  UniqueFd socket;
};

absl::StatusOr<Process> Spawn(int program) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  Process process{0, UniqueFd(pair[0])};
  UniqueFd theirs(pair[1]);
  if (theirs.get() == kPathProcessFd) {  // it would stay close-on-exec
    theirs.reset(fcntl(theirs.get(), F_DUPFD_CLOEXEC, kPathProcessFd + 1));
    if (!theirs.valid()) return ErrnoStatus("fcntl");
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  const absl::Cleanup destroy = [&] {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  };
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kPathProcessFd);
  char name[] = "berth-path";
  char mode[] = "--paths";
  char* argv[] = {name, mode, nullptr};
  char* envp[] = {nullptr};
  const int error = posix_spawn(&process.pid, absl::StrCat("/proc/self/fd/", program).c_str(),
                                &actions, &attributes, argv, envp);
  if (error != 0) return ErrnoStatusOf(error, "posix_spawn");
  return process;
}

// Processes that were killed in uninterruptible sleep. Later calls look whether they have ended.
class LeftBehind {
 public:
  void Add(pid_t pid) {
    MutexLock lock(&mu_);
    pids_.push_back(pid);
  }
  void Reap() {
    MutexLock lock(&mu_);
    pids_.erase(std::remove_if(pids_.begin(), pids_.end(),
                               [](pid_t pid) { return waitpid(pid, nullptr, WNOHANG) != 0; }),
                pids_.end());
  }

 private:
  Mutex mu_;
  std::vector<pid_t> pids_ ABSL_GUARDED_BY(mu_);
};

// Processes that have answered and wait for a request.
class Idle {
 public:
  std::optional<Process> Take() {
    MutexLock lock(&mu_);
    if (processes_.empty()) return std::nullopt;
    Process process = std::move(processes_.back());
    processes_.pop_back();
    return process;
  }
  // One that is too many ends.
  void Give(Process process) {
    {
      MutexLock lock(&mu_);
      if (processes_.size() < kMost) {
        processes_.push_back(std::move(process));
        return;
      }
    }
    process.socket.reset();
    waitpid(process.pid, nullptr, 0);
  }

 private:
  static constexpr size_t kMost = 4;

  Mutex mu_;
  std::vector<Process> processes_ ABSL_GUARDED_BY(mu_);
};

// The daemon's children are its own, whichever flow asks for them.
LeftBehind& TheLeftBehind() {
  static LeftBehind* const left = new LeftBehind;
  return *left;
}
Idle& TheIdle() {
  static Idle* const idle = new Idle;
  return *idle;
}

void EndAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  if (waitpid(pid, nullptr, WNOHANG) == 0) TheLeftBehind().Add(pid);
}

struct Answer {
  PathAnswer message;
  UniqueFd fd;
};

// Unavailable if the process is gone: it may not have heard of the request.
absl::StatusOr<Answer> Ask(const Process& process, PathRequest kind, const std::string& path,
                           absl::Time deadline) {
  std::string request(1, static_cast<char>(kind));
  request.append(path.c_str(), path.size() + 1);
  if (send(process.socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0)
    return absl::UnavailableError(absl::StrCat(path, ": its process died"));
  if (!WaitReadable(process.socket.get(), deadline)) {
    return absl::DeadlineExceededError(
        absl::StrCat(path, ": the file system did not answer in time"));
  }
  absl::StatusOr<Answer> answer(absl::in_place);
  const ssize_t n =
      ReceiveWithFd(process.socket.get(), &answer->message, sizeof answer->message, &answer->fd, 0);
  if (n != static_cast<ssize_t>(sizeof answer->message))
    return absl::UnavailableError(absl::StrCat(path, ": its process died"));
  return answer;
}

// By a process that waits for requests, else a new one. A request may be repeated: what is there stays.
absl::StatusOr<UniqueFd> Run(int program, PathRequest kind, const std::string& path,
                             absl::Time deadline) {
  TheLeftBehind().Reap();
  if (path.size() >= PATH_MAX) return ErrnoStatusOf(ENAMETOOLONG, absl::StrCat("open ", path));
  for (;;) {
    std::optional<Process> process = TheIdle().Take();
    const bool is_new = !process.has_value();
    if (is_new) {
      ASSIGN_OR_RETURN(process, Spawn(program));
    }
    absl::StatusOr<Answer> answer = Ask(*process, kind, path, deadline);
    if (!answer.ok()) {
      EndAndReap(process->pid);
      if (absl::IsUnavailable(answer.status()) && !is_new) continue;  // somebody ended it meanwhile
      return answer.status();
    }
    TheIdle().Give(*std::move(process));
    if (const int error = answer->message.error; error != 0)
      return ErrnoStatusOf(error, absl::StrCat("open ", path));
    return std::move(answer->fd);
  }
}

}  // namespace

absl::StatusOr<UniqueFd> PathProcess::OpenLog(const std::string& path, absl::Time deadline) const {
  ASSIGN_OR_RETURN(UniqueFd fd, Run(program_, PathRequest::kOpenLog, path, deadline));
  if (!fd.valid()) return absl::InternalError(absl::StrCat(path, ": no descriptor came"));
  return fd;
}

absl::Status PathProcess::MakeMissing(const std::vector<std::string>& paths,
                                      absl::Time deadline) const {
  for (const std::string& path : paths) {
    if (IsCached(path)) continue;
    RETURN_IF_ERROR(Run(program_, PathRequest::kMakeMissing, path, deadline).status());
  }
  return absl::OkStatus();
}

}  // namespace berth
