// The executor's root file system: an overlay of layers, or a bind of a directory.
#include <errno.h>
#include <string.h>

#include "runtime/executor_context.h"
#include "runtime/executor_new_mount.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"
#include "runtime/executor_userns.h"

namespace berth {
namespace {

// Layers, topmost first, and what is written to.
struct Overlay {
  Table<Str> lowers;
  Str upper;
  Str work;
  Str options;
};

Overlay RootfsOverlay(const ExecutorContext& c) {
  const PlanRootfs& r = c.plan.rootfs;
  return {r.lowers, r.upper, r.work, r.options};
}

// Index: lowers, then upper (count), work (count + 1).
int OverlayByNewApi(ExecutorContext& c, const Overlay& o, uint32_t* index) {
  const Str* lowers = PlanTable(c.plan, o.lowers);
  *index = 0;
  const int fs = sys::FsOpen("overlay");
  if (fs < 0) return -1;
  auto set = [&](const char* key, Str path, uint32_t i) {
    *index = i;
    return sys::FsConfig(fs, FSCONFIG_SET_STRING, key, c.String(path), 0) == 0;
  };
  bool good = true;
  for (uint32_t i = 0; good && i < o.lowers.count; ++i) good = set("lowerdir+", lowers[i], i);
  if (good && o.upper != 0) {
    good = set("upperdir", o.upper, o.lowers.count) && set("workdir", o.work, o.lowers.count + 1);
  }
  int mount = -1;
  if (good && ConfigureOptions(fs, c.String(o.options)) &&
      sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount = sys::FsMount(fs, MOUNT_ATTR_NODEV);
  }
  const int error = errno;
  close(fs);
  errno = error;
  return mount;
}

// Overlayfs takes id-mapped lowers as mounts of our own namespace only (detached ones since 6.15).
bool OverlayNeedsOldApi(const ExecutorContext& c, const Overlay& o) {
  if (HasUserNamespace(c)) return true;
  for (uint32_t i = 0; i < o.lowers.count; ++i) {
    if (strlen(c.String(PlanTable(c.plan, o.lowers)[i])) > kFsConfigMax) return true;
  }
  return o.upper != 0 &&
         (strlen(c.String(o.upper)) > kFsConfigMax || strlen(c.String(o.work)) > kFsConfigMax);
}

// Before 6.5 overlayfs takes one page of options and no "lowerdir+", and an fsconfig string is at most 255
// bytes everywhere. There the layers are attached under short names in our own mount namespace, and
// mount(2) gets those. So it goes for image volumes, too, whatever the kernel: before 6.15 only what is
// attached can be cloned, as a sub-path has to be.
struct AttachedOverlays {
  bool rootfs = false;
  int upper_parent = -1;
  int count = 0;
  int layers[kMaxPlanLayers];  // opened in the host's mount namespace
};
AttachedOverlays attached;

// A private clone, id-mapped if the container is.
int OpenLayer(const ExecutorContext& c, Str path, Step* step) {
  *step = Step::kOverlay;
  const int fd = sys::OpenTree(AT_FDCWD, c.String(path), OPEN_TREE_CLONE);
  if (fd < 0 || sys::MountSetattr(fd, "", 0, 0, 0, kMountPrivate) != 0) return -1;
  *step = Step::kLayerIdMap;
  if (HasUserNamespace(c) && !IdMapMount(fd, c.input.user_namespace, false)) return -1;
  return fd;
}

bool OpenLayers(const ExecutorContext& c, Table<Str> lowers, Step* step, uint32_t* index) {
  for (uint32_t i = 0; i < lowers.count; ++i) {
    *index = i;
    const int fd = OpenLayer(c, PlanTable(c.plan, lowers)[i], step);
    if (fd < 0) return false;
    attached.layers[attached.count++] = fd;
  }
  return true;
}

// upper and work must be neighbours, as overlayfs wants them on one mount.
bool OpenUpper(ExecutorContext& c, const Overlay& o) {
  const char* upper = c.String(o.upper);
  const char* work = c.String(o.work);
  const size_t parent = static_cast<size_t>(strrchr(upper, '/') - upper);
  if (parent != static_cast<size_t>(strrchr(work, '/') - work) ||
      memcmp(upper, work, parent) != 0 || parent >= sizeof c.path) {
    errno = EXDEV;
    return false;
  }
  memcpy(c.path, upper, parent);
  c.path[parent] = 0;
  attached.upper_parent = sys::OpenTree(AT_FDCWD, parent ? c.path : "/", OPEN_TREE_CLONE);
  return attached.upper_parent >= 0 &&
         sys::MountSetattr(attached.upper_parent, "", 0, 0, 0, kMountPrivate) == 0;
}

// Attaches layers that OpenLayers has opened from `first` on, and writes lowerdir=... Null with *index.
char* AttachLayers(Table<Str> lowers, int first, char* options, uint32_t* index) {
  char* out = Append(options, "lowerdir=");
  for (uint32_t i = 0; i < lowers.count; ++i) {
    *index = i;
    const int fd = attached.layers[first + static_cast<int>(i)];
    char name[24];
    AppendNumber(Append(name, "/l/"), i);
    if (sys::MoveMount(fd, AT_FDCWD, name) != 0) return nullptr;
    close(fd);
    out = Append(Append(out, i ? ":" : ""), name);
  }
  return out;
}

// An attached layer is of no use any more when its overlay is made, and would be copied with the namespace.
void DetachLayers(Table<Str> lowers) {
  for (uint32_t i = 0; i < lowers.count; ++i) {
    char name[24];
    AppendNumber(Append(name, "/l/"), i);
    sys::Unmount(name, sys::kMntDetach);
  }
}

void MountOldOverlay(ExecutorContext& c) {
  const Overlay o = RootfsOverlay(c);
  char* const options = c.path2;  // a page: what mount(2) takes
  uint32_t index = 0;
  char* out = AttachLayers(o.lowers, 0, options, &index);
  if (out == nullptr) Fail(c, Step::kOverlay, index);
  if (o.upper != 0) {
    if (sys::MoveMount(attached.upper_parent, AT_FDCWD, "/u") != 0)
      Fail(c, Step::kOverlay, o.lowers.count);
    close(attached.upper_parent);
    const char* upper = strrchr(c.String(o.upper), '/');
    const char* work = strrchr(c.String(o.work), '/');
    if (out - options + strlen(upper) + strlen(work) + 32 >= sizeof c.path2)
      Fail(c, Step::kOverlay, o.lowers.count, ENAMETOOLONG);
    out = Append(Append(out, ",upperdir=/u"), upper);
    out = Append(Append(out, ",workdir=/u"), work);
  }
  if (const char* more = c.String(o.options)) {
    if (out - options + strlen(more) + 2 >= sizeof c.path2)
      Fail(c, Step::kOverlay, 0, ENAMETOOLONG);
    Append(Append(out, ","), more);
  }
  if (sys::Mount("overlay", "/rootfs", "overlay", 0, options) != 0)
    Fail(c, Step::kOverlay, o.lowers.count + 2);
  DetachLayers(o.lowers);
  if (o.upper != 0) sys::Unmount("/u", sys::kMntDetach);
  c.rootfs = sys::Open("/rootfs", O_PATH | O_DIRECTORY);
  if (c.rootfs < 0 || sys::MountSetattr(c.rootfs, "", 0, MOUNT_ATTR_NODEV, 0, 0) != 0)
    Fail(c, Step::kAttachRootfs);
}

void OpenOverlayRootfs(ExecutorContext& c) {
  const Overlay o = RootfsOverlay(c);
  Step step = Step::kOverlay;
  uint32_t index = 0;
  if (!OverlayNeedsOldApi(c, o)) {
    c.rootfs = OverlayByNewApi(c, o, &index);
    if (c.rootfs >= 0) return;
    // A kernel before 6.5 refuses "lowerdir+" by EINVAL, and only when the superblock is made.
    if (errno != EINVAL) Fail(c, step, index);
  }
  attached.rootfs = true;
  if (!OpenLayers(c, o.lowers, &step, &index)) Fail(c, step, index);
  if (o.upper != 0 && !OpenUpper(c, o)) Fail(c, Step::kOverlay, o.lowers.count);
}

}  // namespace

void OpenRootfs(ExecutorContext& c) {
  if (c.plan.rootfs.kind == RootfsKind::kOverlay) return OpenOverlayRootfs(c);
  const char* path = c.String(PlanTable(c.plan, c.plan.rootfs.lowers)[0]);
  c.rootfs = sys::OpenTree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE);
  // A device node in an image must not work: /dev is ours.
  if (c.rootfs < 0 ||
      sys::MountSetattr(c.rootfs, "", AT_RECURSIVE, MOUNT_ATTR_NODEV, 0, kMountPrivate) != 0) {
    Fail(c, Step::kRootfsSource);
  }
  if (HasUserNamespace(c) && !IdMapMount(c.rootfs, c.input.user_namespace, false))
    Fail(c, Step::kLayerIdMap);
}

void AttachRootfs(ExecutorContext& c) {
  if (attached.rootfs) {
    MountOldOverlay(c);
    return;
  }
  if (sys::MoveMount(c.rootfs, AT_FDCWD, "/rootfs") != 0) Fail(c, Step::kAttachRootfs);
}

int OpenLayersMount(ExecutorContext& c, const PlanMount& m, uint32_t i) {
  const int first = attached.count;
  Step step;
  uint32_t index;
  if (!OpenLayers(c, m.lowers, &step, &index))
    Fail(c, step == Step::kLayerIdMap ? Step::kMountIdMap : Step::kMountSource, i);
  return first;
}

int LayersMount(ExecutorContext& c, const PlanMount& m, int first, uint32_t i) {
  uint32_t index;
  if (AttachLayers(m.lowers, first, c.path2, &index) == nullptr ||
      sys::Mount("overlay", "/u", "overlay", 0, c.path2) != 0)
    Fail(c, Step::kMountCreate, i);
  DetachLayers(m.lowers);
  const int root = sys::Open("/u", O_PATH | O_DIRECTORY);
  const char* path = c.String(m.sub_path);
  // Whatever links the image has, it stays in it.
  const int found = root < 0
                        ? -1
                        : sys::OpenAt2(root, path ? path : ".", O_PATH,
                                       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  if (found < 0) Fail(c, Step::kMountSubPath, i);
  const int mount = sys::OpenTree(found, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
  if (mount < 0 ||
      sys::MountSetattr(mount, "", 0, m.attr_set | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
                        m.attr_clear & ~uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV},
                        kMountPrivate) != 0)
    Fail(c, Step::kMountAttributes, i);
  close(found);
  close(root);
  sys::Unmount("/u", sys::kMntDetach);
  return mount;
}

}  // namespace berth
