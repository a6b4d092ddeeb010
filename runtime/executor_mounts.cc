// The executor's mounts.
//
// Sources are opened in the host's mount namespace, as detached clones whose propagation and attributes are
// set before they are attached: one opened after "/" became a slave would propagate nothing back, and one
// attached while still shared would let the host see what a container mounts below it. Copying the host's
// mount namespace costs 1.6 µs a mount, so the process joins a tiny one that was made before, unshares that,
// and attaches there.
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "runtime/executor_context.h"
#include "runtime/executor_new_mount.h"
#include "runtime/executor_paths.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_userns.h"

#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)  // 6.11
#endif

namespace berth {
namespace {

bool Has(uint32_t flags, uint32_t bit) { return (flags & bit) != 0; }

// A new procfs shows the PID namespace of who makes it. Before a hop that is not the container's: a pod's is
// mounted at /proc by its init, another container's is named by a descriptor.
int ProcMount(ExecutorContext& c, const PlanMount& m) {
  const char* options = c.String(m.options);
  if (!c.input.hop) return NewMount("proc", options, m.attr_set);
  if (c.plan.pid_mode == PidMode::kPod && (options == nullptr || *options == 0)) {
    const int fd = sys::OpenTree(AT_FDCWD, "/proc", OPEN_TREE_CLONE);
    struct statfs fs;
    if (fd < 0 || fstatfs(fd, &fs) != 0) return -1;
    if (fs.f_type != PROC_SUPER_MAGIC) {
      errno = ESRCH;
      return -1;
    }
    return sys::MountSetattr(fd, "", 0, m.attr_set, m.attr_clear, kMountPrivate) == 0 ? fd : -1;
  }
  const int pidns = ioctl(c.input.target, PIDFD_GET_PID_NAMESPACE, 0);
  if (pidns < 0) return -1;
  const int fd = NewMount("proc", options, m.attr_set, pidns);
  const int error = errno;
  close(pidns);
  errno = error;
  return fd;
}

// A detached mount for what is made rather than bound; -1 with errno.
int CreateMount(ExecutorContext& c, const PlanMount& m) {
  const char* options = c.String(m.options);
  switch (m.kind) {
    case MountKind::kProc:
      return ProcMount(c, m);
    case MountKind::kSysfs:
      return NewMount("sysfs", options, m.attr_set);
    // Made read-only at the end (SealMounts): mounts and devices are to be made below it.
    case MountKind::kTmpfs:
      return NewMount("tmpfs", options, m.attr_set & ~uint64_t{MOUNT_ATTR_RDONLY});
    case MountKind::kDevpts:
      return NewMount("devpts", options, m.attr_set);
    case MountKind::kMqueue:
      return NewMount("mqueue", options, m.attr_set);
    case MountKind::kCgroup1:
      return NewMount("cgroup", options, m.attr_set);
    case MountKind::kCgroup2:
      return NewMount("cgroup2", options, m.attr_set);
    case MountKind::kOther:
      return NewMount(c.String(m.source), options, m.attr_set);
    case MountKind::kPodShm: {
      const int fd = sys::OpenTree(AT_FDCWD, "/shm", OPEN_TREE_CLONE);
      if (fd >= 0 && sys::MountSetattr(fd, "", 0, m.attr_set, m.attr_clear, kMountPrivate) != 0)
        return -1;
      return fd;
    }
    case MountKind::kBind:
    case MountKind::kLayers:
    case MountKind::kVolume:
      break;
  }
  errno = EINVAL;
  return -1;
}

// Nothing of an image's making may lead a mount into /proc: only a target that says /proc goes there.
void RefuseHiddenProc(ExecutorContext& c, const PlanMount& m, int target, uint32_t index) {
  struct statfs fs;
  if (fstatfs(target, &fs) != 0) Fail(c, Step::kMountTarget, index);
  if (fs.f_type == PROC_SUPER_MAGIC && strncmp(c.String(m.target), "/proc/", 6) != 0)
    Fail(c, Step::kMountTarget, index, EPERM);
}

bool SourceIsDirectory(const PlanMount& m, int source) {
  if (m.kind != MountKind::kBind && m.kind != MountKind::kLayers)
    return !Has(m.flags, kMountTargetIsFile);
  struct stat st;
  return fstatat(source, "", &st, AT_EMPTY_PATH) == 0 && S_ISDIR(st.st_mode);
}

// What the user namespace's own root has to mount, or mounts on.
bool IsUserNamespaceOwn(const ExecutorContext& c, const PlanMount& m) {
  return m.kind == MountKind::kDevpts ||
         (m.kind == MountKind::kProc && c.plan.pid_mode != PidMode::kNode);
}

bool IsBelow(const char* path, const char* parent) {
  const size_t n = strlen(parent);
  return strncmp(path, parent, n) == 0 && path[n] == '/';
}

bool IsBelowUserNamespaceOwn(const ExecutorContext& c, uint32_t i) {
  const PlanMount* mounts = PlanTable(c.plan, c.plan.mounts);
  for (uint32_t j = 0; j < i; ++j) {
    if (IsUserNamespaceOwn(c, mounts[j]) &&
        IsBelow(c.String(mounts[i].target), c.String(mounts[j].target)))
      return true;
  }
  return false;
}

int MountSource(ExecutorContext& c, const PlanMount& m, uint32_t i) {
  if (m.kind == MountKind::kBind) return c.sources[i];
  if (m.kind == MountKind::kLayers) return LayersMount(c, m, c.sources[i], i);
  return CreateMount(c, m);
}

uint64_t TargetResolve(const PlanMount& m) {
  // A link at /proc or /sys in the image would put them elsewhere, and unmasked (CVE-2019-19921).
  return m.kind == MountKind::kProc || m.kind == MountKind::kSysfs ? RESOLVE_NO_SYMLINKS : 0;
}

void BindVolume(ExecutorContext& c, const PlanMount& m, uint32_t i) {
  const int target = OpenTarget(c, c.String(m.target), Make::kDirectory);
  if (target < 0) Fail(c, Step::kMountTarget, i);
  const int source = sys::OpenTree(target, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
  if (source < 0) Fail(c, Step::kMountCreate, i);
  if (sys::MoveMount(source, target, "") != 0) Fail(c, Step::kMountAttach, i);
  close(source);
  close(target);
}

void AttachMount(ExecutorContext& c, const PlanMount& m, uint32_t i) {
  if (m.kind == MountKind::kVolume) return BindVolume(c, m, i);
  if (Has(m.flags, kMountCopyUp)) Fail(c, Step::kMountCreate, i, EOPNOTSUPP);
  if (m.kind == MountKind::kBind && c.sources[i] < 0) return;  // optional, and missing
  const int source = MountSource(c, m, i);
  if (source < 0) Fail(c, Step::kMountCreate, i);
  if (m.kind != MountKind::kBind && (m.propagation & ~kMountPrivate) != 0 &&
      sys::MountSetattr(source, "", 0, 0, 0, m.propagation) != 0)
    Fail(c, Step::kMountAttributes, i);

  const Make make = SourceIsDirectory(m, source) ? Make::kDirectory : Make::kFile;
  const int target = OpenTarget(c, c.String(m.target), make, TargetResolve(m));
  if (target < 0) Fail(c, Step::kMountTarget, i);
  if (m.kind != MountKind::kProc) RefuseHiddenProc(c, m, target, i);
  if (sys::MoveMount(source, target, "") != 0) Fail(c, Step::kMountAttach, i);
  close(target);

  c.sources[i] = -1;
  if (m.kind == MountKind::kProc && c.proc < 0) {
    c.proc = source;
  } else if (m.kind == MountKind::kDevpts && c.devpts < 0) {
    c.devpts = source;
  } else if (m.kind == MountKind::kTmpfs && (m.attr_set & MOUNT_ATTR_RDONLY) != 0) {
    c.sources[i] = source;  // for SealMounts
  } else {
    close(source);
  }
}

// Detached still, as the kernel demands (mount_setattr(2)). Neighbours mostly share their map.
void IdMapSource(ExecutorContext& c, const PlanMount& m, int fd, uint32_t i) {
  static uint32_t last = 0;
  static int userns = -1;
  if (m.id_map != last) {
    if (userns >= 0) close(userns);
    userns = MountIdMap(c, m.id_map - 1);
    last = m.id_map;
  }
  if (userns < 0 || !IdMapMount(fd, userns, Has(m.flags, kMountRecursiveIdMap)))
    Fail(c, Step::kMountIdMap, i);
}

}  // namespace

void OpenMountSources(ExecutorContext& c) {
  c.null = sys::Open("/dev/null", O_RDWR);
  struct stat st;
  // What masks files must be the null device and nothing else (CVE-2025-31133).
  if (c.null < 0 || fstat(c.null, &st) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
    Fail(c, Step::kDescriptors, 0, c.null < 0 ? errno : EINVAL);
  if (c.plan.masked_paths.count != 0) {
    c.null_mount = sys::OpenTree(c.null, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
    if (c.null_mount < 0 || sys::MountSetattr(c.null_mount, "", 0, 0, 0, kMountPrivate) != 0)
      Fail(c, Step::kMaskedPath);
  }

  const PlanMount* mounts = PlanTable(c.plan, c.plan.mounts);
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    const PlanMount& m = mounts[i];
    c.sources[i] = -1;
    if (m.kind == MountKind::kLayers) c.sources[i] = OpenLayersMount(c, m, i);
    if (m.kind != MountKind::kBind) continue;
    const unsigned recursive = Has(m.flags, kMountRecursive) ? AT_RECURSIVE : 0;
    const int fd = sys::OpenTree(AT_FDCWD, c.String(m.source), OPEN_TREE_CLONE | recursive);
    if (fd < 0) {
      if (errno == ENOENT && Has(m.flags, kMountOptional)) continue;
      Fail(c, Step::kMountSource, i);
    }
    const uint64_t propagation = m.propagation ? m.propagation : kMountPrivate;
    const bool deep = recursive && Has(m.flags, kMountRecursiveAttr);
    const bool same = deep || !recursive;
    if (sys::MountSetattr(fd, "", recursive, same ? m.attr_set : 0, same ? m.attr_clear : 0,
                          propagation) != 0 ||
        (!same && (m.attr_set | m.attr_clear) != 0 &&
         sys::MountSetattr(fd, "", 0, m.attr_set, m.attr_clear, 0) != 0)) {
      Fail(c, Step::kMountAttributes, i);
    }
    if (m.id_map != 0) IdMapSource(c, m, fd, i);
    c.sources[i] = fd;
  }
}

void EnterMountNamespace(ExecutorContext& c) {
  if (sys::SetNs(c.input.mount_namespace, CLONE_NEWNS) != 0) Fail(c, Step::kMountNamespace);
  if (sys::Unshare(CLONE_NEWNS) != 0) Fail(c, Step::kMountNamespace, 1);
}

void AttachMounts(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    const PlanMount& m = PlanTable(c.plan, c.plan.mounts)[i];
    if (!HasUserNamespace(c)) {
      AttachMount(c, m, i);
      continue;
    }
    const bool own = IsUserNamespaceOwn(c, m);
    if (own || IsBelowUserNamespaceOwn(c, i)) {
      if (c.in_userns) {
        AttachMount(c, m, i);
        continue;
      }
      // Its place is made now: / may be read-only then. An image's layers are out of its reach.
      if (m.kind == MountKind::kLayers) Fail(c, Step::kMountTarget, i, EOPNOTSUPP);
      const int target =
          own ? OpenTarget(c, c.String(m.target), Make::kDirectory, TargetResolve(m)) : -1;
      if (own && target < 0) Fail(c, Step::kMountTarget, i);
      if (target >= 0) close(target);
    } else if (!c.in_userns) {
      AttachMount(c, m, i);
    }
  }
}

void StageMounts(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    const PlanMount& m = PlanTable(c.plan, c.plan.mounts)[i];
    if (m.kind == MountKind::kVolume) {
      BindVolume(c, m, i);
      continue;
    }
    c.sources[i] = MountSource(c, m, i);
    if (c.sources[i] < 0) Fail(c, Step::kMountCreate, i);
  }
}

void MakeWorkingDirectory(ExecutorContext& c) {
  const int fd = OpenTarget(c, c.String(c.plan.cwd), Make::kDirectory);
  if (fd < 0) Fail(c, Step::kMakeCwd);
  close(fd);
}

}  // namespace berth
