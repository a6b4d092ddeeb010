#include "runtime/executor_external.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "runtime/executor_new_mount.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"

namespace berth {
namespace {

constexpr uint64_t kMountSlave = 1u << 19;  // MS_SLAVE
// A runtime that has ended has sent the terminal before.
constexpr int kConsolePatienceMs = 5000;

[[noreturn]] void FailFile(const ExecutorContext& c, ExternalFile file) {
  Fail(c, Step::kRuntimeFiles, static_cast<uint32_t>(file));
}

// ---- commands ----

// The command that begins at argv[first], up to an empty argument.
struct Command {
  ExternalCommand name;
  uint32_t first;
};

// Where the second command begins, or the end.
uint32_t SecondCommand(const ExecutorContext& c) {
  const Str* argv = PlanTable(c.plan, c.plan.argv);
  uint32_t i = 0;
  while (i < c.plan.argv.count && *c.String(argv[i]) != 0) ++i;
  return i < c.plan.argv.count ? i + 1 : i;
}

// In the child: becomes the runtime. Returns errno.
int ExecuteRuntime(ExecutorContext& c, uint32_t first, const int (&stdio)[3]) {
  // A runtime whose driver was killed must not go on behind everybody's back.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  for (int i = 0; i < 3; ++i) {
    if (dup2(stdio[i], i) < 0) return errno;
  }
  uint64_t limit[2];
  if (c.input.nofile_soft != 0 && syscall(__NR_prlimit64, 0, RLIMIT_NOFILE, nullptr, limit) == 0) {
    limit[0] = c.input.nofile_soft;
    syscall(__NR_prlimit64, 0, RLIMIT_NOFILE, limit, nullptr);
  }
  umask(022);
  const Str* args = PlanTable(c.plan, c.plan.argv);
  const Str* variables = PlanTable(c.plan, c.plan.envp);
  char** argv = static_cast<char**>(__builtin_alloca((c.plan.argv.count + 1) * sizeof(char*)));
  char** envp = static_cast<char**>(__builtin_alloca((c.plan.envp.count + 1) * sizeof(char*)));
  uint32_t n = 0;
  for (uint32_t i = first; i < c.plan.argv.count && *c.String(args[i]) != 0; ++i)
    argv[n++] = const_cast<char*>(c.String(args[i]));
  argv[n] = nullptr;
  if (n == 0) return EINVAL;
  for (n = 0; n < c.plan.envp.count; ++n) envp[n] = const_cast<char*>(c.String(variables[n]));
  envp[n] = nullptr;
  sys::CloseRange(3, ~0u, sys::kCloseRangeCloexec);
  execve(argv[0], argv, envp);
  return errno;
}

// Runs a command to its end: 0 if that is a success, else *failure says what went wrong.
bool RunCommand(ExecutorContext& c, const Command& command, const int (&stdio)[3],
                Failure* failure) {
  *failure = {static_cast<uint32_t>(Step::kRuntimeExecve), static_cast<uint32_t>(command.name), 0};
  int started[2];
  if (pipe2(started, O_CLOEXEC) != 0) {
    failure->error = errno;
    return false;
  }
  const int pid = CloneProcess(0, -1, nullptr);
  if (pid == 0) {
    const int error = ExecuteRuntime(c, command.first, stdio);
    _exit(write(started[1], &error, sizeof error) == sizeof error ? 126 : 127);
  }
  close(started[1]);
  int error = pid < 0 ? -pid : 0;
  if (pid > 0 && read(started[0], &error, sizeof error) != sizeof error) error = 0;
  close(started[0]);
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  failure->error = error;
  if (error != 0) return false;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  failure->step = static_cast<uint32_t>(Step::kRuntimeFailed);
  failure->error = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  return false;
}

[[noreturn]] void FailWith(const ExecutorContext& c, const Failure& failure) {
  Fail(c, static_cast<Step>(failure.step), failure.index, failure.error);
}

// ---- the bundle's files ----

void EnterDirectory(const ExecutorContext& c) {
  if (chdir(c.String(c.plan.cwd)) != 0) FailFile(c, ExternalFile::kDirectory);
}

bool CopyInto(int to, const char* from) {
  const int fd = sys::Open(from, O_RDONLY);
  if (fd < 0) return false;
  char buffer[4096];
  ssize_t n;
  bool good = true;
  while (good && (n = read(fd, buffer, sizeof buffer)) > 0) good = write(to, buffer, n) == n;
  close(fd);
  return good && n == 0;
}

bool WriteText(int to, const char* text) {
  const ssize_t size = static_cast<ssize_t>(strlen(text));
  return write(to, text, static_cast<size_t>(size)) == size;
}

bool WriteUser(int to, const ProcessUser& user) {
  char text[64];
  char* out = AppendNumber(Append(text, "{\"uid\":"), user.uid);
  Append(AppendNumber(Append(out, ",\"gid\":"), user.gid), ",\"additionalGids\":[");
  bool good = WriteText(to, text);
  for (uint32_t i = 0; i < user.group_count && good; ++i) {
    AppendNumber(Append(text, i == 0 ? "" : ","), user.groups[i]);
    good = WriteText(to, text);
  }
  return good && WriteText(to, "]}");
}

void WriteConfig(ExecutorContext& c) {
  const int fd = open(kExternalConfig, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || !CopyInto(fd, kExternalConfigHead) || !WriteUser(fd, c.user) ||
      !CopyInto(fd, kExternalConfigTail)) {
    FailFile(c, ExternalFile::kConfig);
  }
  close(fd);
}

// What the runtime says the process is, as a pidfd; *pid, too. It is a child of ours by now.
int ReadProcess(const ExecutorContext& c, int* pid) {
  char text[16];
  const int fd = sys::Open(kExternalPid, O_RDONLY);
  const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (n < 0) FailFile(c, ExternalFile::kPid);
  close(fd);
  *pid = 0;
  for (ssize_t i = 0; i < n && i < 9 && text[i] >= '0' && text[i] <= '9'; ++i)
    *pid = *pid * 10 + (text[i] - '0');
  errno = EINVAL;
  const int pidfd = *pid < 2 ? -1 : static_cast<int>(syscall(__NR_pidfd_open, *pid, 0));
  if (pidfd < 0) FailFile(c, ExternalFile::kProcess);
  return pidfd;
}

// ---- terminals ----

// The socket that the runtime sends the terminal's master to; -1 without a terminal.
int ListenForConsole(const ExecutorContext& c) {
  if ((c.plan.flags & kPlanTerminal) == 0) return -1;
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // Relative: the directory's own path may be longer than sun_path.
  strcpy(address.sun_path, kExternalConsole);
  unlinkat(AT_FDCWD, kExternalConsole, 0);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 1) != 0) {
    FailFile(c, ExternalFile::kConsole);
  }
  return fd;
}

bool WaitFor(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, kConsolePatienceMs) == 1;
}

// The master, or -1 with errno.
int AcceptConsole(int listener) {
  errno = ETIMEDOUT;
  const int socket = WaitFor(listener) ? accept4(listener, nullptr, nullptr, SOCK_CLOEXEC) : -1;
  if (socket < 0 || !WaitFor(socket)) return -1;
  char name[256];
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct iovec iov = {name, sizeof name};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  close(socket);
  const struct cmsghdr* header = n < 0 ? nullptr : CMSG_FIRSTHDR(&message);
  int master = -1;
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    memcpy(&master, CMSG_DATA(header), sizeof master);
  } else if (n >= 0) {
    errno = EPROTO;
  }
  return master;
}

bool ReportTerminal(const ExecutorContext& c, int listener) {
  if (listener < 0) return true;
  const int master = AcceptConsole(listener);
  if (master < 0) return false;
  ExecutorReport report;
  memset(&report, 0, offsetof(ExecutorReport, groups));
  report.kind = static_cast<uint32_t>(ReportKind::kTerminal);
  const bool good = SendReport(c.status, report, master);
  close(master);
  close(listener);
  unlinkat(AT_FDCWD, kExternalConsole, 0);
  return good;
}

// ---- mounts ----

// The root file system is made where containers are, in a copy of the pod's small mount namespace, and moved
// into a copy of the host's: a runtime needs the host's files, and the host must see nothing of it.
void MoveToHostCopy(ExecutorContext& c, int host) {
  const int tree = sys::OpenTree(AT_FDCWD, "/rootfs", OPEN_TREE_CLONE | AT_RECURSIVE);
  if (tree < 0) FailFile(c, ExternalFile::kRootfs);
  if (sys::SetNs(host, CLONE_NEWNS) != 0 || sys::Unshare(CLONE_NEWNS) != 0 ||
      sys::MountSetattr(AT_FDCWD, "/", AT_RECURSIVE, 0, 0, kMountSlave) != 0) {
    FailFile(c, ExternalFile::kMountNamespace);
  }
  close(host);
  EnterDirectory(c);
  if (sys::MoveMount(tree, AT_FDCWD, kExternalRootfs) != 0) FailFile(c, ExternalFile::kRootfs);
  close(tree);
}

void MakeMountPoint(const ExecutorContext& c, uint32_t i, const char* path, bool directory) {
  if (directory ? mkdir(path, 0700) == 0 || errno == EEXIST
                : mknod(path, S_IFREG | 0600, 0) == 0 || errno == EEXIST) {
    return;
  }
  Fail(c, Step::kRuntimeMount, i);
}

void AttachStaged(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    if (c.sources[i] < 0) continue;
    const char* target = c.String(PlanTable(c.plan, c.plan.mounts)[i].target);
    struct stat st;
    if (fstatat(c.sources[i], "", &st, AT_EMPTY_PATH) != 0) Fail(c, Step::kRuntimeMount, i);
    MakeMountPoint(c, i, target, S_ISDIR(st.st_mode));
    if (sys::MoveMount(c.sources[i], AT_FDCWD, target) != 0) Fail(c, Step::kRuntimeMount, i);
    close(c.sources[i]);
  }
}

void PrepareBundle(ExecutorContext& c) {
  const int host = sys::Open("/proc/self/ns/mnt", O_RDONLY);
  if (host < 0) FailFile(c, ExternalFile::kMountNamespace);
  OpenRootfs(c);
  OpenMountSources(c);
  EnterMountNamespace(c);
  AttachRootfs(c);
  StageMounts(c);
  const Step step = ResolveUser(c.plan, c.rootfs, &c.user);
  if (step != Step::kNone) Fail(c, step);
  MoveToHostCopy(c, host);
  AttachStaged(c);
  WriteConfig(c);
}

// ---- the container ----

// The commands to come have nothing to do with the streams; who else holds them keeps them open.
void ReleaseStdio(const ExecutorContext& c, int (&stdio)[3]) {
  for (int i = 0; i < 3; ++i) {
    if (stdio[i] != c.null) close(stdio[i]);
    stdio[i] = c.null;
    dup2(c.null, i);
  }
}

void ReportProcess(const ExecutorContext& c, int pid, int pidfd) {
  ExecutorReport report;
  memset(&report, 0, offsetof(ExecutorReport, groups));
  report.kind = static_cast<uint32_t>(ReportKind::kHopped);
  report.pid = pid;
  if (!SendReport(c.status, report, pidfd)) _exit(127);
}

void KillProcess(int pidfd) { syscall(__NR_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0); }

// False if the container's process has ended, or the supervisor doesn't want it any more.
bool GateOpens(const ExecutorContext& c, int pidfd) {
  for (;;) {
    struct pollfd p[2] = {{c.status, POLLIN, 0}, {pidfd, POLLIN, 0}};
    if (poll(p, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    if (p[1].revents != 0) return false;
    if (p[0].revents == 0) continue;
    char byte;
    return recv(c.status, &byte, 1, 0) == 1;
  }
}

void Stdio(const ExecutorContext& c, int (&stdio)[3]) {
  for (int i = 0; i < 3; ++i) {
    stdio[i] = c.input.stdio[i] >= 0 ? c.input.stdio[i] : c.null;
    // What stands in the way of another is moved up.
    if (stdio[i] < 3) stdio[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 3);
    if (stdio[i] < 0) Fail(c, Step::kStdio);
  }
}

// Runs the command that makes a process, and reports its terminal if it has one. The process' pidfd; a failure
// leaves no process.
int MakeProcess(ExecutorContext& c, ExternalCommand command, const int (&stdio)[3], int* pid) {
  const int listener = ListenForConsole(c);
  Failure failure;
  if (!RunCommand(c, {command, 0}, stdio, &failure)) FailWith(c, failure);
  const int pidfd = ReadProcess(c, pid);
  if (!ReportTerminal(c, listener)) {
    const int error = errno;
    KillProcess(pidfd);
    Fail(c, Step::kRuntimeFiles, static_cast<uint32_t>(ExternalFile::kConsole), error);
  }
  return pidfd;
}

}  // namespace

void DriveContainer(ExecutorContext& c) {
  prctl(PR_SET_NAME, "berth-driver", 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  PrepareBundle(c);
  int stdio[3];
  Stdio(c, stdio);
  int pid;
  const int pidfd = MakeProcess(c, ExternalCommand::kCreate, stdio, &pid);
  ReleaseStdio(c, stdio);
  ReportProcess(c, pid, pidfd);
  ReportReady(c);
  if (!GateOpens(c, pidfd)) {
    KillProcess(pidfd);
    _exit(127);
  }
  Failure failure;
  if (!RunCommand(c, {ExternalCommand::kStart, SecondCommand(c)}, stdio, &failure)) {
    KillProcess(pidfd);
    FailWith(c, failure);
  }
  _exit(0);
}

void DriveExec(ExecutorContext& c) {
  // By which the supervisor finds what belongs to the exec: not each runtime makes its process lead a session.
  setsid();
  prctl(PR_SET_NAME, "berth-driver", 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  c.null = sys::Open("/dev/null", O_RDWR);
  if (c.null < 0) Fail(c, Step::kDescriptors);
  EnterDirectory(c);
  int stdio[3];
  Stdio(c, stdio);
  int pid;
  MakeProcess(c, ExternalCommand::kExec, stdio, &pid);
  // Whatever ends this exec now, nothing of it stays behind.
  const char* const files[] = {kExternalProcess, kExternalPid, kExternalLog};
  for (const char* name : files) unlinkat(AT_FDCWD, name, 0);
  unlinkat(AT_FDCWD, c.String(c.plan.cwd), AT_REMOVEDIR);
  ReleaseStdio(c, stdio);
  close(c.status);
  for (;;) {
    int status;
    const int ended = waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) _exit(127);
    if (ended != pid) continue;
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

}  // namespace berth
