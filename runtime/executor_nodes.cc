// Device nodes, links and sysctls of the executor.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "runtime/executor_context.h"
#include "runtime/executor_new_mount.h"
#include "runtime/executor_paths.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"
#include "runtime/executor_userns.h"

namespace berth {

namespace {

constexpr unsigned long kStNoDev = 4;  // ST_NODEV of statfs.f_flags (2.6.36)

bool MakeNode(const ExecutorContext& c, const PlanDevice& d, int parent, const char* leaf) {
  uint32_t uid, gid;
  if (!OutsideId(c, c.plan.uid_maps, d.uid, &uid) || !OutsideId(c, c.plan.gid_maps, d.gid, &gid))
    return false;
  if (mknodat(parent, leaf, d.mode, makedev(d.major, d.minor)) != 0) return errno == EEXIST;
  return (uid | gid) == 0 || fchownat(parent, leaf, uid, gid, AT_SYMLINK_NOFOLLOW) == 0;
}

// Where device nodes don't work, as in the root file system, one is mounted on a file. It is made in a tmpfs of
// ours, which has to be attached while it is cloned (before 6.15), and which the container never sees.
bool BindNode(ExecutorContext& c, const PlanDevice& d) {
  const int target = OpenTarget(c, c.String(d.path), Make::kFile);
  const int nodes = target < 0 ? -1
                               : NewMount("tmpfs", "size=4k,mode=700,nr_inodes=2",
                                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (nodes < 0 || sys::MoveMount(nodes, AT_FDCWD, "/u") != 0 || !MakeNode(c, d, nodes, "node"))
    return false;
  const int node = sys::OpenTree(nodes, "node", OPEN_TREE_CLONE);
  const bool good = node >= 0 && sys::MoveMount(node, target, "") == 0;
  const int error = errno;
  sys::Unmount("/u", sys::kMntDetach);
  if (node >= 0) close(node);
  close(nodes);
  close(target);
  errno = error;
  return good;
}

}  // namespace

void MakeDevices(ExecutorContext& c) {
  ParentCache parents(c);
  for (uint32_t i = 0; i < c.plan.devices.count; ++i) {
    const PlanDevice& d = PlanTable(c.plan, c.plan.devices)[i];
    const char* leaf = nullptr;
    const int parent = parents.Open(c.String(d.path), &leaf);
    if (parent < 0) Fail(c, Step::kDevice, i);
    struct statfs fs;
    if (fstatfs(parent, &fs) != 0) Fail(c, Step::kDevice, i);
    const bool works = (static_cast<unsigned long>(fs.f_flags) & kStNoDev) == 0 || S_ISFIFO(d.mode);
    if (!(works ? MakeNode(c, d, parent, leaf) : BindNode(c, d))) Fail(c, Step::kDevice, i);
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

}  // namespace berth
