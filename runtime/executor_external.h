// Containers and execs that an external OCI runtime makes: crun, runc, and what has their command line.
//
// In the place of the executor's own work there is a *driver*, a process that runs the runtime's commands.
// It is the subreaper of what they leave behind, so nothing is lost between a command's end and the moment
// the supervisor knows the container's process. That becomes the supervisor's own child when the driver ends.
//
//   container  mounts the root file system and what else the runtime doesn't know how to mount, in a mount
//              namespace of its own; resolves the user in it; writes config.json; runs `create`; reports
//              kTerminal, kHopped with the container's process, kReady; at the gate's opening runs `start`
//   exec       runs `exec --detach`, reports kTerminal, closes the status socket, and ends as the process does
//
// With kPlanExternal a plan's fields mean:
//   cwd     the bundle's directory, of an exec one of its own; files in it: see below
//   argv    the command lines of `create`, "" and `start`; of an exec only that of `exec`
//   envp    of the runtime itself
//   mounts  kVolume: as ever. Else `target` is a path of the host where the runtime finds the source of a bind
//   user    for config.json
// flags, pid_mode, cgroups (of which none is joined: the runtime does that) and rootfs are as ever, the rest is not
// looked at: it is in config.json.
#ifndef BERTH_RUNTIME_EXECUTOR_EXTERNAL_H_
#define BERTH_RUNTIME_EXECUTOR_EXTERNAL_H_

#include "runtime/executor_context.h"

namespace berth {

// In the directory `cwd`. config.json is the head, process.user and the tail.
inline constexpr char kExternalRootfs[] = "rootfs";
inline constexpr char kExternalConfig[] = "config.json";
inline constexpr char kExternalConfigHead[] = "config.head";
inline constexpr char kExternalConfigTail[] = "config.tail";
inline constexpr char kExternalProcess[] = "process.json";
inline constexpr char kExternalPid[] = "pid";
inline constexpr char kExternalConsole[] = "console.sock";
inline constexpr char kExternalLog[] = "log.json";

// Failure::index of kRuntimeExecve and kRuntimeFailed.
enum class ExternalCommand : uint32_t { kCreate = 0, kStart = 1, kExec = 2 };

// ... of kRuntimeFiles.
enum class ExternalFile : uint32_t {
  kDirectory = 0,
  kMountNamespace,
  kRootfs,
  kConfig,
  kPid,
  kConsole,
  kProcess,
};

// With signals reset and other descriptors closed.
[[noreturn]] void DriveContainer(ExecutorContext& c);
[[noreturn]] void DriveExec(ExecutorContext& c);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_EXTERNAL_H_
