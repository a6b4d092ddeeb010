#include "base/subprocess.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

// The deadline is fixed on the monotonic clock once, so that a clock jump meanwhile changes
// nothing.
using Monotonic = std::chrono::steady_clock;

constexpr absl::Duration kKillPatience = absl::Seconds(2);
// What is still read after the program's end: no pipe holds more (fs.pipe-max-size).
constexpr size_t kDrainLimit = 1u << 20;

Monotonic::time_point MonotonicOf(absl::Time deadline) {
  constexpr absl::Duration kFar = absl::Hours(24 * 365);
  const absl::Duration left = std::min(deadline - absl::Now(), kFar);
  return Monotonic::now() + absl::ToChronoNanoseconds(std::max(left, absl::ZeroDuration()));
}

int MillisecondsUntil(Monotonic::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Monotonic::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

// Programs that SIGKILL has not ended yet, by pidfd.
class Unreaped {
 public:
  void Add(UniqueFd pidfd) {
    MutexLock lock(&mu_);
    pidfds_.push_back(std::move(pidfd));
  }
  void ReapFinished() {
    MutexLock lock(&mu_);
    std::erase_if(pidfds_, [](const UniqueFd& pidfd) {
      siginfo_t info = {};
      const int result = waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG);
      return result != 0 || info.si_pid != 0;
    });
  }

 private:
  Mutex mu_;
  std::vector<UniqueFd> pidfds_ ABSL_GUARDED_BY(mu_);
};

Unreaped& TheUnreaped() {
  static Unreaped* const unreaped = new Unreaped;
  return *unreaped;
}

// Keeps descriptors off 0..2, where dup2 in the child would overwrite one before it is used.
absl::StatusOr<UniqueFd> AboveStdio(UniqueFd fd) {
  if (fd.get() > 2) return fd;
  UniqueFd higher(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!higher) return ErrnoStatus("fcntl F_DUPFD_CLOEXEC");
  return higher;
}

struct Pipe {
  UniqueFd read_end;  // Non-blocking, unlike the child's end.
  UniqueFd write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus("pipe2");
  UniqueFd read_end(fds[0]);
  UniqueFd write_end(fds[1]);
  Pipe pipe;
  ASSIGN_OR_RETURN(pipe.read_end, AboveStdio(std::move(read_end)));
  ASSIGN_OR_RETURN(pipe.write_end, AboveStdio(std::move(write_end)));
  if (fcntl(pipe.read_end.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoStatus("fcntl O_NONBLOCK");
  return pipe;
}

absl::StatusOr<UniqueFd> StdinFile(absl::string_view data) {
  UniqueFd made(memfd_create("stdin", MFD_CLOEXEC));
  if (!made) return ErrnoStatus("memfd_create");
  ASSIGN_OR_RETURN(UniqueFd fd, AboveStdio(std::move(made)));
  RETURN_IF_ERROR_WITH(WriteFd(fd.get(), data), "stdin");
  if (lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoStatus("lseek stdin");
  return fd;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

absl::StatusOr<pid_t> Spawn(const SubprocessOptions& options, int in, int out, int err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  absl::Cleanup destroy_actions = [&actions] { posix_spawn_file_actions_destroy(&actions); };
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  // Every descriptor of ours is close-on-exec; a library's may not be.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  absl::Cleanup destroy_attributes = [&attributes] { posix_spawnattr_destroy(&attributes); };
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid = -1;
  const std::vector<char*> argv = Pointers(options.argv);
  const std::vector<char*> environment = Pointers(options.environment);
  const int error = posix_spawn(&pid, options.argv[0].c_str(), &actions, &attributes, argv.data(),
                                environment.data());
  if (error != 0) return ErrnoStatusOf(error, absl::StrCat("spawn ", options.argv[0]));
  return pid;
}

// The children of all threads of `pid` (CONFIG_PROC_CHILDREN; without it: none).
std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  const std::string tasks = absl::StrCat("/proc/", pid, "/task");
  const absl::StatusOr<std::vector<std::string>> threads = ListDirectory(tasks);
  if (!threads.ok()) return children;
  for (const std::string& thread : *threads) {
    const absl::StatusOr<std::string> text =
        ReadFile(absl::StrCat(tasks, "/", thread, "/children"));
    if (!text.ok()) continue;
    for (absl::string_view word : absl::StrSplit(*text, ' ', absl::SkipWhitespace())) {
      if (pid_t child; absl::SimpleAtoi(word, &child)) children.push_back(child);
    }
  }
  return children;
}

void SignalPidfd(int pidfd, int signal) {
  syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
}

// Stops and collects the descendants of `pid`. A child is listed again after its pidfd was opened,
// so that a number used anew in between is not taken for it.
void StopDescendants(pid_t pid, std::vector<UniqueFd>* pidfds) {
  constexpr size_t kMost = 4096;
  for (const pid_t child : ChildrenOf(pid)) {
    UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
    if (!pidfd || pidfds->size() >= kMost) continue;
    const std::vector<pid_t> again = ChildrenOf(pid);
    if (std::find(again.begin(), again.end(), child) == again.end()) continue;
    SignalPidfd(pidfd.get(), SIGSTOP);
    pidfds->push_back(std::move(pidfd));
    StopDescendants(child, pidfds);
  }
}

// Kills the unreaped program, its process group, and descendants that left the group. Stopping
// comes first: a killed parent's children would be handed to another before we have seen them.
void KillTree(pid_t pid) {
  kill(-pid, SIGSTOP);
  std::vector<UniqueFd> pidfds;
  StopDescendants(pid, &pidfds);
  kill(-pid, SIGKILL);
  for (const UniqueFd& pidfd : pidfds) SignalPidfd(pidfd.get(), SIGKILL);
}

// A running program and what it has written so far.
class Running {
 public:
  Running(const SubprocessOptions& options, pid_t pid, UniqueFd pidfd, UniqueFd out, UniqueFd err)
      : options_(options),
        pid_(pid),
        pidfd_(std::move(pidfd)),
        out_(std::move(out)),
        err_(std::move(err)) {}

  SubprocessResult RunUntil(Monotonic::time_point deadline) {
    while (true) {
      pollfd fds[3] = {{pidfd_.get(), POLLIN, 0}, {out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}};
      const int ready = poll(fds, 3, MillisecondsUntil(deadline));
      if (ready < 0 && errno != EINTR) return Kill();  // ENOMEM
      if (ready <= 0 && Monotonic::now() < deadline) continue;
      if (ready <= 0) {
        result_.timed_out = true;
        return Kill();
      }
      if (fds[1].revents != 0) ReadStdout();
      if (fds[2].revents != 0) ReadStderr();
      if (result_.output_too_large) return Kill();
      if (fds[0].revents != 0) return Finish();
    }
  }

 private:
  // Reads once; closes `fd` at end of file. The number of bytes, 0 if there are none now.
  static size_t ReadSome(UniqueFd* fd, char* buffer, size_t size) {
    if (!fd->valid()) return 0;
    const ssize_t got = read(fd->get(), buffer, size);
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) fd->reset();
    return 0;
  }

  size_t ReadStdout() {
    char buffer[16384];
    const size_t got = ReadSome(&out_, buffer, sizeof buffer);
    if (result_.stdout_data.size() + got > options_.stdout_limit) {
      result_.output_too_large = true;
      return 0;
    }
    result_.stdout_data.append(buffer, got);
    return got;
  }

  size_t ReadStderr() {
    char buffer[4096];
    const size_t got = ReadSome(&err_, buffer, sizeof buffer);
    std::string& tail = result_.stderr_tail;
    tail.append(buffer, got);
    if (tail.size() > options_.stderr_tail) tail.erase(0, tail.size() - options_.stderr_tail);
    return got;
  }

  // Takes the exit status, which waits, and what is left in the pipes. A descendant may hold them
  // open and write on, so the end of file is not waited for.
  SubprocessResult Finish() {
    for (size_t drained = 0; drained < kDrainLimit;) {
      const size_t got = ReadStdout() + ReadStderr();
      if (got == 0) break;
      drained += got;
    }
    if (result_.output_too_large) KillTree(pid_);
    siginfo_t info = {};
    while (waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0 &&
           errno == EINTR) {
    }
    if (info.si_code == CLD_EXITED) {
      result_.exit_code = info.si_status;
    } else {
      result_.signal = info.si_status;
    }
    return std::move(result_);
  }

  SubprocessResult Kill() {
    KillTree(pid_);
    pollfd fd = {pidfd_.get(), POLLIN, 0};
    const Monotonic::time_point patience = MonotonicOf(absl::Now() + kKillPatience);
    while (poll(&fd, 1, MillisecondsUntil(patience)) < 0 && errno == EINTR) {
    }
    if (fd.revents != 0) return Finish();
    TheUnreaped().Add(std::move(pidfd_));
    result_.signal = SIGKILL;
    return std::move(result_);
  }

  const SubprocessOptions& options_;
  const pid_t pid_;
  UniqueFd pidfd_;
  UniqueFd out_;
  UniqueFd err_;
  SubprocessResult result_;
};

}  // namespace

absl::StatusOr<SubprocessResult> RunSubprocess(const SubprocessOptions& options,
                                               absl::Time deadline) {
  if (options.argv.empty()) return absl::InvalidArgumentError("spawn: empty argv");
  const Monotonic::time_point monotonic = MonotonicOf(deadline);
  TheUnreaped().ReapFinished();
  ASSIGN_OR_RETURN(UniqueFd in, StdinFile(options.stdin_data));
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  ASSIGN_OR_RETURN(const pid_t pid,
                   Spawn(options, in.get(), out.write_end.get(), err.write_end.get()));
  in.reset();
  out.write_end.reset();
  err.write_end.reset();
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    const absl::Status status = ErrnoStatus("pidfd_open", options.argv[0]);
    KillTree(pid);
    waitpid(pid, nullptr, 0);
    return status;
  }
  return Running(options, pid, std::move(pidfd), std::move(out.read_end), std::move(err.read_end))
      .RunUntil(monotonic);
}

}  // namespace berth
