#include "runtime/executor.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include "runtime/executor_context.h"
#include "runtime/executor_external.h"
#include "runtime/executor_hop.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_userns.h"

namespace berth {

void Fail(const ExecutorContext& c, Step step, uint32_t index, int error) {
  ExecutorReport report;
  report.kind = static_cast<uint32_t>(ReportKind::kFailed);
  report.failure = {static_cast<uint32_t>(step), index, error};
  report.pid = 0;
  report.uid = report.gid = report.group_count = 0;
  if (c.status < 0)
    FailInPage(c.page, report.failure);
  else
    send(c.status, &report, offsetof(ExecutorReport, groups), MSG_NOSIGNAL);
  _exit(127);
}

void Fail(const ExecutorContext& c, Step step, uint32_t index) { Fail(c, step, index, errno); }

bool SendReport(int socket, const ExecutorReport& report, int pass) {
  struct iovec iov = {const_cast<ExecutorReport*>(&report), offsetof(ExecutorReport, groups)};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &pass, sizeof pass);
  return sendmsg(socket, &message, MSG_NOSIGNAL) >= 0;
}

void ReportReady(const ExecutorContext& c) {
  ExecutorReport report;
  report.kind = static_cast<uint32_t>(ReportKind::kReady);
  report.failure = {};
  report.pid = 0;
  report.uid = c.user.uid;
  report.gid = c.user.gid;
  report.group_count = c.user.group_count;
  memcpy(report.groups, c.user.groups, c.user.group_count * sizeof(uint32_t));
  const size_t size = offsetof(ExecutorReport, groups) + c.user.group_count * sizeof(uint32_t);
  if (send(c.status, &report, size, MSG_NOSIGNAL) < 0) _exit(127);
}

namespace {

bool Has(const ExecutorContext& c, uint32_t flag) { return (c.plan.flags & flag) != 0; }

// ---- before the gate ----

// Closes all but what the input names. A supervisor's copies of other gates would keep those from seeing
// end-of-file, and a container must not find a log or a socket.
void CloseOtherDescriptors(const ExecutorContext& c) {
  const ExecutorInput& in = c.input;
  int keep[] = {in.status,      in.mount_namespace, in.user_namespace, in.target,
                in.exec_cgroup, in.stdio[0],        in.stdio[1],       in.stdio[2]};
  constexpr int kCount = sizeof keep / sizeof keep[0];
  for (int i = 1; i < kCount; ++i) {
    for (int j = i; j > 0 && keep[j] < keep[j - 1]; --j) {
      const int t = keep[j];
      keep[j] = keep[j - 1];
      keep[j - 1] = t;
    }
  }
  unsigned next = 3;  // 0 to 2 stay, so that nothing else is opened there
  for (int fd : keep) {
    if (fd < 3) continue;
    if (static_cast<unsigned>(fd) > next) sys::CloseRange(next, static_cast<unsigned>(fd) - 1, 0);
    if (static_cast<unsigned>(fd) >= next) next = static_cast<unsigned>(fd) + 1;
  }
  if (sys::CloseRange(next, ~0u, 0) != 0) Fail(c, Step::kDescriptors);
}

// The supervisor has signals blocked (it reads them from a signalfd).
void ResetSignals() {
  const uint64_t none = 0;
  syscall(__NR_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
}

// Puts stdio at 0, 1, 2. What stands there now is moved up first.
void ArrangeStdio(ExecutorContext& c) {
  int fds[3];
  for (int i = 0; i < 3; ++i) {
    fds[i] = c.input.stdio[i] >= 0 ? c.input.stdio[i] : c.null;
    if (fds[i] < 3 && (fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3)) < 0) Fail(c, Step::kStdio);
  }
  if (c.status < 3 && (c.status = fcntl(c.status, F_DUPFD_CLOEXEC, 3)) < 0) Fail(c, Step::kStdio);
  for (int i = 0; i < 3; ++i) {
    if (dup2(fds[i], i) < 0) Fail(c, Step::kStdio);
  }
}

// "0" means the writer, whatever PID namespace it is in.
bool WriteZero(int dir, const char* path) {
  const int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = write(fd, "0", 1) == 1;
  const int error = errno;
  close(fd);
  errno = error;
  return good;
}

// The file through which a single-threaded process moves itself. v1's `tasks` with "0" takes no global lock;
// cgroup.procs does, and waits for an RCU grace period, milliseconds, if nobody moved lately.
const char* JoinFile(const PlanCgroup& g) {
  return (g.flags & kCgroupV2) != 0 ? "/cgroup.procs" : "/tasks";
}

// v1: several hierarchies. v2: CLONE_INTO_CGROUP did it, unless the kernel is too old or a delegated
// container made the directory an inner node.
void JoinCgroups(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.cgroups.count; ++i) {
    const PlanCgroup& g = PlanTable(c.plan, c.plan.cgroups)[i];
    if ((g.flags & kCgroupV2) != 0 && c.input.cgroup2_joined) continue;
    const char* file = JoinFile(g);
    const int* kept = c.input.cgroup_files;
    bool good;
    if (c.input.exec_cgroup >= 0 && i == c.input.exec_cgroup_index) {
      good = WriteZero(c.input.exec_cgroup, file + 1);
    } else if (kept != nullptr && kept[i] >= 0) {
      good = write(kept[i], "0", 1) == 1;
    } else {
      const char* path = c.String(g.path);
      const size_t length = strlen(path);
      if (length + strlen(file) + 1 > sizeof c.path) Fail(c, Step::kJoinCgroup, i, ENAMETOOLONG);
      memcpy(c.path, path, length);
      strcpy(c.path + length, file);
      good = WriteZero(AT_FDCWD, c.path);
    }
    if (!good) Fail(c, Step::kJoinCgroup, i);
  }
  // A working directory of /proc/self/fd/N must not find the host's cgroups (CVE-2024-21626).
  if (c.input.exec_cgroup >= 0) close(c.input.exec_cgroup);
}

// Lowering it below the supervisor's own minimum needs CAP_SYS_RESOURCE: then it stays where it is.
void SetOomScore(ExecutorContext& c) {
  if (c.plan.oom_score_adj == kOomScoreUnset) return;
  char text[16];
  int n = 0;
  int32_t value = c.plan.oom_score_adj;
  if (value < -1000 || value > 1000) Fail(c, Step::kOomScore, 0, EINVAL);
  if (value < 0) text[n++] = '-', value = -value;
  for (int divisor = 1000; divisor > 0; divisor /= 10) {
    if (value >= divisor || divisor == 1) text[n++] = static_cast<char>('0' + value / divisor % 10);
  }
  const int fd = sys::Open("/proc/self/oom_score_adj", O_WRONLY);
  if (fd < 0) Fail(c, Step::kOomScore);
  if (write(fd, text, static_cast<size_t>(n)) != n && errno != EACCES && errno != EPERM)
    Fail(c, Step::kOomScore);
  close(fd);
}

// The label that execve takes on; the kernel keeps it over a fork. Asked for in the host's namespaces, where
// /proc is nobody else's. attr/apparmor is there since 5.8; before, attr belongs to the first module alone.
void AskForProfile(ExecutorContext& c) {
  const char* profile = c.String(c.plan.apparmor);
  if (profile == nullptr) return;
  int fd = sys::Open("/proc/self/attr/apparmor/exec", O_WRONLY);
  if (fd < 0 && errno == ENOENT) fd = sys::Open("/proc/self/attr/exec", O_WRONLY);
  if (fd < 0) Fail(c, Step::kAppArmor);
  const size_t length = strlen(profile);
  if (length + 6 > sizeof c.path) Fail(c, Step::kAppArmor, 0, ENAMETOOLONG);
  memcpy(c.path, "exec ", 5);
  memcpy(c.path + 5, profile, length + 1);
  if (write(fd, c.path, length + 5) != static_cast<ssize_t>(length + 5)) Fail(c, Step::kAppArmor);
  close(fd);
}

bool SetLimit(unsigned resource, uint64_t soft, uint64_t hard) {
  const uint64_t limit[2] = {soft, hard};
  return syscall(__NR_prlimit64, 0, resource, limit, nullptr) == 0;
}

// Raising a hard limit needs CAP_SYS_RESOURCE; without it the present one is the most there is.
void SetRlimits(ExecutorContext& c) {
  uint64_t now[2];
  if (c.input.nofile_soft != 0 && syscall(__NR_prlimit64, 0, RLIMIT_NOFILE, nullptr, now) == 0)
    SetLimit(RLIMIT_NOFILE, c.input.nofile_soft, now[1]);
  for (uint32_t i = 0; i < c.plan.rlimits.count; ++i) {
    const PlanRlimit& r = PlanTable(c.plan, c.plan.rlimits)[i];
    if (SetLimit(r.resource, r.soft, r.hard)) continue;
    if (errno != EPERM || syscall(__NR_prlimit64, 0, r.resource, nullptr, now) != 0 ||
        !SetLimit(r.resource, r.soft < now[1] ? r.soft : now[1],
                  r.hard < now[1] ? r.hard : now[1])) {
      Fail(c, Step::kRlimit, i);
    }
  }
}

// What only the host's CAP_SYS_RESOURCE can do, before the user namespace is entered. SetRlimits does the
// rest, and clamps.
void RaiseHardLimits(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.rlimits.count; ++i) {
    const PlanRlimit& r = PlanTable(c.plan, c.plan.rlimits)[i];
    uint64_t now[2];
    if (syscall(__NR_prlimit64, 0, r.resource, nullptr, now) == 0 && r.hard > now[1])
      SetLimit(r.resource, now[0], r.hard);
  }
}

// In a namespace of the container's own only (CAP_SYS_ADMIN over it): a pod's name is its keeper's to set.
void SetHostname(ExecutorContext& c) {
  if (!Has(c, kPlanNewUts)) return;
  const char* host = c.String(c.plan.hostname);
  const char* domain = c.String(c.plan.domainname);
  if (host != nullptr && syscall(__NR_sethostname, host, strlen(host)) != 0)
    Fail(c, Step::kHostname);
  if (domain != nullptr && syscall(__NR_setdomainname, domain, strlen(domain)) != 0)
    Fail(c, Step::kHostname, 1);
}

// After the cgroups were joined: on v1 the namespace's roots are where the process is then.
void UnshareCgroupNamespace(ExecutorContext& c) {
  if (Has(c, kPlanCgroupNamespace) && sys::Unshare(CLONE_NEWCGROUP) != 0)
    Fail(c, Step::kCgroupNamespace);
}

void FindUser(ExecutorContext& c, int root) {
  const Step step = ResolveUser(c.plan, root, &c.user);
  if (step != Step::kNone) Fail(c, step);
}

// Else /dev/stdout is EACCES for other users than root. What comes from outside belongs to nobody in a user
// namespace, so that is given while the process is still outside; a terminal is the container's own.
void GiveStdioToUser(ExecutorContext& c) {
  const bool terminal = Has(c, kPlanTerminal);
  if (c.in_userns != terminal && HasUserNamespace(c)) return;
  uint32_t uid = c.user.uid, gid = c.user.gid;
  if (!c.in_userns && (!OutsideId(c, c.plan.uid_maps, c.user.uid, &uid) ||
                       !OutsideId(c, c.plan.gid_maps, c.user.gid, &gid))) {
    Fail(c, Step::kUid, 1);
  }
  if (uid == 0) return;
  for (int fd = 0; fd < 3; ++fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) Fail(c, Step::kStdio, 3);
    if (!terminal && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) continue;
    if (fchown(fd, uid, terminal ? st.st_gid : gid) != 0) Fail(c, Step::kStdio, 3);
  }
}

void WaitAtGate(const ExecutorContext& c) {
  char byte;
  ssize_t n;
  do n = recv(c.status, &byte, 1, 0);
  while (n < 0 && errno == EINTR);
  if (n != 1) _exit(127);  // the supervisor is gone, or does not want us any more
}

// ---- after the gate ----

bool SetCapabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  for (int i = 0; i < 2; ++i) {
    data[i].effective = static_cast<uint32_t>(effective >> (32 * i));
    data[i].permitted = static_cast<uint32_t>(permitted >> (32 * i));
    data[i].inheritable = static_cast<uint32_t>(inheritable >> (32 * i));
  }
  return syscall(__NR_capset, &header, data) == 0;
}

uint64_t PermittedNow(const ExecutorContext& c) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(__NR_capget, &header, data) != 0) Fail(c, Step::kCapabilities, 1);
  return data[0].permitted | static_cast<uint64_t>(data[1].permitted) << 32;
}

// What isn't in it no file capability gives back. CAP_SETPCAP; before the user changes, which takes that.
void DropBoundingSet(const ExecutorContext& c) {
  const uint64_t drop = c.bounding & ~c.plan.capabilities.bounding;
  for (unsigned cap = 0; cap < 64; ++cap) {
    if ((drop >> cap & 1) != 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
      Fail(c, Step::kCapabilities, cap);
  }
}

// CAP_SETGID and CAP_SETUID; the groups first, while they are still there. The capabilities stay (KEEPCAPS) until
// the filter has been installed and those that the container is given can be chosen.
void BecomeUser(const ExecutorContext& c) {
  const ProcessUser& user = c.user;
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) Fail(c, Step::kCapabilities, 2);
  if (syscall(__NR_setgroups, user.group_count, user.groups) != 0) Fail(c, Step::kGroups);
  if (syscall(__NR_setresgid, user.gid, user.gid, user.gid) != 0) Fail(c, Step::kGroups, 1);
  if (syscall(__NR_setresuid, user.uid, user.uid, user.uid) != 0) Fail(c, Step::kUid);
  if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) Fail(c, Step::kCapabilities, 2);
  if (c.in_userns) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // see executor_userns.h
}

// seccomp(2), 3.17: takes flags, which prctl doesn't. CAP_SYS_ADMIN, or no_new_privs.
void InstallFilter(const ExecutorContext& c) {
  if (c.plan.seccomp.count == 0) return;
  static_assert(sizeof(struct sock_filter) == sizeof(PlanFilterInstruction));
  struct sock_fprog program;
  program.len = static_cast<unsigned short>(c.plan.seccomp.count);
  program.filter = const_cast<struct sock_filter*>(
      reinterpret_cast<const struct sock_filter*>(PlanTable(c.plan, c.plan.seccomp)));
  if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, c.plan.seccomp_flags, &program) != 0)
    Fail(c, Step::kSeccomp);
}

// Ambient ones 4.3; cleared first, as the daemon's own would stay.
void SetFinalCapabilities(const ExecutorContext& c, uint64_t have) {
  const PlanCapabilities& want = c.plan.capabilities;
  const uint64_t permitted = want.permitted & have;
  const uint64_t inheritable = want.inheritable & c.bounding;
  // Beyond the permitted set, inheritable ones can be added only while they are permitted (capset(2)).
  if (!SetCapabilities(want.effective & permitted, permitted, inheritable & have))
    Fail(c, Step::kCapabilities, 3);
  const uint64_t ambient = want.ambient & permitted & inheritable;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    Fail(c, Step::kCapabilities, 4);
  for (unsigned cap = 0; cap < 64; ++cap) {
    if ((ambient >> cap & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0)
      Fail(c, Step::kCapabilities, cap);
  }
}

// Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before the capabilities go; with it, last.
void DropPrivileges(const ExecutorContext& c) {
  DropBoundingSet(c);
  BecomeUser(c);
  const uint64_t have = PermittedNow(c);
  const bool no_new_privs = Has(c, kPlanNoNewPrivs);
  if (!no_new_privs && c.plan.seccomp.count != 0) {
    if (!SetCapabilities(have, have, 0)) Fail(c, Step::kCapabilities, 5);
    InstallFilter(c);
  }
  SetFinalCapabilities(c, have);
  if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail(c, Step::kNoNewPrivs);
}

void BecomeSessionLeader(ExecutorContext& c) {
  setsid();
  if (Has(c, kPlanTerminal) && ioctl(0, TIOCSCTTY, 0) != 0) Fail(c, Step::kTerminal, 7);
}

// Searches PATH of the plan's environment as execvp(3) does. Returns errno.
int ExecuteProgram(ExecutorContext& c, char** argv, char** envp, const char* search) {
  if (strchr(argv[0], '/') != nullptr) {
    execve(argv[0], argv, envp);
    return errno;
  }
  int error = ENOENT;
  const size_t name = strlen(argv[0]);
  for (const char* dir = search;; ++dir) {
    const char* end = strchr(dir, ':');
    const size_t length = end ? static_cast<size_t>(end - dir) : strlen(dir);
    if (length + name + 2 < sizeof c.path) {
      memcpy(c.path, length ? dir : ".", length ? length : 1);
      const size_t at = length ? length : 1;
      c.path[at] = '/';
      memcpy(c.path + at + 1, argv[0], name + 1);
      execve(c.path, argv, envp);
      if (errno == EACCES)
        error = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR)
        return errno;
    }
    if (end == nullptr) return error;
    dir = end;
  }
}

[[noreturn]] void Run(ExecutorContext& c) {
  const Plan& plan = c.plan;
  // Bounded by ValidatePlan: at most kMaxPlanStrings pointers each.
  char** argv = static_cast<char**>(__builtin_alloca((plan.argv.count + 1) * sizeof(char*)));
  char** envp = static_cast<char**>(__builtin_alloca((plan.envp.count + 2) * sizeof(char*)));
  for (uint32_t i = 0; i < plan.argv.count; ++i)
    argv[i] = const_cast<char*>(c.String(PlanTable(plan, plan.argv)[i]));
  argv[plan.argv.count] = nullptr;
  bool has_home = false;
  const char* search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  uint32_t n = 0;
  for (uint32_t i = 0; i < plan.envp.count; ++i) {
    envp[n] = const_cast<char*>(c.String(PlanTable(plan, plan.envp)[i]));
    if (strncmp(envp[n], "HOME=", 5) == 0) has_home = true;
    if (strncmp(envp[n], "PATH=", 5) == 0) search = envp[n] + 5;
    ++n;
  }
  char home[sizeof c.user.home + 5] = "HOME=";
  if (!has_home) {
    strcpy(home + 5, c.user.home);
    envp[n++] = home;
  }
  envp[n] = nullptr;
  // Whatever is open beyond stdio stays outside.
  sys::CloseRange(3, ~0u, sys::kCloseRangeCloexec);
  Fail(c, Step::kExecve, 0, ExecuteProgram(c, argv, envp, search));
}

void EnterWorkingDirectory(const ExecutorContext& c, bool as_root) {
  if (chdir(c.String(c.plan.cwd)) == 0) {
    // "(unreachable)/...": a directory outside of the root (CVE-2024-21626).
    char path[PATH_MAX];
    if (syscall(__NR_getcwd, path, sizeof path) < 0 || path[0] != '/')
      Fail(c, Step::kCwd, 1, ENOENT);
    return;
  }
  if (as_root && errno == EACCES) return;  // e.g. root-squashed: the user tries again
  Fail(c, Step::kCwd);
}

// From a prepared process, as root with stdio in place, to execve.
[[noreturn]] void Finish(ExecutorContext& c) {
  if (c.input.hop) StartFerry(c);
  DropPrivileges(c);
  EnterWorkingDirectory(c, false);
  umask(c.plan.user.umask);
  if (c.input.hop) {
    BecomePassenger(c);
    BecomeSessionLeader(c);
  }
  if (Has(c, kPlanNoNewPrivs)) InstallFilter(c);
  Run(c);
}

// ---- the two flows ----

// All that has to be done outside of the user namespace. Returns in the container's init.
void CrossIntoUserNamespace(ExecutorContext& c) {
  GiveStdioToUser(c);
  RaiseHardLimits(c);
  if (Has(c, kPlanTerminal)) MakeConsole(c);
  SealMounts(c);
  EnterUserNamespace(c);
  UnshareCgroupNamespace(c);
  AttachMounts(c);
}

[[noreturn]] void StartContainer(ExecutorContext& c) {
  // In the host's namespaces, with all privileges.
  CloseOtherDescriptors(c);
  ResetSignals();
  JoinCgroups(c);
  SetOomScore(c);
  AskForProfile(c);
  OpenRootfs(c);
  OpenMountSources(c);
  // In the container's.
  EnterMountNamespace(c);
  const bool userns = HasUserNamespace(c);
  if (userns) MakeFilesAsMappedRoot(c);
  UnshareCgroupNamespace(c);
  SetHostname(c);
  AttachRootfs(c);
  AttachMounts(c);
  MakeDevices(c);
  MakeSymlinks(c);
  WriteSysctls(c);
  MakeWorkingDirectory(c);
  FindUser(c, c.rootfs);
  ArrangeStdio(c);
  if (userns) CrossIntoUserNamespace(c);
  if (Has(c, kPlanTerminal)) OpenTerminal(c, true);
  if (!c.input.hop) BecomeSessionLeader(c);
  ProtectPaths(c);
  if (!userns) SealMounts(c);
  PivotRoot(c);
  SetRlimits(c);
  GiveStdioToUser(c);
  EnterWorkingDirectory(c, true);
  // Gated.
  ReportReady(c);
  WaitAtGate(c);
  Finish(c);
}

[[noreturn]] void StartExec(ExecutorContext& c) {
  JoinCgroups(c);  // by descriptors that nobody else needs
  CloseOtherDescriptors(c);
  ResetSignals();
  SetOomScore(c);
  AskForProfile(c);
  c.null = sys::Open("/dev/null", O_RDWR);
  if (c.null < 0) Fail(c, Step::kDescriptors);
  const int namespaces = CLONE_NEWNS | (Has(c, kPlanCgroupNamespace) ? CLONE_NEWCGROUP : 0);
  if (sys::SetNs(c.input.target, namespaces) != 0) Fail(c, Step::kJoinNamespaces);
  FindUser(c, AT_FDCWD);  // root and working directory are the container's now
  ArrangeStdio(c);
  if (HasUserNamespace(c)) {
    GiveStdioToUser(c);
    RaiseHardLimits(c);
    BecomeUserNamespaceRoot(c);
  }
  if (Has(c, kPlanTerminal)) OpenTerminal(c, false);
  if (!c.input.hop) BecomeSessionLeader(c);
  SetRlimits(c);
  GiveStdioToUser(c);
  EnterWorkingDirectory(c, true);
  Finish(c);
}

[[noreturn]] void StartExternal(ExecutorContext& c) {
  CloseOtherDescriptors(c);
  ResetSignals();
  if (Has(c, kPlanExec)) DriveExec(c);
  DriveContainer(c);
}

}  // namespace

void Execute(const ExecutorInput& input) {
  umask(0);
  ExecutorContext c(input);
  if ((input.plan->flags & kPlanExternal) != 0) StartExternal(c);
  if ((input.plan->flags & kPlanExec) != 0) StartExec(c);
  StartContainer(c);
}

int CloneProcess(uint64_t flags, int cgroup, int* pidfd) {
  struct clone_args args = {};
  args.flags = flags;
  args.exit_signal = (flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD;
  if (pidfd != nullptr) {
    args.flags |= CLONE_PIDFD;
    args.pidfd = reinterpret_cast<uint64_t>(pidfd);
  }
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  const long pid = syscall(__NR_clone3, &args, sizeof args);
  return pid < 0 ? -errno : static_cast<int>(pid);
}

uint64_t ReadBoundingSet() {
  uint64_t set = 0;
  for (unsigned cap = 0; cap < 64; ++cap) {
    const int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
    if (has < 0) break;
    if (has == 1) set |= uint64_t{1} << cap;
  }
  return set;
}

}  // namespace berth
