// What the executor does last with the mounts: masked and read-only paths, sealed mounts, pivot_root. All need
// CAP_SYS_ADMIN over the mount namespace, and nothing newer than executor_sys.h says.
#include <errno.h>
#include <sys/stat.h>

#include "runtime/executor_context.h"
#include "runtime/executor_new_mount.h"
#include "runtime/executor_paths.h"
#include "runtime/executor_sys.h"

namespace berth {
namespace {

// The first use attaches the mount itself, later ones a clone of it: a detached mount can't be cloned
// before 6.15.
bool AttachClone(int mount, bool* attached, int target) {
  if (!*attached) {
    *attached = true;
    return sys::MoveMount(mount, target, "") == 0;
  }
  const int clone = sys::OpenTree(mount, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
  if (clone < 0) return false;
  const bool good = sys::MoveMount(clone, target, "") == 0;
  close(clone);
  return good;
}

bool Skippable(int error) { return error == ENOENT || error == ENOTDIR; }

// What tells of the host or its keys, and isn't the container's. By mounting, as files of procfs and sysfs have no
// owner that could be changed.
void MaskPaths(ExecutorContext& c) {
  bool null_attached = false, empty_attached = false;
  for (uint32_t i = 0; i < c.plan.masked_paths.count; ++i) {
    const int target =
        OpenTarget(c, c.String(PlanTable(c.plan, c.plan.masked_paths)[i]), Make::kNothing);
    if (target < 0) {
      if (Skippable(errno)) continue;
      Fail(c, Step::kMaskedPath, i);
    }
    struct stat st;
    if (fstatat(target, "", &st, AT_EMPTY_PATH) != 0) Fail(c, Step::kMaskedPath, i);
    const bool directory = S_ISDIR(st.st_mode);
    if (directory && c.empty_mount < 0) {
      c.empty_mount =
          NewMount("tmpfs", "size=0k,nr_inodes=1,mode=555",
                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    }
    const int mask = directory ? c.empty_mount : c.null_mount;
    if (mask < 0 || !AttachClone(mask, directory ? &empty_attached : &null_attached, target))
      Fail(c, Step::kMaskedPath, i);
    close(target);
  }
}

// What the kernel obeys is written by root, and a container's root is the host's unless it has a user namespace.
void MakePathsReadonly(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.readonly_paths.count; ++i) {
    const int target =
        OpenTarget(c, c.String(PlanTable(c.plan, c.plan.readonly_paths)[i]), Make::kNothing);
    if (target < 0) {
      if (Skippable(errno)) continue;
      Fail(c, Step::kReadonlyPath, i);
    }
    // EINVAL: no mount begins there.
    if (sys::MountSetattr(target, "", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0) == 0) {
      close(target);
      continue;
    }
    const int tree = sys::OpenTree(target, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH);
    if (tree < 0 || sys::MountSetattr(tree, "", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0) != 0 ||
        sys::MoveMount(tree, target, "") != 0) {
      Fail(c, Step::kReadonlyPath, i);
    }
    close(tree);
    close(target);
  }
}

}  // namespace

void ProtectPaths(ExecutorContext& c) {
  MakePathsReadonly(c);
  MaskPaths(c);
}

void SealMounts(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    if (c.sources[i] < 0 || PlanTable(c.plan, c.plan.mounts)[i].kind != MountKind::kTmpfs) continue;
    if (sys::MountSetattr(c.sources[i], "", 0, MOUNT_ATTR_RDONLY, 0, 0) != 0)
      Fail(c, Step::kReadonlyMount, i);
    close(c.sources[i]);
    c.sources[i] = -1;
  }
  if ((c.plan.flags & kPlanReadonlyRootfs) != 0 &&
      sys::MountSetattr(c.rootfs, "", 0, MOUNT_ATTR_RDONLY, 0, 0) != 0) {
    Fail(c, Step::kReadonlyRootfs);
  }
}

// pivot_root(2), "pivot_root(".", ".")": the old root ends up below our feet and is unmounted there.
void PivotRoot(ExecutorContext& c) {
  if (fchdir(c.rootfs) != 0) Fail(c, Step::kPivotRoot);
  if (sys::PivotRoot(".", ".") != 0) Fail(c, Step::kPivotRoot, 1);
  if (sys::Unmount(".", sys::kMntDetach) != 0) Fail(c, Step::kPivotRoot, 2);
  if (chdir("/") != 0) Fail(c, Step::kPivotRoot, 3);
  const uint32_t propagation = c.plan.rootfs.propagation;
  if ((propagation & ~kMountPrivate) != 0 &&
      sys::MountSetattr(AT_FDCWD, "/", AT_RECURSIVE, 0, 0, propagation) != 0) {
    Fail(c, Step::kPivotRoot, 4);
  }
}

}  // namespace berth
