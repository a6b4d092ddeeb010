#include "snapshotter/unpack/confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

constexpr rlim_t kAddressSpace = rlim_t{1} << 30;

absl::Status Limit(int resource, const char* name, rlim_t value) {
  struct rlimit limit;
  if (getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return ErrnoStatus(name);
  if (limit.rlim_max < value) value = limit.rlim_max;
  limit = {value, value};
  if (setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return ErrnoStatus(name);
  return absl::OkStatus();
}

constexpr int kKept[] = {
    CAP_CHOWN,         // owners of files
    CAP_DAC_OVERRIDE,  // write into directories whose mode or owner was set already
    CAP_FOWNER,        // chmod and utimensat after chown
    CAP_FSETID,        // keep set-group-ID on a file of another group
    CAP_MKNOD,         // device nodes
    CAP_SETFCAP,       // security.capability
    CAP_SYS_ADMIN,     // trusted.overlay.opaque
};

bool Kept(int capability) {
  for (const int kept : kKept) {
    if (kept == capability) return true;
  }
  return false;
}

constexpr int kAllowed[] = {
    // bytes in and out
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    // the tree
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(mkdirat),
    SCMP_SYS(mknodat),
    SCMP_SYS(symlinkat),
    SCMP_SYS(linkat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(utimensat),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fcntl),
    SCMP_SYS(syncfs),
    SCMP_SYS(fsync),
    SCMP_SYS(geteuid),
    SCMP_SYS(getegid),
    // memory, threads and time
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam),  // absl::Mutex asks for its thread's
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getrandom),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

}  // namespace

absl::Status LimitResources() {
  RETURN_IF_ERROR(Limit(RLIMIT_AS, "setrlimit RLIMIT_AS", kAddressSpace));
  RETURN_IF_ERROR(Limit(RLIMIT_NOFILE, "setrlimit RLIMIT_NOFILE", 64));
  RETURN_IF_ERROR(Limit(RLIMIT_CORE, "setrlimit RLIMIT_CORE", 0));
  return absl::OkStatus();
}

absl::Status EnterRoot(int target) {
  // Nothing that is mounted here shows on the host.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return ErrnoStatus("make mounts private");
  }
  // The copy of a shared mount is its peer, also in here, and pivot_root refuses a shared root.
  mount_attr alone = {};
  alone.propagation = MS_PRIVATE;
  if (syscall(SYS_mount_setattr, target, "", AT_EMPTY_PATH, &alone, sizeof(alone)) != 0) {
    return ErrnoStatus("make the target private");
  }
  // Anywhere will do, for the moment until it is the root.
  if (syscall(SYS_move_mount, target, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return ErrnoStatus("move_mount of the target");
  }
  if (fchdir(target) != 0) return ErrnoStatus("fchdir to the target");
  // A copy of a shared mount is shared, too (/ is, below systemd), and pivot_root refuses that.
  if (mount(nullptr, ".", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return ErrnoStatus("make the target private");
  }
  // Stacks the old root below the new one at the same place (pivot_root(2), NOTES), then drops it.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return ErrnoStatus("pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return ErrnoStatus("umount the old root");
  if (chdir("/") != 0) return ErrnoStatus("chdir /");
  // open_tree gave an O_PATH descriptor, which syncfs and fchmod refuse.
  const UniqueFd root(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return ErrnoStatus("open the new root");
  if (dup3(root.get(), target, O_CLOEXEC) < 0) return ErrnoStatus("dup the new root");
  return absl::OkStatus();
}

absl::Status DropCapabilities() {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (!Kept(capability) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      return ErrnoStatus(absl::StrCat("drop capability ", capability, " from the bounding set"));
    }
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return ErrnoStatus("clear ambient capabilities");
  }
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct now[2] = {};
  if (syscall(SYS_capget, &header, now) != 0) return ErrnoStatus("capget");
  __user_cap_data_struct wanted[2] = {};
  for (const int kept : kKept) {
    // What the daemon lacks can't be had; the system call that needs it will say so.
    wanted[kept / 32].permitted |= (1u << (kept % 32)) & now[kept / 32].permitted;
  }
  for (__user_cap_data_struct& half : wanted) half.effective = half.permitted;
  if (syscall(SYS_capset, &header, wanted) != 0) return ErrnoStatus("capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoStatus("no_new_privs");
  return absl::OkStatus();
}

absl::Status FilterSystemCalls() {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(seccomp_init(SCMP_ACT_KILL_PROCESS),
                                                                seccomp_release);
  if (!filter) return absl::InternalError("seccomp: out of memory");
  const auto check = [](int result, absl::string_view what) {
    return result == 0 ? absl::OkStatus() : ErrnoStatusOf(-result, absl::StrCat("seccomp: ", what));
  };
  RETURN_IF_ERROR(check(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1), "TSYNC"));
  for (const int call : kAllowed) {
    RETURN_IF_ERROR(check(seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0),
                          absl::StrCat("allow ", call)));
  }
  // malloc needs both; nothing becomes executable, so no library is loaded out of a layer either.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    RETURN_IF_ERROR(check(seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 1,
                                           SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)),
                          "allow memory"));
  }
  return check(seccomp_load(filter.get()), "load");
}

}  // namespace berth
