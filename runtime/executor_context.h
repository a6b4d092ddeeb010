// What the executor's steps share. Internal to executor*.cc.
#ifndef BERTH_RUNTIME_EXECUTOR_CONTEXT_H_
#define BERTH_RUNTIME_EXECUTOR_CONTEXT_H_

#include <limits.h>
#include <stdint.h>

#include "runtime/executor.h"
#include "runtime/executor_user.h"

namespace berth {

struct HopPage;

struct ExecutorContext {
  // Leaves the arrays as they are: clearing them would copy pages of the supervisor's stack.
  explicit ExecutorContext(const ExecutorInput& in)
      : plan(*in.plan), input(in), status(in.status) {}

  const Plan& plan;
  const ExecutorInput& input;
  int status;
  HopPage* page = nullptr;  // where failures go when `status` is closed (executor_hop.h)
  int null = -1;            // the host's /dev/null, checked
  int rootfs = -1;          // the root file system's mount; attached at /rootfs later
  int proc = -1;            // the container's procfs mount
  int devpts = -1;          // ... devpts mount
  int null_mount = -1;
  int empty_mount = -1;  // a read-only empty tmpfs that masks directories
  int sources[kMaxPlanMounts];
  ProcessUser user;
  char path[PATH_MAX];
  char path2[PATH_MAX];

  const char* String(Str s) const { return PlanString(plan, s); }
};

// Reports {step, index, error} and ends the process.
[[noreturn]] void Fail(const ExecutorContext& c, Step step, uint32_t index, int error);
[[noreturn]] void Fail(const ExecutorContext& c, Step step, uint32_t index = 0);  // with errno
void FailInPage(HopPage* page, const Failure& failure);
bool SendReport(int socket, const ExecutorReport& report, int pass);  // without groups

// Steps, in the order of time: of executor_rootfs.cc, _mounts.cc, _nodes.cc, _terminal.cc and _protect.cc. The
// first two run in the host's mount namespace.
void OpenRootfs(ExecutorContext& c);
void OpenMountSources(ExecutorContext& c);
void EnterMountNamespace(ExecutorContext& c);
void AttachRootfs(ExecutorContext& c);
void AttachMounts(ExecutorContext& c);
void MakeDevices(ExecutorContext& c);
void MakeSymlinks(ExecutorContext& c);
void WriteSysctls(ExecutorContext& c);
void MakeWorkingDirectory(ExecutorContext& c);
void OpenTerminal(ExecutorContext& c, bool attach_console);  // at 0, 1, 2
void ProtectPaths(ExecutorContext& c);
void SealMounts(ExecutorContext& c);
void PivotRoot(ExecutorContext& c);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_CONTEXT_H_
