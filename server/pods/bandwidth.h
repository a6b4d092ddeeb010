// The limits of a pod's network from its annotations. Pure.
#ifndef BERTH_SERVER_PODS_BANDWIDTH_H_
#define BERTH_SERVER_PODS_BANDWIDTH_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/network/network.h"

namespace berth {

// A Kubernetes quantity such as `10M`, `1.5Gi` or `12e6`, rounded up. InvalidArgument for what is
// none, for less than nothing, and for more than 10^18.
absl::StatusOr<uint64_t> ParseQuantity(absl::string_view text);

// kubernetes.io/ingress-bandwidth and kubernetes.io/egress-bandwidth, in bits per second, as
// containerd and CRI-O take them; nullopt if the pod has neither. InvalidArgument names the
// annotation: no quantity, or not between 1k and 1P (Kubernetes refuses the same).
absl::StatusOr<std::optional<BandwidthLimit>> BandwidthOf(
    const std::map<std::string, std::string>& annotations);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_BANDWIDTH_H_
