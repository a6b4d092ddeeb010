// The sentence about a container that the OOM killer struck: whose limit, of what size, and who was killed.
#ifndef BERTH_SERVER_PODS_OOM_MESSAGE_H_
#define BERTH_SERVER_PODS_OOM_MESSAGE_H_

#include <optional>
#include <string>

#include "proto/berth/store/v1/store.pb.h"
#include "runtime/cgroup.h"
#include "runtime/oom_log.h"

namespace berth {

// `killed tail (pid 4711, the main process): the container's memory limit of 24 MiB (25165824 bytes) was
// reached`. Reads the cgroup's counts and limits, so call it before the cgroup is removed. `report` is the
// kernel's own, if there is one; `shared_parent` is the cgroup of pods that have none of their own.
std::string OomMessage(const store::v1::ContainerRecord& record, const CgroupHost& cgroups,
                       const std::optional<OomReport>& report, const std::string& shared_parent);

// The cgroup whose limit a report names, as a path of CgroupHost: the kernel's paths may have a prefix
// more, when this host's root is a cgroup itself. `/` and what lies above is "".
std::string LimitPath(const OomReport& report, const std::string& container_path);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_OOM_MESSAGE_H_
