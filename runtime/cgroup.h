// Cgroups of this host: cgroup v1, hybrid (v1 hierarchies and a v2 tree with few controllers) and v2
// behind the same verbs.
//
// Vocabulary: a *path* names a cgroup, absolute below the root of every hierarchy:
// `/kubepods/pod1/0123…`. A *hierarchy* is one mount of cgroup v1 or the v2 tree.
//
// Life: CreateHeld (empty, inherits) → Apply (limits) → processes are put in by writing to ProcsPaths, or
// at birth by clone3(CLONE_INTO_CGROUP) with UnifiedPath → the hold goes → Kill → Remove. A crash leaves
// directories only: Children finds them again by their name's prefix.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<CgroupHost> host, CgroupHost::Detect());
//   ASSIGN_OR_RETURN(const std::string path, host->PathFor("/kubepods/pod1", id));
//   ASSIGN_OR_RETURN(const std::unique_ptr<CgroupHold> hold, host->CreateHeld(path));
//   RETURN_IF_ERROR(host->Apply(path, resources));
//
// Threads: a CgroupHost is immutable after Detect; any thread may call any verb. Calls on the same
// path must not run side by side, except Processes, Oom, Kill, SendKill and Thaw, which may always.
// This is the cgroupfs driver; the systemd driver is runtime/cgroup_systemd.h.
#ifndef BERTH_RUNTIME_CGROUP_H_
#define BERTH_RUNTIME_CGROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "runtime/cgroup_reader.h"
#include "runtime/cgroup_resources.h"

namespace berth {

enum class CgroupMode { kLegacy, kHybrid, kUnified };

struct OomState {
  uint64_t oom_kills = 0;  // processes of this cgroup that the OOM killer ended, since its creation
  int64_t memory_limit = -1;  // bytes; -1: none
};

// A cgroup's directory in one hierarchy.
struct CgroupDirectory {
  std::string path;         // absolute, on the host
  std::string name;         // of the hierarchy's mount point: "memory", "cpu,cpuacct", "unified"
  uint32_t plan_flags = 0;  // CgroupFlag of runtime/plan.h
};

// Keeps a new cgroup until a process of its own is in it. Null where nothing is needed for that. May be
// destroyed by any thread.
class CgroupHold {
 public:
  virtual ~CgroupHold() = default;
};

// A cgroup that carries this daemon's mark.
struct OwnedCgroup {
  std::string name;  // as it was given to PathFor
  std::string path;
};

class CgroupHost {
 public:
  // Reads /proc/self/mountinfo. FailedPrecondition if no cgroup hierarchy is mounted.
  static absl::StatusOr<std::unique_ptr<CgroupHost>> Detect();
  // The same from the text of a mountinfo; tests give one whose mount points are in a temporary tree.
  static absl::StatusOr<std::unique_ptr<CgroupHost>> DetectFrom(absl::string_view mountinfo);
  virtual ~CgroupHost() = default;

  CgroupMode mode() const { return mode_; }
  // cpu, memory, pids, …: whether some hierarchy limits by it.
  bool HasController(absl::string_view controller) const;

  // The path of a parent as kubelet names it: a path here, the name of a slice for the systemd driver.
  // InvalidArgument unless it is absolute or empty and has no "..", empty or "." elements.
  virtual absl::StatusOr<std::string> ParentPath(absl::string_view parent) const;
  // PARENT/NAME as a path; "" and "/" are the root. InvalidArgument as ParentPath.
  virtual absl::StatusOr<std::string> PathFor(absl::string_view parent,
                                              absl::string_view name) const;
  // The parent for pods that name none; "" leaves it to the caller.
  virtual std::string DefaultParent() const { return ""; }

  // Makes the cgroup in every hierarchy, parents too, and on v2 hands the controllers down to it.
  // What exists is taken as it is. On failure what this call made of the leaf is removed again.
  absl::Status Create(const std::string& path) const;
  // The same for a container's processes, by the driver. The hold has to live until one has joined.
  virtual absl::StatusOr<std::unique_ptr<CgroupHold>> CreateHeld(const std::string& path) const;

  // Writes the limits that are set. InvalidArgument names a value that contradicts or that the
  // kernel refuses; FailedPrecondition a controller that this host has not. What was written before
  // the failure stays.
  virtual absl::Status Apply(const std::string& path, const CgroupResources& resources) const;

  // The directory in each hierarchy that has it, where the cgroup's processes are.
  std::vector<CgroupDirectory> Directories(const std::string& path) const;
  // The cgroup.procs files through which a process joins.
  std::vector<std::string> ProcsPaths(const std::string& path) const;
  // The directory in the v2 tree (mounted whole or hybrid), for CLONE_INTO_CGROUP; "" without one.
  std::string UnifiedPath(const std::string& path) const;

  // SIGKILLs every process in the cgroup and below, also what is born meanwhile, and returns when it
  // is empty: OK, or DeadlineExceeded with the processes that are left (D state). A missing cgroup
  // is OK. May be repeated.
  absl::Status Kill(const std::string& path, absl::Time deadline) const;
  // Its first half: signals (and thaws what was frozen here), and does not wait.
  absl::Status SendKill(const std::string& path) const;

  // Stops and resumes all processes in the cgroup and below. Freeze returns when all are stopped or
  // at the deadline (DeadlineExceeded; thawed again). Thaw undoes anybody's freeze of this cgroup, but
  // not of one above it; a missing cgroup is OK.
  absl::Status Freeze(const std::string& path, absl::Time deadline) const;
  absl::Status Thaw(const std::string& path) const;

  // Removes the cgroup and its sub-cgroups from every hierarchy. A missing one is OK. Retries EBUSY
  // for at most 500 ms (a dying process leaves a little after its exit is seen), then Unavailable.
  virtual absl::Status Remove(const std::string& path) const;

  // The processes in the cgroup and below, as pids of the caller's PID namespace. NotFound if no
  // hierarchy has it.
  absl::StatusOr<std::vector<pid_t>> Processes(const std::string& path) const;
  bool Exists(const std::string& path) const;

  // For statistics of a cgroup that exists or will; nothing is opened yet. The host outlives it.
  std::unique_ptr<CgroupReader> NewReader(const std::string& path) const;

  // How often the OOM killer struck, and the memory limit in force. NotFound if it is gone.
  absl::StatusOr<OomState> Oom(const std::string& path) const;
  // Bytes; -1: none.
  absl::StatusOr<int64_t> MemoryLimit(const std::string& path) const;
  // Of `path` and those above, the nearest whose memory limit was reached so far; none: the node's
  // memory was. On v1 only a guess, since reclaim may have helped.
  std::optional<std::string> ReachedLimit(const std::string& path) const;

  // Names of child cgroups of `parent` that start with `prefix`, in any hierarchy; sorted, each once.
  // A missing parent has none.
  absl::StatusOr<std::vector<std::string>> Children(const std::string& parent,
                                                    absl::string_view prefix) const;

  // What this daemon made and what carries its mark; cgroupfs marks nothing. The notes in STATE come first:
  // this finds what lost them.
  virtual absl::StatusOr<std::vector<OwnedCgroup>> Leftovers() const {
    return std::vector<OwnedCgroup>();
  }

 protected:
  struct Hierarchy {
    bool v2 = false;
    std::string mount_point;
    std::vector<std::string> controllers;  // v2: cgroup.controllers of its root
    UniqueFd root;                         // O_PATH
  };
  CgroupHost() = default;
  CgroupHost(CgroupHost&&) = default;

  // The cgroup below `path` that its processes are in.
  virtual std::string ProcessPath(const std::string& path) const { return path; }
  // Enables what the v2 root has in every ancestor's subtree_control.
  void HandDown(const std::string& path) const;

  // The hierarchy that has this controller, or null.
  const Hierarchy* Find(absl::string_view controller) const;
  const Hierarchy* unified() const;
  // The hierarchy by which processes are listed and frozen.
  const Hierarchy* primary() const;

 private:
  friend class CgroupLimits;
  absl::Status CreateIn(const Hierarchy& hierarchy, const std::string& path) const;
  std::vector<UniqueFd> KillFrozen(const std::string& path) const;
  bool HasKillFile(const std::string& path) const;  // of the v2 tree
  absl::Status KillByFreezer(const std::string& path, absl::Time deadline) const;
  absl::Status WaitWhilePopulated(const std::string& path, absl::Time deadline) const;

  CgroupMode mode_ = CgroupMode::kLegacy;
  std::vector<Hierarchy> hierarchies_;
};

// The devices every container may use (OCI runtime-spec, config-linux.md, "Default Devices", plus
// mknod of any, ptys and tun's absence): deny all, then these.
std::vector<DeviceRule> DefaultDeviceRules();

}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_H_
