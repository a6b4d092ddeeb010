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
      : plan(*in.plan), input(in), status(in.status), bounding(in.bounding) {}

  const Plan& plan;
  const ExecutorInput& input;
  int status;
  uint64_t bounding;        // what the process has at most
  bool in_userns = false;   // it has entered the pod's user namespace
  HopPage* page = nullptr;  // where failures go when `status` is closed (executor_hop.h)
  int null = -1;            // the host's /dev/null, checked
  int rootfs = -1;          // the root file system's mount; attached at /rootfs later
  int proc = -1;            // the container's procfs mount
  int devpts = -1;          // ... devpts mount
  int null_mount = -1;
  int empty_mount = -1;         // a read-only empty tmpfs that masks directories
  int sources[kMaxPlanMounts];  // descriptors; kLayers: the first layer, until it is made
  ProcessUser user;
  char path[PATH_MAX];
  char path2[PATH_MAX];

  const char* String(Str s) const { return PlanString(plan, s); }
};

// Reports {step, index, error} and ends the process.
// Where the user namespace counts, ids of the plan are inside ones, those of files and descriptors are not.
inline bool HasUserNamespace(const ExecutorContext& c) { return PlanHasUserNamespace(c.plan); }

[[noreturn]] void Fail(const ExecutorContext& c, Step step, uint32_t index, int error);
[[noreturn]] void Fail(const ExecutorContext& c, Step step, uint32_t index = 0);  // with errno
void FailInPage(HopPage* page, const Failure& failure);
bool SendReport(int socket, const ExecutorReport& report, int pass);  // without groups
void ReportReady(const ExecutorContext& c);                           // with c.user

// Steps, in the order of time: of executor_rootfs.cc, _mounts.cc, _nodes.cc, _terminal.cc and _protect.cc. The
// first two run in the host's mount namespace.
void OpenRootfs(ExecutorContext& c);
void OpenMountSources(ExecutorContext& c);
void EnterMountNamespace(ExecutorContext& c);
void AttachRootfs(ExecutorContext& c);
// With a user namespace: before it is entered all but proc and devpts, which are its own, and what is mounted
// below them; after that the rest.
void AttachMounts(ExecutorContext& c);
// For an external runtime: volumes are attached, all else is left detached in c.sources.
void StageMounts(ExecutorContext& c);
// kLayers: opens the layers of mount `i` in the host's mount namespace, and returns which is the first; makes
// of them, after EnterMountNamespace, a detached overlay, or a mount of what is at the sub-path in it.
int OpenLayersMount(ExecutorContext& c, const PlanMount& m, uint32_t i);
int LayersMount(ExecutorContext& c, const PlanMount& m, int first, uint32_t i);
void MakeDevices(ExecutorContext& c);
void MakeSymlinks(ExecutorContext& c);
void WriteSysctls(ExecutorContext& c);
void MakeWorkingDirectory(ExecutorContext& c);
void MakeConsole(ExecutorContext& c);                        // what its terminal is mounted on
void OpenTerminal(ExecutorContext& c, bool attach_console);  // at 0, 1, 2
void ProtectPaths(ExecutorContext& c);
void SealMounts(ExecutorContext& c);
void PivotRoot(ExecutorContext& c);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_CONTEXT_H_
