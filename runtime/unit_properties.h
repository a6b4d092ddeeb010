// Limits as properties of a systemd unit (systemd.resource-control(5)), for the systemd cgroup driver.
//
// A unit's properties are systemd's to write, again at each daemon-reload. What it has no property for
// (huge pages, device filters, bursts ...) is written to the delegated cgroup only.
#ifndef BERTH_RUNTIME_UNIT_PROPERTIES_H_
#define BERTH_RUNTIME_UNIT_PROPERTIES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup_resources.h"

namespace berth {

// D-Bus types: t, ay.
using UnitPropertyValue = std::variant<uint64_t, std::vector<uint8_t>>;
using UnitProperties = std::vector<std::pair<std::string, UnitPropertyValue>>;

// The properties of what is set in `resources`, cgroup v2. InvalidArgument for a CPU list that is none.
absl::StatusOr<UnitProperties> PropertiesOf(const CgroupResources& resources);

// "0-2,8" as a mask of bits, the lowest first: {0x07, 0x01}.
absl::StatusOr<std::vector<uint8_t>> CpuListMask(absl::string_view list);

// v1's shares of 2..262144 as v2's weight of 1..10000, so that requests keep their proportion to each other
// (kubelet converts its own cgroups so, too).
uint64_t CpuWeightOfShares(uint64_t shares);

// The path of a slice: a dash is a level. `a-b.slice` is /a.slice/a-b.slice (systemd.slice(5)).
// InvalidArgument unless it is the name of a slice.
absl::StatusOr<std::string> SlicePath(absl::string_view slice);

}  // namespace berth

#endif  // BERTH_RUNTIME_UNIT_PROPERTIES_H_
