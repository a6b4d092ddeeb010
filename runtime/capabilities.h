// Linux capabilities: names, numbers and masks.
#ifndef BERTH_RUNTIME_CAPABILITIES_H_
#define BERTH_RUNTIME_CAPABILITIES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace berth {

// Bit n is capability number n (linux/capability.h).
using CapabilityMask = uint64_t;

constexpr int kLastCapability = 40;  // CAP_CHECKPOINT_RESTORE, Linux 5.9
constexpr CapabilityMask kAllCapabilities = (CapabilityMask{1} << (kLastCapability + 1)) - 1;

constexpr CapabilityMask CapabilityBit(int number) { return CapabilityMask{1} << number; }

// "CAP_NET_ADMIN", "NET_ADMIN" and any case of both → 12. nullopt for an unknown name.
std::optional<int> CapabilityNumber(absl::string_view name);
// 12 → "CAP_NET_ADMIN"; "CAP_63" for a number without a name.
std::string CapabilityName(int number);

// InvalidArgument names the first unknown one.
absl::StatusOr<CapabilityMask> CapabilityMaskOf(const std::vector<std::string>& names);
// In the order of their numbers.
std::vector<std::string> CapabilityNames(CapabilityMask mask);

// What a container has unless it is told otherwise: the 14 that containerd, CRI-O and Docker give.
CapabilityMask DefaultCapabilities();

// This process's own bounding set, read once from /proc/self/status: nobody can give more. All that
// is known if it can't be read.
CapabilityMask OwnBoundingSet();

}  // namespace berth

#endif  // BERTH_RUNTIME_CAPABILITIES_H_
