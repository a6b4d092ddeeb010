// Device nodes, links and sysctls of the executor.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "runtime/executor_context.h"
#include "runtime/executor_new_mount.h"
#include "runtime/executor_paths.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"

namespace berth {

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

}  // namespace berth
