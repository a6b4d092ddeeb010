// What a pod asks of its network, in the words that plugins understand. Pure.
//
// InvalidArgument names the field of the request.
#ifndef BERTH_SERVER_NETWORK_CNI_ARGUMENTS_H_
#define BERTH_SERVER_NETWORK_CNI_ARGUMENTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/network/network.h"

namespace berth {

absl::Status CheckCniInterface(const std::string& name);

// CNI_ARGS, with the keys that every CRI runtime gives.
absl::StatusOr<std::string> CniArgsOf(const AttachRequest& request);

// The capability arguments: what a plugin that declares a capability gets as `runtimeConfig`. Those
// of CNI's CONVENTIONS.md (portMappings, dns, bandwidth, ips, mac, cgroupPath), and containerd's
// `io.kubernetes.cri.pod-annotations`.
absl::StatusOr<nlohmann::json> CniCapabilityArgsOf(const AttachRequest& request);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_ARGUMENTS_H_
