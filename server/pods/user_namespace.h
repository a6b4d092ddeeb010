// What CRI says of user namespaces, checked. Pure.
#ifndef BERTH_SERVER_PODS_USER_NAMESPACE_H_
#define BERTH_SERVER_PODS_USER_NAMESPACE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/cri/v1/api.pb.h"
#include "runtime/spec/spec.h"

namespace berth {

// Both empty: the host's user namespace.
struct PodIdMaps {
  std::vector<SpecIdMapping> uids;
  std::vector<SpecIdMapping> gids;
  bool empty() const { return uids.empty(); }
  // What a container's root is on the host; 0 without a user namespace.
  uint32_t root_uid() const;
  uint32_t root_gid() const;
};

// The mapping of a pod (userns_options unset is NODE). InvalidArgument with `field`'s path for other modes
// than POD and NODE, mappings with NODE, none with POD, a length of 0, ranges that leave 32 bits, meet each
// other or are too many for the kernel, and a container's 0 that is not mapped.
absl::StatusOr<PodIdMaps> PodIdMapsOf(const runtime::v1::NamespaceOption& namespaces,
                                      absl::string_view field);

// A list of mappings by itself, as a mount has. `field`: its path.
absl::StatusOr<std::vector<SpecIdMapping>> ReadIdMappings(
    const google::protobuf::RepeatedPtrField<runtime::v1::IDMapping>& mappings,
    absl::string_view field);

// Whether `inside` is mapped at all; true without mappings.
bool IsMapped(const std::vector<SpecIdMapping>& mappings, uint32_t inside);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_USER_NAMESPACE_H_
