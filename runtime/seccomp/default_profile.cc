// RuntimeDefault: which calls containers may make.
#include <linux/audit.h>
#include <sys/socket.h>

#include <cerrno>
#include <map>

#include "absl/strings/str_split.h"
#include "base/mutex.h"
#include "runtime/seccomp/profile.h"

namespace berth {
namespace {

constexpr const char* kAllowed =
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown "
    "chown32 "
    "clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 "
    "clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup "
    "dup2 "
    "dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
    "epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 "
    "fadvise64 "
    "fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 "
    "fchownat "
    "fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 "
    "fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 "
    "futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd "
    "getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
    "getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid "
    "getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid "
    "gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 "
    "inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 "
    "io_setup "
    "io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset "
    "landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr "
    "listxattrat llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 madvise "
    "map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat "
    "mlock "
    "mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
    "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget "
    "msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat "
    "_newselect "
    "open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free "
    "pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease "
    "process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 "
    "read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg "
    "remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall "
    "riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn "
    "rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max "
    "sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler "
    "sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
    "sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop "
    "semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list "
    "set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 "
    "setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 "
    "setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 "
    "setxattr "
    "setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask "
    "sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink "
    "symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate "
    "truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 "
    "utimes vfork vmsplice wait4 waitid waitpid write writev";

#if defined(__x86_64__)
constexpr const char* kArchAllowed = "arch_prctl modify_ldt";
#elif defined(__aarch64__)
constexpr const char* kArchAllowed =
    "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";
#else
#error "no default seccomp profile for this architecture"
#endif

struct CapabilityCalls {
  const char* capability;
  const char* calls;
};
constexpr CapabilityCalls kByCapability[] = {
    {"BPF", "bpf"},
    {"DAC_READ_SEARCH", "open_by_handle_at"},
    {"PERFMON", "perf_event_open"},
    {"SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
     "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
     "open_tree "
     "perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 "
     "unshare"},
    {"SYS_BOOT", "reboot"},
    {"SYS_CHROOT", "chroot"},
    {"SYS_MODULE", "delete_module finit_module init_module"},
    {"SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"SYS_PACCT", "acct"},
    {"SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    {"SYS_RAWIO", "ioperm iopl"},
    {"SYS_TIME", "clock_settime clock_settime64 settimeofday stime"},
    {"SYS_TTY_CONFIG", "vhangup"},
    {"SYSLOG", "syslog"},
};

// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET: no new namespaces.
constexpr uint64_t kNamespaceFlags = 0x7e02'0000;
// PER_LINUX, PER_LINUX32, UNAME26, UNAME26 | PER_LINUX32, and the query.
constexpr uint64_t kPersonalities[] = {0x0, 0x8, 0x2'0000, 0x2'0008, 0xffff'ffff};

SeccompRule Allow(const char* names) {
  SeccompRule rule;
  rule.names = absl::StrSplit(names, ' ');
  return rule;
}

SeccompRule Allow(const char* names, SeccompArg arg) {
  SeccompRule rule = Allow(names);
  rule.args = {arg};
  return rule;
}

SeccompProfile Build(CapabilityMask bounding) {
  SeccompProfile profile;
#if defined(__x86_64__)
  profile.architectures = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, kArchX32};
#else
  profile.architectures = {AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM};
#endif
  profile.rules = {Allow(kAllowed), Allow(kArchAllowed)};
  // Hosts' vsocks reach the hypervisor, whatever the network namespace.
  profile.rules.push_back(Allow("socket", {0, SeccompOp::kNe, AF_VSOCK, 0}));
  for (const uint64_t value : kPersonalities) {
    profile.rules.push_back(Allow("personality", {0, SeccompOp::kEq, value, 0}));
  }
  for (const CapabilityCalls& entry : kByCapability) {
    if (bounding & CapabilityBit(*CapabilityNumber(entry.capability))) {
      profile.rules.push_back(Allow(entry.calls));
    }
  }
  if (!(bounding & CapabilityBit(*CapabilityNumber("SYS_ADMIN")))) {
    profile.rules.push_back(Allow("clone", {0, SeccompOp::kMaskedEq, kNamespaceFlags, 0}));
    // Its flags are in memory, out of a filter's reach. ENOSYS makes libraries use clone.
    SeccompRule clone3;
    clone3.names = {"clone3"};
    clone3.action = SeccompAction::kErrno;
    clone3.errno_ret = ENOSYS;
    profile.rules.push_back(clone3);
  }
  return profile;
}

CapabilityMask Relevant() {
  CapabilityMask mask = 0;
  for (const CapabilityCalls& entry : kByCapability) {
    mask |= CapabilityBit(*CapabilityNumber(entry.capability));
  }
  return mask;
}

}  // namespace

std::shared_ptr<const SeccompProfile> DefaultSeccompProfile(CapabilityMask bounding) {
  static const CapabilityMask relevant = Relevant();
  static Mutex& mu = *new Mutex;
  static auto& made = *new std::map<CapabilityMask, std::shared_ptr<const SeccompProfile>>;
  const MutexLock lock(&mu);
  std::shared_ptr<const SeccompProfile>& entry = made[bounding & relevant];
  if (entry == nullptr) entry = std::make_shared<const SeccompProfile>(Build(bounding));
  return entry;
}

}  // namespace berth
