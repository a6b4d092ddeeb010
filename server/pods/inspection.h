// What a verbose status adds: `crictl inspect` and `inspectp` show it under `info`.
//
// The members have the names that containerd gives them, so that people's templates go on to work
// (`.info.pid`, `.info.runtimeSpec.linux.namespaces`, `.info.cniResult.Interfaces.eth0`); what only
// Berth has comes beside them: `cgroup`, `keeperPid`, `netNamespace`, `stateReason`, `cniVersion` (that was
// spoken with the plugins).
// It holds environment variables, as the configuration does: for people, never for a log.
#ifndef BERTH_SERVER_PODS_INSPECTION_H_
#define BERTH_SERVER_PODS_INSPECTION_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "proto/berth/store/v1/store.pb.h"
#include "server/pods/spec_builder.h"

namespace berth {

// `spec`: as its process was made from it, or why that can't be told. `handler` is the one that an
// empty runtime_handler stands for.
nlohmann::json InspectContainer(const store::v1::ContainerRecord& record,
                                const absl::StatusOr<Spec>& spec, const std::string& handler);

nlohmann::json InspectPod(const store::v1::PodRecord& record, const std::string& handler);

// A CNI result (specification 0.3.0 and newer) in the form of go-cni's: {"Interfaces": {"eth0":
// {"IPConfigs": [{"IP": …, "Gateway": …}], "Mac": …, "Sandbox": …}}, "DNS": […], "Routes": […]}. null
// if it is none.
nlohmann::json CniResultForPeople(const nlohmann::json& result, const std::string& interface);

// `crictl info`'s cniconfig: where configurations and plugins are looked for, and the configuration list
// in force, a JSON object ("" if there is none).
nlohmann::json InspectNetwork(const std::string& conf_dir, const std::vector<std::string>& bin_dirs,
                              const std::string& list);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_INSPECTION_H_
