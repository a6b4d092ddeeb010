// The executor: carries out a validated Plan in a freshly cloned process, with system calls only.
//
// It runs between clone and execve: no allocation, no locks, no stdio, no exceptions; executor.cc includes
// libc and kernel headers only, and is compiled into the freestanding keeper as well as into glibc programs.
//
// The process talks to its supervisor over one SEQPACKET socket, `status`:
//   process → supervisor   ExecutorReport kTerminal (with the master by SCM_RIGHTS), then kReady (a
//                          container waits at its gate), or kFailed at any time; end-of-file after the
//                          gate means that execve succeeded. With a hop, kHopped comes before that, with
//                          the pid and pidfd of the process that takes over, a child of the supervisor too;
//                          with a user namespace and a PID namespace of its own it comes before kReady
//   supervisor → process   one byte opens the gate; end-of-file at the gate ends the process
#ifndef BERTH_RUNTIME_EXECUTOR_H_
#define BERTH_RUNTIME_EXECUTOR_H_

#include <stdint.h>

#include "runtime/plan.h"

namespace berth {

// What failed; the comment says what `Failure::index` counts.
enum class Step : uint32_t {
  kNone = 0,
  kClone,        // clone3 itself (reported by the supervisor)
  kDescriptors,  // closing and arranging descriptors
  kJoinCgroup,   // index: cgroups
  kOomScore,
  kRlimit,           // index: rlimits
  kOverlay,          // making the overlay; index: lowers, then upper (count), work (count + 1)
  kRootfsSource,     // opening the bind root
  kMountSource,      // index: mounts (open_tree of the source)
  kMountAttributes,  // index: mounts (mount_setattr of the source)
  kMountNamespace,   // joining and unsharing
  kCgroupNamespace,
  kAttachRootfs,
  kMountCreate,  // index: mounts (fsopen, fsconfig, fsmount)
  kMountTarget,  // index: mounts (resolving or making the target)
  kMountAttach,  // index: mounts (move_mount)
  kDevice,       // index: devices
  kSymlink,      // index: symlinks
  kSysctl,       // index: sysctls
  kTerminal,
  kMakeCwd,
  kUser,           // no such user, or /etc/passwd unreadable
  kGroup,          // no such group
  kReadonlyPath,   // index: readonly_paths
  kMaskedPath,     // index: masked_paths
  kReadonlyMount,  // index: mounts (made read-only after mounts below were attached)
  kReadonlyRootfs,
  kPivotRoot,
  kHostname,
  kJoinNamespaces,  // an exec: setns by the pidfd
  kStdio,
  kGate,
  kCapabilities,
  kGroups,  // setgroups, setresgid
  kUid,     // setresuid
  kNoNewPrivs,
  kSeccomp,
  kCwd,            // chdir
  kExecve,         // argv[0]
  kHop,            // entering a PID namespace that others are in
  kSupervisor,     // anything on the keeper's side: memory, descriptors, its own tables
  kUserNamespace,  // entering it, or becoming its root
  kLayerIdMap,     // index: as kOverlay
  kMountIdMap,     // index: mounts
  kMountSubPath,   // index: mounts
  kAppArmor,       // asking for the profile
  kRuntimeFiles,   // an external runtime's bundle; index: ExternalFile
  kRuntimeMount,   // index: mounts
  kRuntimeExecve,  // index: ExternalCommand
  kRuntimeFailed,  // index: ExternalCommand; error is the exit code, or minus a signal
};

struct Failure {
  uint32_t step;  // Step
  uint32_t index;
  int32_t error;  // errno
};

enum class ReportKind : uint32_t { kReady = 1, kFailed = 2, kTerminal = 3, kHopped = 4 };

// Sent with only `group_count` groups.
struct ExecutorReport {
  uint32_t kind;  // ReportKind
  Failure failure;
  int32_t pid;  // kHopped
  uint32_t uid;
  uint32_t gid;
  uint32_t group_count;
  uint32_t groups[kMaxPlanGroups];
};

struct ExecutorInput {
  const Plan* plan = nullptr;
  int status = -1;  // SEQPACKET socket
  // A container: the tiny mount namespace, whose root has the empty directories /rootfs, /shm (the pod's
  // shared memory), /proc (of the pod's PID namespace, if it shares one) and /l/0 ... /l/511, /u (for overlay on kernels before 6.5).
  int mount_namespace = -1;
  // The pod's user namespace, if the plan has id maps. The tiny mount namespace has a procfs at /proc then,
  // of any PID namespace, with nothing mounted below: a kernel lets nobody mount proc in a user namespace
  // who can't see all of one already (mnt_already_visible).
  int user_namespace = -1;
  int target = -1;   // an exec: pidfd of the container's init; a hop: of one in the PID namespace
  bool hop = false;  // enter the PID namespace of `target` last, with nothing to take (kPlanHop)
  int exec_cgroup = -1;            // an exec: O_PATH descriptor of its own sub-cgroup, or -1
  uint32_t exec_cgroup_index = 0;  // which of plan->cgroups that replaces
  // An exec: the open join file of each of plan->cgroups, -1 where it is opened by its path; null: all are.
  const int* cgroup_files = nullptr;
  bool cgroup2_joined = false;  // clone3 put the process into its v2 cgroup already
  int stdio[3] = {-1, -1, -1};  // -1: /dev/null
  uint64_t bounding = 0;        // the supervisor's own bounding set
  uint64_t nofile_soft = 0;     // RLIMIT_NOFILE to restore; 0 leaves it
};

// Carries the plan out and does not return. The caller has just cloned the process (without CLONE_VM), with
// CLONE_NEWPID where the plan has PidMode::kOwn and no user namespace.
[[noreturn]] void Execute(const ExecutorInput& input);

// clone3 without CLONE_VM: 0 in the child, the pid in the parent, -errno. `cgroup` (or -1): a v2 cgroup for
// CLONE_INTO_CGROUP (5.7). With CLONE_PARENT the child's end is signalled as the caller's.
int CloneProcess(uint64_t flags, int cgroup, int* pidfd);

// The calling process' bounding set.
uint64_t ReadBoundingSet();

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_H_
