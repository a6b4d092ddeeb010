#include "runtime/executor_userns.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "runtime/executor_new_mount.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"

namespace berth {
namespace {

constexpr size_t kMapText = 4096;  // what the kernel takes at once, and what ValidatePlan allows

void WriteMap(const ExecutorContext& c, Table<PlanIdMap> maps, char* out) {
  *out = 0;
  for (uint32_t i = 0; i < maps.count; ++i) {
    const PlanIdMap& m = PlanTable(c.plan, maps)[i];
    out = Append(AppendNumber(out, m.inside), " ");
    out = Append(AppendNumber(out, m.outside), " ");
    out = Append(AppendNumber(out, m.count), "\n");
  }
}

bool SameMap(const ExecutorContext& c, Table<PlanIdMap> a, Table<PlanIdMap> b) {
  return a.count == b.count &&
         memcmp(PlanTable(c.plan, a), PlanTable(c.plan, b), a.count * sizeof(PlanIdMap)) == 0;
}

bool WriteProcFile(int pid, const char* name, const char* text) {
  char path[48];
  Append(AppendNumber(Append(path, "/proc/"), static_cast<uint32_t>(pid)), name);
  const int fd = sys::Open(path, O_WRONLY);
  if (fd < 0) return false;
  const ssize_t size = static_cast<ssize_t>(strlen(text));
  const bool good = write(fd, text, static_cast<size_t>(size)) == size;
  const int error = errno;
  close(fd);
  errno = error;
  return good;
}

// The process that takes over is a sibling of this one, and starts when the supervisor knows it: it would
// answer for the wrong one otherwise.
void BecomeInit(ExecutorContext& c) {
  int known[2];
  if (pipe2(known, O_CLOEXEC) != 0) Fail(c, Step::kUserNamespace, 4);
  int pidfd = -1;
  const int pid = CloneProcess(CLONE_PARENT | CLONE_NEWPID | CLONE_NEWNS, -1, &pidfd);
  if (pid < 0) Fail(c, Step::kUserNamespace, 5, -pid);
  if (pid != 0) {
    ExecutorReport report;
    memset(&report, 0, offsetof(ExecutorReport, groups));
    report.kind = static_cast<uint32_t>(ReportKind::kHopped);
    report.pid = pid;
    if (SendReport(c.status, report, pidfd)) {
      const ssize_t n = write(known[1], "", 1);
      _exit(n == 1 ? 0 : 127);
    }
    _exit(127);
  }
  close(known[1]);
  char byte;
  if (read(known[0], &byte, 1) != 1) _exit(127);  // killed in between
  close(known[0]);
}

// The copied tree can't be pivoted into: the kernel has locked /rootfs in its place. A clone of all of it can.
void CloneRootfs(ExecutorContext& c) {
  close(c.rootfs);
  c.rootfs = sys::OpenTree(AT_FDCWD, "/rootfs", OPEN_TREE_CLONE | AT_RECURSIVE);
  if (c.rootfs < 0 || sys::MoveMount(c.rootfs, AT_FDCWD, "/rootfs") != 0)
    Fail(c, Step::kAttachRootfs, 1);
}

}  // namespace

bool OutsideId(const ExecutorContext& c, Table<PlanIdMap> maps, uint32_t inside,
               uint32_t* outside) {
  *outside = inside;
  if (!HasUserNamespace(c)) return true;
  for (uint32_t i = 0; i < maps.count; ++i) {
    const PlanIdMap& m = PlanTable(c.plan, maps)[i];
    if (inside < m.inside || inside - m.inside >= m.count) continue;
    *outside = m.outside + (inside - m.inside);
    return true;
  }
  errno = EINVAL;
  return false;
}

void MakeFilesAsMappedRoot(ExecutorContext& c) {
  uint32_t uid, gid;
  if (!OutsideId(c, c.plan.uid_maps, 0, &uid) || !OutsideId(c, c.plan.gid_maps, 0, &gid))
    Fail(c, Step::kUserNamespace);
  syscall(__NR_setfsgid, gid);
  syscall(__NR_setfsuid, uid);
  // Away from 0 it takes the file system's capabilities along (capabilities(7)); they are permitted still.
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(__NR_capget, &header, data) != 0) Fail(c, Step::kUserNamespace, 1);
  for (auto& half : data) half.effective = half.permitted;
  if (syscall(__NR_capset, &header, data) != 0) Fail(c, Step::kUserNamespace, 1);
}

bool IdMapMount(int fd, int userns, bool recursive) {
  return sys::MountSetattr(fd, "", recursive ? AT_RECURSIVE : 0, MOUNT_ATTR_IDMAP, 0, 0, userns) ==
         0;
}

int MakeUserNamespace(const char* uid_map, const char* gid_map) {
  int gate[2];
  if (pipe2(gate, O_CLOEXEC) != 0) return -1;
  const int pid = CloneProcess(CLONE_NEWUSER, -1, nullptr);
  if (pid == 0) {
    close(gate[1]);
    char byte;
    const ssize_t n = read(gate[0], &byte, 1);
    _exit(n == 0 ? 0 : 1);
  }
  int fd = -1;
  int error = pid < 0 ? -pid : 0;
  if (pid > 0) {
    char path[48];
    Append(AppendNumber(Append(path, "/proc/"), static_cast<uint32_t>(pid)), "/ns/user");
    if (!WriteProcFile(pid, "/uid_map", uid_map) || !WriteProcFile(pid, "/gid_map", gid_map) ||
        (fd = sys::Open(path, O_RDONLY)) < 0) {
      error = errno;
    }
  }
  close(gate[0]);
  close(gate[1]);
  if (pid > 0) waitpid(pid, nullptr, 0);  // it waits for nothing but the pipe
  errno = error;
  return fd;
}

int MountIdMap(ExecutorContext& c, uint32_t index) {
  const PlanMountIdMap& map = PlanTable(c.plan, c.plan.id_maps)[index];
  if (HasUserNamespace(c) && SameMap(c, map.uids, c.plan.uid_maps) &&
      SameMap(c, map.gids, c.plan.gid_maps)) {
    return fcntl(c.input.user_namespace, F_DUPFD_CLOEXEC, 3);
  }
  static_assert(sizeof c.path >= kMapText && sizeof c.path2 >= kMapText);
  WriteMap(c, map.uids, c.path);
  WriteMap(c, map.gids, c.path2);
  return MakeUserNamespace(c.path, c.path2);
}

void BecomeUserNamespaceRoot(ExecutorContext& c) {
  if (sys::SetNs(c.input.user_namespace, CLONE_NEWUSER) != 0) Fail(c, Step::kUserNamespace, 2);
  close(c.input.user_namespace);
  if (syscall(__NR_setgroups, 0, nullptr) != 0 || syscall(__NR_setresgid, 0, 0, 0) != 0 ||
      syscall(__NR_setresuid, 0, 0, 0) != 0) {
    Fail(c, Step::kUserNamespace, 3);
  }
  // Other ids make a process dumpable if fs.suid_dumpable says so.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  c.in_userns = true;
  c.bounding = ReadBoundingSet();  // all of them, in there
}

void EnterUserNamespace(ExecutorContext& c) {
  BecomeUserNamespaceRoot(c);
  if (c.plan.pid_mode == PidMode::kOwn) {
    BecomeInit(c);
  } else if (sys::Unshare(CLONE_NEWNS) != 0) {
    Fail(c, Step::kUserNamespace, 6);
  }
  CloneRootfs(c);
}

}  // namespace berth
