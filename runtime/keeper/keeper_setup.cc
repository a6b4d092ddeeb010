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

// The pod's mount namespace: the tiny one, unshared, with the pod's shared memory at /shm. Containers
// unshare it in turn. The keeper itself stays in the host's.
bool MakeMountNamespace(const KeeperParameters& p, Failure* failure) {
  failure->step = static_cast<uint32_t>(SetupStep::kMountNamespace);
  if ((p.flags & (kSetupNewIpc | kSetupPodInit)) == 0) {  // nothing of the pod's own in it
    state.mount_namespace = fcntl(kKeeperTinyFd, F_DUPFD_CLOEXEC, 10);
    return state.mount_namespace >= 0;
  }
  const int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  const int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (host < 0 || proc < 0) return false;
  bool good = sys::SetNs(kKeeperTinyFd, CLONE_NEWNS) == 0 && sys::Unshare(CLONE_NEWNS) == 0;
  if (good && (p.flags & kSetupNewIpc) != 0) {
    failure->step = static_cast<uint32_t>(SetupStep::kSharedMemory);
    const int fs = sys::FsOpen("tmpfs");
    char size[24];
    int n = 0;
    uint64_t value = p.shm_size;
    char digits[24];
    do digits[n++] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    for (int i = 0; i < n; ++i) size[i] = digits[n - 1 - i];
    size[n] = 0;
    good = fs >= 0 && sys::FsConfig(fs, FSCONFIG_SET_STRING, "source", "shm", 0) == 0 &&
           sys::FsConfig(fs, FSCONFIG_SET_STRING, "mode", "1777", 0) == 0 &&
           sys::FsConfig(fs, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
           sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
    const int mount =
        good ? sys::FsMount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) : -1;
    good = mount >= 0 && sys::MoveMount(mount, AT_FDCWD, "/shm") == 0;
    const int error = errno;
    if (mount >= 0) close(mount);
    if (fs >= 0) close(fs);
    errno = error;
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
  if (sys::SetNs(state.mount_namespace, CLONE_NEWNS) != 0) return false;
  const int fs = sys::FsOpen("proc");
  if (fs < 0 || sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return false;
  const int mount = sys::FsMount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  return mount >= 0 && sys::MoveMount(mount, AT_FDCWD, "/proc") == 0 &&
         sys::Unshare(CLONE_NEWNS) == 0;
}

// PID 1 of the pod's shared namespace: reaps, and holds nothing that a container could take.
[[noreturn]] void RunPodInit(const KeeperParameters& p, Strings cgroups, int ready) {
  for (uint32_t i = 0; i < p.pod_cgroups; ++i) JoinCgroup(cgroups.Take());
  if (MountPodProc() && write(ready, "", 1) != 1) _exit(1);
  sys::CloseRange(0, ~0u, 0);
  setsid();
  prctl(PR_SET_NAME, "pod-init", 0, 0, 0);
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

bool StartPodInit(const KeeperParameters& p, Strings cgroups) {
  int pidfd = -1, ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return false;
  const int pid = CloneProcess(CLONE_NEWPID, -1, &pidfd);
  if (pid == 0) RunPodInit(p, cgroups, ready[1]);
  close(ready[1]);
  char byte;
  const bool mounted = pid > 0 && read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  if (pid > 0) {
    state.pod_init = pid;
    state.pod_init_pidfd = pidfd;
  }
  errno = pid < 0 ? -pid : EPERM;
  return mounted;
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
  at(SetupStep::kUnshare);
  const unsigned long namespaces = ((p.flags & kSetupNewNet) ? CLONE_NEWNET : 0) |
                                   ((p.flags & kSetupNewIpc) ? CLONE_NEWIPC : 0) |
                                   ((p.flags & kSetupNewUts) ? CLONE_NEWUTS : 0);
  if (namespaces != 0 && sys::Unshare(namespaces) != 0) return false;
  at(SetupStep::kHostname);
  if ((p.flags & kSetupNewUts) != 0) {
    if (*hostname && sethostname(hostname, strlen(hostname)) != 0) return false;
    if (*domainname && syscall(__NR_setdomainname, domainname, strlen(domainname)) != 0)
      return false;
  }
  const Strings pod_cgroups = strings;
  for (uint32_t i = 0; i < p.pod_cgroups; ++i) strings.Take();
  for (uint32_t i = 0; i < p.sysctls; ++i) {
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
