// A new keeper's first steps: into its cgroup, the pod's namespaces, the pod's /dev/shm, the pod init.
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"
#include "runtime/keeper/state.h"

namespace berth::keeper {
namespace {

struct Strings {
  const char* next;
  const char* Take() {
    const char* s = next;
    next += strlen(next) + 1;
    return s;
  }
};

bool WriteText(int dir, const char* path, const char* text) {
  const int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text));
  const int error = errno;
  close(fd);
  errno = error;
  return good;
}

bool JoinCgroup(const char* path) {
  const int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return false;
  // v1's `tasks` takes no global lock (see executor.cc); v2 has none.
  const bool good = WriteText(dir, "tasks", "0") || WriteText(dir, "cgroup.procs", "0");
  const int error = errno;
  close(dir);
  errno = error;
  return good;
}

// Best effort: lowering is refused without CAP_SYS_RESOURCE.
void SetOomScore(int32_t value) {
  char text[16];
  int n = 0;
  if (value < -1000 || value > 1000) return;
  if (value < 0) text[n++] = '-', value = -value;
  for (int divisor = 1000; divisor > 0; divisor /= 10) {
    if (value >= divisor || divisor == 1) text[n++] = static_cast<char>('0' + value / divisor % 10);
  }
  text[n] = 0;
  WriteText(AT_FDCWD, "/proc/self/oom_score_adj", text);
}

// Containers' pipes and sockets add up; a container gets the daemon's soft limit back.
void RaiseDescriptorLimit() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  state.nofile_soft = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// `name` is below /proc/sys, with dots or slashes (sysctl(8)).
bool WriteSysctl(const char* name, const char* value) {
  char path[256] = "/proc/sys/";
  size_t n = 10;
  if (strlen(name) + n + 1 > sizeof path || strstr(name, "..") != nullptr) {
    errno = EINVAL;
    return false;
  }
  const bool slashes = strchr(name, '/') != nullptr;
  for (const char* p = name; *p; ++p) path[n++] = *p == '.' && !slashes ? '/' : *p;
  path[n] = 0;
  return WriteText(AT_FDCWD, path, value);
}

// Attaches the mount of a configured fsopen descriptor, and closes that.
bool AttachNew(int fs, const char* target) {
  const int mount = sys::FsMount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  const bool good = mount >= 0 && sys::MoveMount(mount, AT_FDCWD, target) == 0;
  const int error = errno;
  if (mount >= 0) close(mount);
  close(fs);
  errno = error;
  return good;
}

// Of the caller's PID namespace.
bool MountProc() {
  const int fs = sys::FsOpen("proc");
  return fs >= 0 && sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0 &&
         AttachNew(fs, "/proc");
}

bool MountSharedMemory(const KeeperParameters& p) {
  const int fs = sys::FsOpen("tmpfs");
  char size[24], uid[12], gid[12];
  // In kilobytes: what shm_size is rounded up to a page in any case.
  Append(AppendNumber(size, static_cast<uint32_t>((p.shm_size + 1023) >> 10)), "k");
  AppendNumber(uid, p.root_uid);
  AppendNumber(gid, p.root_gid);
  const bool good = fs >= 0 && sys::FsConfig(fs, FSCONFIG_SET_STRING, "source", "shm", 0) == 0 &&
                    sys::FsConfig(fs, FSCONFIG_SET_STRING, "mode", "1777", 0) == 0 &&
                    sys::FsConfig(fs, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
                    sys::FsConfig(fs, FSCONFIG_SET_STRING, "uid", uid, 0) == 0 &&
                    sys::FsConfig(fs, FSCONFIG_SET_STRING, "gid", gid, 0) == 0 &&
                    sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  return good && AttachNew(fs, "/shm");
}

// The pod's mount namespace: the tiny one, unshared, with the pod's shared memory at /shm, and what a user
// namespace's containers need to see before they may mount a procfs at /proc. Containers unshare it in turn.
// The keeper itself stays in the host's.
bool MakeMountNamespace(const KeeperParameters& p, Failure* failure) {
  failure->step = static_cast<uint32_t>(SetupStep::kMountNamespace);
  // Nothing of the pod's own in it.
  if ((p.flags & (kSetupNewIpc | kSetupPodInit | kSetupNewUser)) == 0) {
    state.mount_namespace = fcntl(kKeeperTinyFd, F_DUPFD_CLOEXEC, 10);
    return state.mount_namespace >= 0;
  }
  const int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  const int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (host < 0 || proc < 0) return false;
  bool good = sys::SetNs(kKeeperTinyFd, CLONE_NEWNS) == 0 && sys::Unshare(CLONE_NEWNS) == 0;
  if (good && (p.flags & kSetupNewUser) != 0) good = MountProc();
  if (good && (p.flags & kSetupNewIpc) != 0) {
    failure->step = static_cast<uint32_t>(SetupStep::kSharedMemory);
    good = MountSharedMemory(p);
  }
  // There is no /proc in the tiny namespace; the host's is reached by its descriptor.
  if (good) {
    state.mount_namespace = openat(proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
    good = state.mount_namespace >= 0;
  }
  const int error = errno;
  const bool back = sys::SetNs(host, CLONE_NEWNS) == 0;
  close(host);
  close(proc);
  errno = error;
  return good && back;
}

// A procfs of the pod's PID namespace, at /proc of its mount namespace: containers that hop clone it. Made
// now, while nobody else is in the PID namespace. Then a mount namespace of one's own.
bool MountPodProc() {
  return sys::SetNs(state.mount_namespace, CLONE_NEWNS) == 0 && MountProc() &&
         sys::Unshare(CLONE_NEWNS) == 0;
}

// PID 1 of the pod's shared namespace: reaps, and holds nothing that a container could take.
[[noreturn]] void RunPodInit() {
  sys::CloseRange(0, ~0u, 0);
  setsid();
  prctl(PR_SET_NAME, "pod-init", 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {};
  syscall(__NR_capset, &header, none);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_SETMASK, &set, nullptr);
  for (;;) {
    while (waitpid(-1, nullptr, WNOHANG) > 0) continue;
    siginfo_t info;
    sigwaitinfo(&set, &info);
  }
}

bool BecomeUserNamespaceRoot() {
  return sys::SetNs(state.user_namespace, CLONE_NEWUSER) == 0 &&
         syscall(__NR_setgroups, 0, nullptr) == 0 && syscall(__NR_setresgid, 0, 0, 0) == 0 &&
         syscall(__NR_setresuid, 0, 0, 0) == 0;
}

// What pod init writes when it is ready, or its parent in the user namespace for it.
struct PodInitReady {
  int32_t pid;  // 0: the child's own
  int32_t error;
};

// Containers of the user namespace mount their own procfs, and its PID namespace has to be made from inside.
[[noreturn]] void MakePodInitInside(int ready) {
  PodInitReady message = {0, 0};
  if (BecomeUserNamespaceRoot()) {
    message.pid = CloneProcess(CLONE_PARENT | CLONE_NEWPID, -1, nullptr);
    if (message.pid == 0) RunPodInit();
    if (message.pid < 0) message.error = -message.pid;
  } else {
    message.error = errno;
  }
  _exit(write(ready, &message, sizeof message) == sizeof message ? 0 : 1);
}

bool StartPodInit(const KeeperParameters& p, Strings cgroups) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return false;
  const bool inside = state.user_namespace >= 0;
  const int pid = CloneProcess(inside ? 0 : CLONE_NEWPID, -1, nullptr);
  if (pid == 0) {
    for (uint32_t i = 0; i < p.pod_cgroups; ++i) JoinCgroup(cgroups.Take());
    if (inside) MakePodInitInside(ready[1]);
    PodInitReady message = {0, MountPodProc() ? 0 : errno};
    if (write(ready[1], &message, sizeof message) != sizeof message) _exit(1);
    RunPodInit();
  }
  close(ready[1]);
  PodInitReady message = {0, EPERM};
  if (pid > 0 && read(ready[0], &message, sizeof message) != sizeof message) message = {0, EPERM};
  close(ready[0]);
  if (pid < 0) message.error = -pid;
  if (pid > 0 && inside) waitpid(pid, nullptr, 0);  // it has said all, and ends
  state.pod_init = message.pid > 0 ? message.pid : inside || pid < 0 ? 0 : pid;
  if (message.error == 0) {
    state.pod_init_pidfd = static_cast<int>(syscall(__NR_pidfd_open, state.pod_init, 0));
    if (state.pod_init_pidfd >= 0) return true;
    message.error = errno;
  }
  errno = message.error;
  return false;
}

// ---- the user namespace ----

bool OpenOf(int pid, const char* name, int* fd) {
  char path[48];
  Append(Append(AppendNumber(Append(path, "/proc/"), static_cast<uint32_t>(pid)), "/"), name);
  *fd = sys::Open(path, O_RDONLY);
  return *fd >= 0;
}

bool WriteOf(int pid, const char* name, const char* text) {
  char path[48];
  Append(Append(AppendNumber(Append(path, "/proc/"), static_cast<uint32_t>(pid)), "/"), name);
  return WriteText(AT_FDCWD, path, text);
}

bool JoinOf(int pid, const char* name) {
  int fd;
  if (!OpenOf(pid, name, &fd)) return false;
  const bool good = sys::SetNs(fd, 0) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  return good;
}

// Sysctls belong to the root of a namespace's owner (since 6.1 IPC's do, too), so it writes them.
[[noreturn]] void RunFirstInside(const KeeperParameters& p, Strings sysctls, int socket) {
  char byte;
  if (recv(socket, &byte, 1, 0) != 1) _exit(1);
  Failure failure = {static_cast<uint32_t>(SetupStep::kUserNamespace), 1, 0};
  if (syscall(__NR_setresgid, 0, 0, 0) != 0 || syscall(__NR_setresuid, 0, 0, 0) != 0) {
    failure.error = errno;
  } else {
    failure.step = static_cast<uint32_t>(SetupStep::kSysctl);
    for (uint32_t i = 0; i < p.sysctls && failure.error == 0; ++i) {
      failure.index = i;
      const char* name = sysctls.Take();
      if (!WriteSysctl(name, sysctls.Take())) failure.error = errno;
    }
  }
  if (send(socket, &failure, sizeof failure, MSG_NOSIGNAL) != sizeof failure) _exit(1);
  recv(socket, &byte, 1, 0);  // until its namespaces have been opened
  _exit(0);
}

// A first process makes the user namespace and in the same clone those that it owns; the keeper, which keeps
// its privileges, joins the latter. False with *failure set, or errno.
bool MakeUserNamespace(const KeeperParameters& p, uint64_t namespaces, const char* uid_map,
                       const char* gid_map, Strings sysctls, Failure* failure) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
  const int pid = CloneProcess(CLONE_NEWUSER | namespaces, -1, nullptr);
  if (pid == 0) {
    close(pair[0]);
    RunFirstInside(p, sysctls, pair[1]);
  }
  close(pair[1]);
  bool good = pid > 0;
  if (pid < 0) errno = -pid;
  good = good && WriteOf(pid, "uid_map", uid_map) && WriteOf(pid, "gid_map", gid_map) &&
         OpenOf(pid, "ns/user", &state.user_namespace) &&
         ((namespaces & CLONE_NEWNET) == 0 || JoinOf(pid, "ns/net")) &&
         ((namespaces & CLONE_NEWIPC) == 0 || JoinOf(pid, "ns/ipc")) &&
         ((namespaces & CLONE_NEWUTS) == 0 || JoinOf(pid, "ns/uts"));
  Failure said = {};
  if (good && send(pair[0], "", 1, MSG_NOSIGNAL) == 1 &&
      recv(pair[0], &said, sizeof said, 0) == sizeof said) {
    if (said.error != 0) {
      *failure = said;
      errno = said.error;
      good = false;
    }
  } else if (good) {
    errno = ECHILD;
    good = false;
  }
  const int error = errno;
  close(pair[0]);
  if (pid > 0) waitpid(pid, nullptr, 0);  // it waits for nothing but the socket
  errno = error;
  return good;
}

bool Listen() {
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // The state directory's own path may be longer than sun_path.
  strcpy(address.sun_path, "/proc/self/fd/4/");
  strcat(address.sun_path, kKeeperSocketName);
  static_assert(kKeeperStateFd == 4);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  unlinkat(kKeeperStateFd, kKeeperSocketName, 0);
  const mode_t mask = umask(0177);
  const bool good = bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) == 0 &&
                    listen(fd, 16) == 0;
  umask(mask);
  state.listener = fd;
  return good;
}

}  // namespace

bool SetUp(const char* parameters, Failure* failure) {
  const KeeperParameters& p = *reinterpret_cast<const KeeperParameters*>(parameters);
  Strings strings{parameters + sizeof p};
  const char* hostname = strings.Take();
  const char* domainname = strings.Take();
  const char* uid_map = strings.Take();
  const char* gid_map = strings.Take();
  auto at = [&](SetupStep step, uint32_t index = 0) {
    failure->step = static_cast<uint32_t>(step);
    failure->index = index;
  };
  state.flags = p.flags;
  state.state_dir = kKeeperStateFd;
  prctl(PR_SET_NAME, "berth-keeper", 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  // Children inherit it up to execve: a container's root without SYS_PTRACE can't open their descriptors
  // when they have come down to its own capabilities.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  umask(022);
  RaiseDescriptorLimit();
  SetOomScore(p.oom_score_adj);
  state.bounding = ReadBoundingSet();

  for (uint32_t i = 0; i < p.cgroups; ++i) {
    at(SetupStep::kCgroup, i);
    if (!JoinCgroup(strings.Take())) return false;
  }
  at(SetupStep::kJoinNetwork);
  if ((p.flags & kSetupJoinNet) != 0) {
    if (sys::SetNs(kKeeperNetworkFd, CLONE_NEWNET) != 0) return false;
    close(kKeeperNetworkFd);
  }
  const bool user = (p.flags & kSetupNewUser) != 0;
  const Strings pod_cgroups = strings;
  for (uint32_t i = 0; i < p.pod_cgroups; ++i) strings.Take();
  at(user ? SetupStep::kUserNamespace : SetupStep::kUnshare);
  const unsigned long namespaces = ((p.flags & kSetupNewNet) ? CLONE_NEWNET : 0) |
                                   ((p.flags & kSetupNewIpc) ? CLONE_NEWIPC : 0) |
                                   ((p.flags & kSetupNewUts) ? CLONE_NEWUTS : 0);
  if (user && !MakeUserNamespace(p, namespaces, uid_map, gid_map, strings, failure)) return false;
  if (!user && namespaces != 0 && sys::Unshare(namespaces) != 0) return false;
  at(SetupStep::kHostname);
  if ((p.flags & kSetupNewUts) != 0) {
    if (*hostname && sethostname(hostname, strlen(hostname)) != 0) return false;
    if (*domainname && syscall(__NR_setdomainname, domainname, strlen(domainname)) != 0)
      return false;
  }
  for (uint32_t i = 0; i < p.sysctls && !user; ++i) {
    at(SetupStep::kSysctl, i);
    const char* name = strings.Take();
    if (!WriteSysctl(name, strings.Take())) return false;
  }
  if (!MakeMountNamespace(p, failure)) return false;
  at(SetupStep::kPodInit);
  state.own_pidns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  if (state.own_pidns < 0) return false;
  if ((p.flags & kSetupPodInit) != 0 && !StartPodInit(p, pod_cgroups)) return false;
  close(kKeeperTinyFd);
  at(SetupStep::kSocket);
  return Listen();
}

}  // namespace berth::keeper
