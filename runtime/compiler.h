// The compiler: an OCI spec and what it doesn't say → a Plan (runtime/plan.h).
//
// No side effects, no reading of the host: what it needs to know is in CompileInput. Errors name the
// spec's field: InvalidArgument for what contradicts, Unimplemented for what is known and not served.
#ifndef BERTH_RUNTIME_COMPILER_H_
#define BERTH_RUNTIME_COMPILER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/capabilities.h"
#include "runtime/cgroup.h"
#include "runtime/plan.h"
#include "runtime/spec/spec.h"

namespace berth {

// Who a process runs as, as far as it is known before the image is mounted. Names are looked up in the
// mounted image by the executor.
struct UserReference {
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::string user;  // counts without uid
  std::string
      group;  // counts without gid; without both the user's own group in /etc/passwd, else 0
  // Supplemental groups beyond spec.process.user.additionalGids come from the image's /etc/group,
  // unless this is set.
  bool strict_groups = false;
};

struct CompileInput {
  // The root file system: an overlay of `lowers` (topmost first; without upper and work it is read
  // only), or without lowers the directory spec.root.path, which must be absolute then.
  std::vector<std::string> lowers;
  std::string upper;
  std::string work;
  std::string overlay_options;

  // By destination: what mounts of kLayersType are made of, topmost first, at least two.
  std::map<std::string, std::vector<std::string>> layers;

  // From CgroupHost::Directories: joined in this order, and shown by mounts of type cgroup.
  std::vector<CgroupDirectory> cgroups;

  std::optional<UserReference> user;  // unset: spec.process.user
  bool stdin_open = false;
  bool stdin_once = false;

  // A pod's keeper holds the network, IPC and UTS namespaces, sysctls and hostname; the spec's paths
  // to them are for readers only. Without a pod, new ones are made where the spec asks for them.
  bool in_pod = true;
  // What a PID namespace with a path in the spec stands for: kPod or kTarget.
  PidMode joined_pid = PidMode::kPod;
  std::string pid_target;  // kTarget: the container's ID

  // Nobody can give more than it has.
  CapabilityMask capability_limit = OwnBoundingSet();
};

// The plan of a container's main process. Cgroup limits are not in it: CgroupHost::Apply writes
// spec.linux_.resources before.
absl::StatusOr<std::string> CompilePlan(const Spec& spec, const CompileInput& input);

// The plan of one more process in a container that was made from `spec`. Of `input` only cgroups, user,
// joined_pid, pid_target and capability_limit count.
absl::StatusOr<std::string> CompileExecPlan(const Spec& spec, const SpecProcess& process,
                                            const CompileInput& input);

}  // namespace berth

#endif  // BERTH_RUNTIME_COMPILER_H_
