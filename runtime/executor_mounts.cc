// The executor's file system half: from host paths to a pivoted root.
//
// Sources are opened in the host's mount namespace, as detached clones whose propagation and attributes are
// set before they are attached: one opened after "/" became a slave would propagate nothing back, and one
// attached while still shared would let the host see what a container mounts below it. Copying the host's
// mount namespace costs 1.6 µs a mount, so the process joins a tiny one that was made before, unshares that,
// and attaches there.
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

#include "runtime/executor_context.h"
#include "runtime/executor_sys.h"

#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)  // 6.11
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

namespace berth {
namespace {

constexpr uint64_t kPrivate = 1u << 18;  // MS_PRIVATE
constexpr uint64_t kBeneathRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
constexpr size_t kFsConfigMax = 255;  // an fsconfig string, without its NUL

bool Has(uint32_t flags, uint32_t bit) { return (flags & bit) != 0; }

// ---- configuring a superblock ----

// Hands `key=value,flag,...` to an fsopen descriptor.
bool ConfigureOptions(int fs, const char* options) {
  char word[kFsConfigMax + 1];
  while (options != nullptr && *options != 0) {
    const char* end = strchr(options, ',');
    const size_t length = end ? static_cast<size_t>(end - options) : strlen(options);
    if (length > kFsConfigMax) {
      errno = ENAMETOOLONG;
      return false;
    }
    memcpy(word, options, length);
    word[length] = 0;
    options += length + (end ? 1 : 0);
    if (length == 0) continue;
    char* equals = strchr(word, '=');
    if (equals != nullptr) *equals = 0;
    const int rc = equals ? sys::FsConfig(fs, FSCONFIG_SET_STRING, word, equals + 1, 0)
                          : sys::FsConfig(fs, FSCONFIG_SET_FLAG, word, nullptr, 0);
    if (rc != 0) return false;
  }
  return true;
}

// A detached mount of a new (or the namespace's) instance of `type`; -1 with errno. `pidns`: for proc, a PID
// namespace other than ours (6.17).
int NewMount(const char* type, const char* options, uint64_t attributes, int pidns = -1) {
  const int fs = sys::FsOpen(type);
  if (fs < 0) return -1;
  int mount = -1;
  if ((pidns < 0 || sys::FsConfig(fs, FSCONFIG_SET_FD, "pidns", nullptr, pidns) == 0) &&
      ConfigureOptions(fs, options) &&
      sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount = sys::FsMount(fs, static_cast<unsigned>(attributes));
  }
  const int error = errno;
  close(fs);
  errno = error;
  return mount;
}

// ---- paths beneath the root file system ----

enum class Make { kNothing, kDirectory, kFile };

// Splices the link that stands at the first `prefix` bytes of `path` into it, so that what it points to can
// be made: an image may have /var/run → /run without /run.
bool FollowDanglingLink(ExecutorContext& c, char* path, size_t prefix) {
  char saved = path[prefix];
  path[prefix] = 0;
  char* slash = strrchr(path, '/');
  const size_t parent_length = static_cast<size_t>(slash - path);
  *slash = 0;
  const int parent = sys::OpenAt2(c.rootfs, *path ? path : "/", O_PATH | O_DIRECTORY, kBeneathRoot);
  *slash = '/';
  if (parent < 0) return false;
  char link[PATH_MAX];
  const ssize_t n = readlinkat(parent, slash + 1, link, sizeof link);
  path[prefix] = saved;
  close(parent);
  if (n <= 0 || n >= PATH_MAX) return false;

  const size_t head = link[0] == '/' ? 0 : parent_length + 1;  // keep "PARENT/"
  const size_t tail = strlen(path + prefix);
  if (head + static_cast<size_t>(n) + tail >= PATH_MAX) {
    errno = ENAMETOOLONG;
    return false;
  }
  memmove(path + head + n, path + prefix, tail + 1);
  memcpy(path + head, link, static_cast<size_t>(n));
  return true;
}

// Makes the entry named by the first `prefix` bytes of `path`.
bool MakeEntry(ExecutorContext& c, char* path, size_t prefix, Make make) {
  const char saved = path[prefix];
  path[prefix] = 0;
  char* slash = strrchr(path, '/');
  *slash = 0;
  const int parent = sys::OpenAt2(c.rootfs, *path ? path : "/", O_PATH | O_DIRECTORY, kBeneathRoot);
  *slash = '/';
  int rc = -1;
  if (parent >= 0) {
    if (make == Make::kDirectory) {
      rc = mkdirat(parent, slash + 1, 0755);
    } else {
      rc = openat(parent, slash + 1, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (rc >= 0) close(rc);
    }
    const int error = errno;
    close(parent);
    errno = error;
  }
  path[prefix] = saved;
  return rc >= 0;
}

// Opens (O_PATH) what `target` names beneath the root, making what is missing. -1 with errno.
int OpenTarget(ExecutorContext& c, const char* target, Make make, uint64_t more_resolve = 0) {
  int fd = sys::OpenAt2(c.rootfs, target, O_PATH, kBeneathRoot | more_resolve);
  if (fd >= 0 || errno != ENOENT || make == Make::kNothing) return fd;
  char* path = c.path2;
  if (strlen(target) >= PATH_MAX) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(path, target);
  // As a rule only the last component is missing, and nothing stands in its place.
  const bool one_level = strrchr(path, '/') == path;
  if ((more_resolve == 0 || one_level) && MakeEntry(c, path, strlen(path), make))
    return sys::OpenAt2(c.rootfs, target, O_PATH, kBeneathRoot | more_resolve);
  int links = 0;
  for (size_t end = 1; path[end - 1] != 0;) {
    while (path[end] == '/') ++end;
    while (path[end] != 0 && path[end] != '/') ++end;
    const bool last = path[end + (path[end] ? 1 : 0)] == 0;
    const char saved = path[end];
    path[end] = 0;
    fd = sys::OpenAt2(c.rootfs, path, O_PATH, kBeneathRoot | more_resolve);
    const int error = errno;
    path[end] = saved;
    if (fd >= 0) {
      if (last) return fd;
      close(fd);
    } else if (error != ENOENT) {
      errno = error;
      return -1;
    } else if (!MakeEntry(c, path, end, last ? make : Make::kDirectory)) {
      if (errno != EEXIST || ++links > 40 || !FollowDanglingLink(c, path, end)) return -1;
      end = 1;  // from the start of the spliced path
      continue;
    }
    if (path[end] == 0) break;
    ++end;
  }
  return sys::OpenAt2(c.rootfs, target, O_PATH, kBeneathRoot | more_resolve);
}

// Opens the directory that `path` is in and points `leaf` at its last component.
int OpenParent(ExecutorContext& c, const char* path, const char** leaf) {
  const char* slash = strrchr(path, '/');
  const size_t length = static_cast<size_t>(slash - path);
  if (length >= sizeof c.path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(c.path, path, length);
  c.path[length] = 0;
  *leaf = slash + 1;
  return OpenTarget(c, length ? c.path : "/", Make::kDirectory);
}

// Keeps the descriptor of the last parent: /dev's nodes and links come in a row.
class ParentCache {
 public:
  explicit ParentCache(ExecutorContext& c) : c_(c) {}
  ~ParentCache() {
    if (fd_ >= 0) close(fd_);
  }
  ParentCache(const ParentCache&) = delete;
  ParentCache& operator=(const ParentCache&) = delete;

  int Open(const char* path, const char** leaf) {
    const size_t length = static_cast<size_t>(strrchr(path, '/') - path);
    if (fd_ >= 0 && length == length_ && memcmp(path, path_, length) == 0) {
      *leaf = path + length + 1;
      return fd_;
    }
    if (fd_ >= 0) close(fd_);
    fd_ = OpenParent(c_, path, leaf);
    path_ = path;
    length_ = length;
    return fd_;
  }

 private:
  ExecutorContext& c_;
  int fd_ = -1;
  const char* path_ = nullptr;
  size_t length_ = 0;
};

// ---- the root file system ----

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
    if (fd < 0 || sys::MountSetattr(fd, "", 0, 0, 0, kPrivate) != 0) return false;
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
         sys::MountSetattr(old_overlay.upper_parent, "", 0, 0, 0, kPrivate) == 0;
}

char* Append(char* out, const char* text) {
  const size_t n = strlen(text);
  memcpy(out, text, n + 1);
  return out + n;
}
char* AppendNumber(char* out, uint32_t value) {
  char digits[12];
  int n = 0;
  do digits[n++] = static_cast<char>('0' + value % 10);
  while ((value /= 10) != 0);
  while (n > 0) *out++ = digits[--n];
  *out = 0;
  return out;
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
      sys::MountSetattr(c.rootfs, "", AT_RECURSIVE, MOUNT_ATTR_NODEV, 0, kPrivate) != 0) {
    Fail(c, Step::kRootfsSource);
  }
}

void OpenMountSources(ExecutorContext& c) {
  c.null = sys::Open("/dev/null", O_RDWR);
  struct stat st;
  // What masks files must be the null device and nothing else (CVE-2025-31133).
  if (c.null < 0 || fstat(c.null, &st) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
    Fail(c, Step::kDescriptors, 0, c.null < 0 ? errno : EINVAL);
  if (c.plan.masked_paths.count != 0) {
    c.null_mount = sys::OpenTree(c.null, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
    if (c.null_mount < 0 || sys::MountSetattr(c.null_mount, "", 0, 0, 0, kPrivate) != 0)
      Fail(c, Step::kMaskedPath);
  }

  const PlanMount* mounts = PlanTable(c.plan, c.plan.mounts);
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    const PlanMount& m = mounts[i];
    c.sources[i] = -1;
    if (m.kind != MountKind::kBind) continue;
    const unsigned recursive = Has(m.flags, kMountRecursive) ? AT_RECURSIVE : 0;
    const int fd = sys::OpenTree(AT_FDCWD, c.String(m.source), OPEN_TREE_CLONE | recursive);
    if (fd < 0) {
      if (errno == ENOENT && Has(m.flags, kMountOptional)) continue;
      Fail(c, Step::kMountSource, i);
    }
    const uint64_t propagation = m.propagation ? m.propagation : kPrivate;
    const bool deep = recursive && Has(m.flags, kMountRecursiveAttr);
    const bool same = deep || !recursive;
    if (sys::MountSetattr(fd, "", recursive, same ? m.attr_set : 0, same ? m.attr_clear : 0,
                          propagation) != 0 ||
        (!same && (m.attr_set | m.attr_clear) != 0 &&
         sys::MountSetattr(fd, "", 0, m.attr_set, m.attr_clear, 0) != 0)) {
      Fail(c, Step::kMountAttributes, i);
    }
    c.sources[i] = fd;
  }
}

void EnterMountNamespace(ExecutorContext& c) {
  if (sys::SetNs(c.input.mount_namespace, CLONE_NEWNS) != 0) Fail(c, Step::kMountNamespace);
  if (sys::Unshare(CLONE_NEWNS) != 0) Fail(c, Step::kMountNamespace, 1);
}

void AttachRootfs(ExecutorContext& c) {
  if (old_overlay.used) {
    MountOldOverlay(c);
    return;
  }
  if (sys::MoveMount(c.rootfs, AT_FDCWD, "/rootfs") != 0) Fail(c, Step::kAttachRootfs);
}

// ---- mounts ----

namespace {

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
    return sys::MountSetattr(fd, "", 0, m.attr_set, m.attr_clear, kPrivate) == 0 ? fd : -1;
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
      if (fd >= 0 && sys::MountSetattr(fd, "", 0, m.attr_set, m.attr_clear, kPrivate) != 0)
        return -1;
      return fd;
    }
    case MountKind::kBind:
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
  if (m.kind != MountKind::kBind) return !Has(m.flags, kMountTargetIsFile);
  struct stat st;
  return fstatat(source, "", &st, AT_EMPTY_PATH) == 0 && S_ISDIR(st.st_mode);
}

void AttachMount(ExecutorContext& c, const PlanMount& m, uint32_t i) {
  if (Has(m.flags, kMountCopyUp)) Fail(c, Step::kMountCreate, i, EOPNOTSUPP);
  int source = c.sources[i];
  if (m.kind == MountKind::kBind && source < 0) return;  // optional, and missing
  if (m.kind != MountKind::kBind) source = CreateMount(c, m);
  if (source < 0) Fail(c, Step::kMountCreate, i);
  if (m.kind != MountKind::kBind && (m.propagation & ~kPrivate) != 0 &&
      sys::MountSetattr(source, "", 0, 0, 0, m.propagation) != 0)
    Fail(c, Step::kMountAttributes, i);

  // A link at /proc or /sys in the image would put them elsewhere, and unmasked (CVE-2019-19921).
  const bool strict = m.kind == MountKind::kProc || m.kind == MountKind::kSysfs;
  const Make make = SourceIsDirectory(m, source) ? Make::kDirectory : Make::kFile;
  const int target = OpenTarget(c, c.String(m.target), make, strict ? RESOLVE_NO_SYMLINKS : 0);
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

}  // namespace

void AttachMounts(ExecutorContext& c) {
  for (uint32_t i = 0; i < c.plan.mounts.count; ++i) {
    AttachMount(c, PlanTable(c.plan, c.plan.mounts)[i], i);
  }
}

void MakeDevices(ExecutorContext& c) {
  ParentCache parents(c);
  for (uint32_t i = 0; i < c.plan.devices.count; ++i) {
    const PlanDevice& d = PlanTable(c.plan, c.plan.devices)[i];
    const char* leaf = nullptr;
    const int parent = parents.Open(c.String(d.path), &leaf);
    if (parent < 0) Fail(c, Step::kDevice, i);
    if (mknodat(parent, leaf, d.mode, makedev(d.major, d.minor)) != 0) {
      if (errno == EEXIST) continue;
      Fail(c, Step::kDevice, i);
    }
    if ((d.uid | d.gid) != 0 && fchownat(parent, leaf, d.uid, d.gid, AT_SYMLINK_NOFOLLOW) != 0)
      Fail(c, Step::kDevice, i);
  }
}

void MakeSymlinks(ExecutorContext& c) {
  ParentCache parents(c);
  for (uint32_t i = 0; i < c.plan.symlinks.count; ++i) {
    const PlanSymlink& s = PlanTable(c.plan, c.plan.symlinks)[i];
    const char* leaf = nullptr;
    const int parent = parents.Open(c.String(s.path), &leaf);
    if (parent < 0 || (symlinkat(c.String(s.target), parent, leaf) != 0 && errno != EEXIST))
      Fail(c, Step::kSymlink, i);
  }
}

// Through our own procfs mount, so that nothing mounted in the container can stand in for it.
void WriteSysctls(ExecutorContext& c) {
  if (c.plan.sysctls.count == 0) return;
  const int proc = c.proc >= 0 ? c.proc : NewMount("proc", nullptr, 0);
  if (proc < 0) Fail(c, Step::kSysctl);
  for (uint32_t i = 0; i < c.plan.sysctls.count; ++i) {
    const PlanSysctl& s = PlanTable(c.plan, c.plan.sysctls)[i];
    const char* value = c.String(s.value);
    const size_t length = strlen(c.String(s.path));
    if (length + 5 > sizeof c.path) Fail(c, Step::kSysctl, i, ENAMETOOLONG);
    Append(Append(c.path, "sys/"), c.String(s.path));
    const int fd = sys::OpenAt2(proc, c.path, O_WRONLY,
                                RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
    if (fd < 0 || write(fd, value, strlen(value)) != static_cast<ssize_t>(strlen(value)))
      Fail(c, Step::kSysctl, i);
    close(fd);
  }
  if (proc != c.proc) close(proc);
}

void MakeWorkingDirectory(ExecutorContext& c) {
  const int fd = OpenTarget(c, c.String(c.plan.cwd), Make::kDirectory);
  if (fd < 0) Fail(c, Step::kMakeCwd);
  close(fd);
}

// ---- the terminal ----

namespace {

// The container's devpts as an exec finds it at /dev/pts: it must be one.
int FindDevpts() {
  const int fd = sys::Open("/dev/pts", O_PATH | O_DIRECTORY);
  struct statfs fs;
  if (fd >= 0 && (fstatfs(fd, &fs) != 0 || fs.f_type != DEVPTS_SUPER_MAGIC)) {
    close(fd);
    errno = ENOTTY;
    return -1;
  }
  return fd;
}

bool SendTerminal(const ExecutorContext& c, int master) {
  ExecutorReport report;
  memset(&report, 0, offsetof(ExecutorReport, groups));
  report.kind = static_cast<uint32_t>(ReportKind::kTerminal);
  return SendReport(c.status, report, master);
}

void AttachConsole(ExecutorContext& c, unsigned number) {
  const int target = OpenTarget(c, "/dev/console", Make::kFile);
  char name[12];
  AppendNumber(name, number);
  const int slave = target < 0 ? -1 : sys::OpenTree(c.devpts, name, OPEN_TREE_CLONE);
  if (slave < 0 || sys::MoveMount(slave, target, "") != 0) Fail(c, Step::kTerminal, 5);
  close(slave);
  close(target);
}

}  // namespace

// The terminal is one of the container's own devpts, so /dev/pts/N exists for it inside; the master goes to
// the supervisor.
void OpenTerminal(ExecutorContext& c, bool attach_console) {
  if (c.devpts < 0) c.devpts = FindDevpts();
  if (c.devpts < 0) Fail(c, Step::kTerminal);
  const int master = openat(c.devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct stat st;
  // 5:2 is ptmx (Documentation/admin-guide/devices.txt).
  if (master < 0 || fstat(master, &st) != 0 || st.st_rdev != makedev(5, 2))
    Fail(c, Step::kTerminal, 1);
  int unlock = 0;
  unsigned number = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) != 0 || ioctl(master, TIOCGPTN, &number) != 0)
    Fail(c, Step::kTerminal, 2);
  const int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) Fail(c, Step::kTerminal, 3);
  if (c.plan.console_rows != 0) {
    struct winsize size = {};
    size.ws_row = static_cast<unsigned short>(c.plan.console_rows);
    size.ws_col = static_cast<unsigned short>(c.plan.console_columns);
    ioctl(master, TIOCSWINSZ, &size);
  }
  if (attach_console) AttachConsole(c, number);
  if (!SendTerminal(c, master)) Fail(c, Step::kTerminal, 4);
  close(master);
  for (int i = 0; i < 3; ++i) {
    if (dup2(slave, i) < 0) Fail(c, Step::kTerminal, 6);
  }
  close(slave);
}

// ---- protection ----

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
    if (c.sources[i] < 0) continue;
    if (sys::MountSetattr(c.sources[i], "", 0, MOUNT_ATTR_RDONLY, 0, 0) != 0)
      Fail(c, Step::kReadonlyMount, i);
    close(c.sources[i]);
  }
  if (Has(c.plan.flags, kPlanReadonlyRootfs) &&
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
  if ((propagation & ~kPrivate) != 0 &&
      sys::MountSetattr(AT_FDCWD, "/", AT_RECURSIVE, 0, 0, propagation) != 0) {
    Fail(c, Step::kPivotRoot, 4);
  }
}

}  // namespace berth
