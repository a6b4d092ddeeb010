#include "runtime/path_process.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

absl::StatusOr<pid_t> Spawn(int program, int socket, const char* verb,
                            const std::vector<std::string>& paths) {
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
  posix_spawn_file_actions_adddup2(&actions, socket, kPathProcessFd);
  std::vector<char*> argv = {const_cast<char*>("berth-path"), const_cast<char*>(verb)};
  for (const std::string& path : paths) argv.push_back(const_cast<char*>(path.c_str()));
  argv.push_back(nullptr);
  char* envp[] = {nullptr};
  pid_t pid;
  const int error = posix_spawn(&pid, absl::StrCat("/proc/self/fd/", program).c_str(), &actions,
                                &attributes, argv.data(), envp);
  if (error != 0) return ErrnoStatusOf(error, "posix_spawn");
  return pid;
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

// The process' children are its own, whoever asks for them.
LeftBehind& TheLeftBehind() {
  static LeftBehind* const left = new LeftBehind;
  return *left;
}

void EndAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  if (waitpid(pid, nullptr, WNOHANG) == 0) TheLeftBehind().Add(pid);
}

}  // namespace

struct PathProcess::Answer {
  PathAnswer message;
  UniqueFd fd;
};

absl::StatusOr<PathProcess::Answer> PathProcess::Run(const char* verb,
                                                     const std::vector<std::string>& paths,
                                                     absl::Time deadline) const {
  TheLeftBehind().Reap();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  const UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  if (theirs.get() == kPathProcessFd) {  // it would stay close-on-exec
    theirs.reset(fcntl(theirs.get(), F_DUPFD_CLOEXEC, kPathProcessFd + 1));
    if (!theirs.valid()) return ErrnoStatus("fcntl");
  }
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(program_, theirs.get(), verb, paths));
  theirs.reset();
  absl::StatusOr<Answer> answer(absl::in_place);
  if (!WaitReadable(ours.get(), deadline)) {
    EndAndReap(pid);
    return absl::DeadlineExceededError(absl::StrCat(paths[0], paths.size() > 1 ? " or another" : "",
                                                    ": the file system did not answer in time"));
  }
  const ssize_t n =
      ReceiveWithFd(ours.get(), &answer->message, sizeof answer->message, &answer->fd, 0);
  waitpid(pid, nullptr, 0);  // it ends after its answer
  if (n != static_cast<ssize_t>(sizeof answer->message) || answer->message.index >= paths.size())
    return absl::InternalError(absl::StrCat(paths[0], ": its process died"));
  if (answer->message.error != 0) {
    return ErrnoStatusOf(answer->message.error,
                         absl::StrCat("open ", paths[answer->message.index]));
  }
  return answer;
}

absl::StatusOr<UniqueFd> PathProcess::OpenLog(const std::string& path, absl::Time deadline) const {
  ASSIGN_OR_RETURN(Answer answer, Run("--open-log", {path}, deadline));
  if (!answer.fd.valid()) return absl::InternalError(absl::StrCat(path, ": no descriptor came"));
  return std::move(answer.fd);
}

absl::Status PathProcess::MakeMissing(const std::vector<std::string>& paths,
                                      absl::Time deadline) const {
  std::vector<std::string> unknown;
  for (const std::string& path : paths) {
    if (!IsCached(path)) unknown.push_back(path);
  }
  if (unknown.empty()) return absl::OkStatus();
  return Run("--make-missing", unknown, deadline).status();
}

}  // namespace berth
