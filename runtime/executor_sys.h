// System calls that libc has no wrapper for, or whose wrapper does more than the call (glibc's setresuid
// signals threads). Kernel headers only: <sys/mount.h> and <sched.h> clash with them.
//
// Berth needs 5.15 (docs/kernels.md); beside each call that needs privileges stands since when it is there, and why
// it is used rather than an older one.
#ifndef BERTH_RUNTIME_EXECUTOR_SYS_H_
#define BERTH_RUNTIME_EXECUTOR_SYS_H_

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdint.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef AT_NO_AUTOMOUNT
#define AT_NO_AUTOMOUNT 0x800
#endif

namespace berth::sys {

inline constexpr int kMntDetach = 2;
inline constexpr unsigned kCloseRangeCloexec = 1u << 2;

// Without musl's fcntl(FD_CLOEXEC) after it, which was for kernels without O_CLOEXEC.
inline int Open(const char* path, int flags) {
  return syscall(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}
// 5.2; a clone needs CAP_SYS_ADMIN. A mount as a descriptor: its attributes and propagation are set before
// anybody can see it, and no path is walked a second time.
inline int OpenTree(int dir, const char* path, unsigned flags) {
  return syscall(__NR_open_tree, dir, path, flags | OPEN_TREE_CLOEXEC);
}
// 5.2, CAP_SYS_ADMIN. Onto a descriptor: between looking at a target and mounting there nothing can be swapped.
inline int MoveMount(int from, int to_dir, const char* to) {
  const unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*to == 0 ? MOVE_MOUNT_T_EMPTY_PATH : 0);
  return syscall(__NR_move_mount, from, "", to_dir, to, flags);
}
// 5.2 (overlayfs: 6.5), CAP_SYS_ADMIN. A file system without a place, so that nothing of a container's can stand in
// for it.
inline int FsOpen(const char* type) { return syscall(__NR_fsopen, type, FSOPEN_CLOEXEC); }
inline int FsConfig(int fs, unsigned cmd, const char* key, const void* value, int aux) {
  return syscall(__NR_fsconfig, fs, cmd, key, value, aux);
}
inline int FsMount(int fs, unsigned attr) {
  return syscall(__NR_fsmount, fs, FSMOUNT_CLOEXEC, attr);
}
// 5.12 (with id maps: overlayfs' layers 5.19, tmpfs 6.3), CAP_SYS_ADMIN. All of a tree at once, which MS_REMOUNT
// can't, and it changes no flag that isn't named.
inline int MountSetattr(int fd, const char* path, unsigned flags, uint64_t set, uint64_t clear,
                        uint64_t propagation, int userns = 0) {
  struct mount_attr attr = {};
  attr.userns_fd = static_cast<uint64_t>(userns);
  attr.attr_set = set;
  attr.attr_clr = clear;
  attr.propagation = propagation;
  return syscall(__NR_mount_setattr, fd, path, flags | AT_EMPTY_PATH, &attr, sizeof attr);
}
// 5.6. Beneath a root, whatever links an image or a neighbour puts in the way: no check that could be outrun.
inline int OpenAt2(int dir, const char* path, uint64_t flags, uint64_t resolve, unsigned mode = 0) {
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  // EAGAIN: a rename or mount elsewhere raced with the walk (openat2(2)).
  for (int attempt = 0;; ++attempt) {
    const int fd = syscall(__NR_openat2, dir, path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN || attempt == 100) return fd;
  }
}
// CAP_SYS_ADMIN over the namespace; 5.8 takes a pidfd and several types at once, so that all are of one process.
inline int SetNs(int fd, int type) { return syscall(__NR_setns, fd, type); }
// CAP_SYS_ADMIN but for CLONE_NEWUSER; CLONE_NEWCGROUP 4.6. After a fork only: a thread of the daemon never does.
inline int Unshare(unsigned long flags) { return syscall(__NR_unshare, flags); }
// CAP_SYS_ADMIN. Not chroot, out of which CAP_SYS_CHROOT leads: the old root is unmounted and can't be reached.
inline int PivotRoot(const char* new_root, const char* put_old) {
  return syscall(__NR_pivot_root, new_root, put_old);
}
inline int Unmount(const char* path, int flags) { return syscall(__NR_umount2, path, flags); }
// For overlayfs before 6.5 only.
inline int Mount(const char* source, const char* target, const char* type, unsigned long flags,
                 const void* data) {
  return syscall(__NR_mount, source, target, type, flags, data);
}
// 5.9, CLOSE_RANGE_CLOEXEC 5.11. What is open isn't asked of a /proc that may be somebody else's.
inline int CloseRange(unsigned first, unsigned last, unsigned flags) {
  return syscall(__NR_close_range, first, last, flags);
}

}  // namespace berth::sys

#endif  // BERTH_RUNTIME_EXECUTOR_SYS_H_
