// The executor's root file system: an overlay of layers, or a bind of a directory.
#include <errno.h>
#include <string.h>

#include "runtime/executor_context.h"
#include "runtime/executor_new_mount.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"

namespace berth {
namespace {

int OverlayByNewApi(ExecutorContext& c, Step* step, uint32_t* index) {
  const PlanRootfs& r = c.plan.rootfs;
  const Str* lowers = PlanTable(c.plan, r.lowers);
  *step = Step::kOverlay;
  *index = 0;
  const int fs = sys::FsOpen("overlay");
  if (fs < 0) return -1;
  auto set = [&](const char* key, Str path, uint32_t i) {
    *index = i;
    return sys::FsConfig(fs, FSCONFIG_SET_STRING, key, c.String(path), 0) == 0;
  };
  bool good = true;
  for (uint32_t i = 0; good && i < r.lowers.count; ++i) good = set("lowerdir+", lowers[i], i);
  if (good && r.upper != 0) {
    good = set("upperdir", r.upper, r.lowers.count) && set("workdir", r.work, r.lowers.count + 1);
  }
  int mount = -1;
  if (good && ConfigureOptions(fs, c.String(r.options)) &&
      sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount = sys::FsMount(fs, MOUNT_ATTR_NODEV);
  }
  const int error = errno;
  close(fs);
  errno = error;
  return mount;
}

bool OverlayNeedsOldApi(const ExecutorContext& c) {
  const PlanRootfs& r = c.plan.rootfs;
  for (uint32_t i = 0; i < r.lowers.count; ++i) {
    if (strlen(c.String(PlanTable(c.plan, r.lowers)[i])) > kFsConfigMax) return true;
  }
  return r.upper != 0 &&
         (strlen(c.String(r.upper)) > kFsConfigMax || strlen(c.String(r.work)) > kFsConfigMax);
}

// Before 6.5 overlayfs takes one page of options and no "lowerdir+", and an fsconfig string is at most 255
// bytes everywhere. There the layers are attached under short names in our own mount namespace, and
// mount(2) gets those. The sources stay in c.sources until AttachRootfs; mounts' own come later.
struct OldOverlay {
  bool used = false;
  int upper_parent = -1;
  int lowers[kMaxPlanLowers];
};
OldOverlay old_overlay;

// upper and work must be neighbours, as overlayfs wants them on one mount.
bool OpenOldOverlay(ExecutorContext& c, uint32_t* index) {
  const PlanRootfs& r = c.plan.rootfs;
  old_overlay.used = true;
  for (uint32_t i = 0; i < r.lowers.count; ++i) {
    *index = i;
    const int fd =
        sys::OpenTree(AT_FDCWD, c.String(PlanTable(c.plan, r.lowers)[i]), OPEN_TREE_CLONE);
    if (fd < 0 || sys::MountSetattr(fd, "", 0, 0, 0, kMountPrivate) != 0) return false;
    old_overlay.lowers[i] = fd;
  }
  if (r.upper == 0) return true;
  *index = r.lowers.count;
  const char* upper = c.String(r.upper);
  const char* work = c.String(r.work);
  const size_t parent = static_cast<size_t>(strrchr(upper, '/') - upper);
  if (parent != static_cast<size_t>(strrchr(work, '/') - work) ||
      memcmp(upper, work, parent) != 0 || parent >= sizeof c.path) {
    errno = EXDEV;
    return false;
  }
  memcpy(c.path, upper, parent);
  c.path[parent] = 0;
  old_overlay.upper_parent = sys::OpenTree(AT_FDCWD, parent ? c.path : "/", OPEN_TREE_CLONE);
  return old_overlay.upper_parent >= 0 &&
         sys::MountSetattr(old_overlay.upper_parent, "", 0, 0, 0, kMountPrivate) == 0;
}

void MountOldOverlay(ExecutorContext& c) {
  const PlanRootfs& r = c.plan.rootfs;
  char* const options = c.path2;  // a page: what mount(2) takes
  char* out = Append(options, "lowerdir=");
  for (uint32_t i = 0; i < r.lowers.count; ++i) {
    char name[24];
    AppendNumber(Append(name, "/l/"), i);
    if (sys::MoveMount(old_overlay.lowers[i], AT_FDCWD, name) != 0) Fail(c, Step::kOverlay, i);
    close(old_overlay.lowers[i]);
    out = Append(out, i ? ":" : "");
    out = Append(out, name);
  }
  if (r.upper != 0) {
    if (sys::MoveMount(old_overlay.upper_parent, AT_FDCWD, "/u") != 0)
      Fail(c, Step::kOverlay, r.lowers.count);
    close(old_overlay.upper_parent);
    const char* upper = strrchr(c.String(r.upper), '/');
    const char* work = strrchr(c.String(r.work), '/');
    if (out - options + strlen(upper) + strlen(work) + 32 >= sizeof c.path2)
      Fail(c, Step::kOverlay, r.lowers.count, ENAMETOOLONG);
    out = Append(Append(out, ",upperdir=/u"), upper);
    out = Append(Append(out, ",workdir=/u"), work);
  }
  if (const char* more = c.String(r.options)) {
    if (out - options + strlen(more) + 2 >= sizeof c.path2)
      Fail(c, Step::kOverlay, 0, ENAMETOOLONG);
    Append(Append(out, ","), more);
  }
  if (sys::Mount("overlay", "/rootfs", "overlay", 0, options) != 0)
    Fail(c, Step::kOverlay, r.lowers.count + 2);
  c.rootfs = sys::Open("/rootfs", O_PATH | O_DIRECTORY);
  if (c.rootfs < 0 || sys::MountSetattr(c.rootfs, "", 0, MOUNT_ATTR_NODEV, 0, 0) != 0)
    Fail(c, Step::kAttachRootfs);
}

}  // namespace

void OpenRootfs(ExecutorContext& c) {
  const PlanRootfs& r = c.plan.rootfs;
  uint32_t index = 0;
  if (r.kind == RootfsKind::kOverlay) {
    Step step = Step::kOverlay;
    if (!OverlayNeedsOldApi(c)) {
      c.rootfs = OverlayByNewApi(c, &step, &index);
      if (c.rootfs >= 0) return;
      // A kernel before 6.5 refuses "lowerdir+" by EINVAL, and only when the superblock is made.
      if (errno != EINVAL) Fail(c, step, index);
    }
    if (!OpenOldOverlay(c, &index)) Fail(c, Step::kOverlay, index);
    return;
  }
  const char* path = c.String(PlanTable(c.plan, r.lowers)[0]);
  c.rootfs = sys::OpenTree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE);
  // A device node in an image must not work: /dev is ours.
  if (c.rootfs < 0 ||
      sys::MountSetattr(c.rootfs, "", AT_RECURSIVE, MOUNT_ATTR_NODEV, 0, kMountPrivate) != 0) {
    Fail(c, Step::kRootfsSource);
  }
}

void AttachRootfs(ExecutorContext& c) {
  if (old_overlay.used) {
    MountOldOverlay(c);
    return;
  }
  if (sys::MoveMount(c.rootfs, AT_FDCWD, "/rootfs") != 0) Fail(c, Step::kAttachRootfs);
}

}  // namespace berth
