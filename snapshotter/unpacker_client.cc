#include "snapshotter/unpacker_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr int kLastFd = kUnpackDigestsFd;

// What the child needs; computed before the clone.
struct Launch {
  const char* program;
  int null;
  int fds[4];  // control, input, target, digests: all above kLastFd
  int error;   // errno of what failed; the child shares our memory until execve
};

// Runs in our memory on a stack of its own while this thread waits (CLONE_VFORK): system calls only.
int Child(void* argument) {
  auto* launch = static_cast<Launch*>(argument);
  const auto fail = [launch] {
    launch->error = errno;
    _exit(127);
    return 127;
  };
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);  // refused for SIGKILL and SIGSTOP, which have it anyway
  }
  for (int fd = 0; fd <= 2; ++fd) {
    if (dup2(launch->null, fd) < 0) return fail();
  }
  for (int i = 0; i < 4; ++i) {
    if (dup2(launch->fds[i], kUnpackControlFd + i) < 0) return fail();
  }
  // CLONE_VM without CLONE_FILES: the table is the child's own.
  if (syscall(SYS_close_range, kLastFd + 1, ~0u, 0) != 0) return fail();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  char* const arguments[] = {const_cast<char*>("berth-unpack"), nullptr};
  char* const environment[] = {nullptr};
  execve(launch->program, arguments, environment);
  return fail();
}

// A copy above the numbers that the child gives out, so that no dup2 overwrites a later source.
absl::StatusOr<UniqueFd> High(int fd) {
  UniqueFd high(fcntl(fd, F_DUPFD_CLOEXEC, kLastFd + 1));
  if (!high) return ErrnoStatus("dup");
  return high;
}

absl::StatusOr<UniqueFd> Spawn(Launch& launch) {
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return ErrnoStatus("mmap a stack");
  const absl::Cleanup free_stack = [stack] { munmap(stack, kStackBytes); };
  // A handler of ours must not run in the child, on our memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  constexpr int kFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWNET |
                         CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
  int process = -1;
  const pid_t pid =
      clone(Child, static_cast<char*>(stack) + kStackBytes, kFlags, &launch, &process);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return ErrnoStatusOf(error, "clone the unpacker");
  UniqueFd owned(process);
  if (launch.error != 0) {
    siginfo_t info;
    waitid(P_PIDFD, static_cast<id_t>(process), &info, WEXITED);
    return ErrnoStatusOf(launch.error, absl::StrCat("execve ", launch.program));
  }
  return owned;
}

absl::Status SocketPair(int type, UniqueFd ends[2]) {
  int fds[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoStatus("socketpair");
  ends[0].reset(fds[0]);
  ends[1].reset(fds[1]);
  return absl::OkStatus();
}

absl::Status StatusOf(const UnpackResult& result) {
  if (result.code == 0) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(result.code),
                      absl::string_view(result.message, result.message_size));
}

}  // namespace

absl::StatusOr<std::unique_ptr<UnpackerClient>> UnpackerClient::Start(
    const std::string& program, int target, int digests, const UnpackRequest& request) {
  UniqueFd control[2];
  UniqueFd input[2];
  RETURN_IF_ERROR(SocketPair(SOCK_SEQPACKET, control));
  RETURN_IF_ERROR(SocketPair(SOCK_STREAM, input));
  // Half a megabyte in flight; silently less where net.core.wmem_max forbids it.
  const int buffer = 512 << 10;
  setsockopt(input[0].get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  shutdown(input[0].get(), SHUT_RD);
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return ErrnoStatus("open", "/dev/null");

  ASSIGN_OR_RETURN(const UniqueFd high_null, High(null.get()));
  ASSIGN_OR_RETURN(const UniqueFd high_control, High(control[1].get()));
  ASSIGN_OR_RETURN(const UniqueFd high_input, High(input[1].get()));
  const UniqueFd tree(static_cast<int>(
      syscall(SYS_open_tree, target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)));
  if (!tree) return ErrnoStatus("open_tree of the layer's directory");
  ASSIGN_OR_RETURN(const UniqueFd high_target, High(tree.get()));
  ASSIGN_OR_RETURN(const UniqueFd high_digests, High(digests));
  Launch launch = {program.c_str(),
                   high_null.get(),
                   {high_control.get(), high_input.get(), high_target.get(), high_digests.get()},
                   0};
  ASSIGN_OR_RETURN(UniqueFd process, Spawn(launch));
  auto client = absl::WrapUnique(
      new UnpackerClient(std::move(process), std::move(control[0]), std::move(input[0])));
  if (send(client->control_.get(), &request, sizeof request, MSG_NOSIGNAL) != sizeof request) {
    return ErrnoStatus("send the request to the unpacker");
  }
  return client;
}

UnpackerClient::~UnpackerClient() {
  if (reaped_) return;
  Kill();
  siginfo_t info;
  while (waitid(P_PIDFD, static_cast<id_t>(process_.get()), &info, WEXITED) != 0 &&
         errno == EINTR) {
  }
}

void UnpackerClient::Kill() {
  killed_ = true;
  syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
}

absl::Status UnpackerClient::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(input_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      RETURN_IF_ERROR(Finish().status());
      // A whole tar without a word about these bytes: it can't be.
      return absl::InternalError("the unpacker ended before the layer did");
    } else if (errno != EINTR) {
      return ErrnoStatus("send to the unpacker");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<UnpackResult> UnpackerClient::Finish() {
  input_.reset();
  UnpackResult result;
  ssize_t size;
  do {
    size = recv(control_.get(), &result, sizeof result, MSG_TRUNC);
  } while (size < 0 && errno == EINTR);
  if (killed_) return absl::CancelledError("unpacking was cancelled");
  if (size <= 0) return HowItDied();
  if (size != sizeof result || result.magic != kUnpackMagic || result.version != kUnpackVersion ||
      result.code < 0 || result.code > 16 || result.message_size > sizeof result.message) {
    return absl::InternalError("the unpacker's result is malformed");
  }
  RETURN_IF_ERROR(StatusOf(result));
  return result;
}

absl::Status UnpackerClient::HowItDied() {
  siginfo_t info = {};
  while (waitid(P_PIDFD, static_cast<id_t>(process_.get()), &info, WEXITED) != 0) {
    if (errno != EINTR) return ErrnoStatus("wait for the unpacker");
  }
  reaped_ = true;
  if (killed_) return absl::CancelledError("unpacking was cancelled");
  if (info.si_code == CLD_EXITED) {
    return absl::InternalError(
        absl::StrCat("the unpacker ended without a result, with status ", info.si_status));
  }
  return absl::InternalError(absl::StrCat("the unpacker was killed by SIG",
                                          sigabbrev_np(info.si_status), " without a result"));
}

}  // namespace berth
