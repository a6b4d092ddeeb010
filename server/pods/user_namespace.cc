#include "server/pods/user_namespace.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

// The kernel takes less than a page of text (map_write): lines of three numbers of ten digits at most.
constexpr int kMaxMappings = 4096 / 33;

absl::Status Invalid(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}

bool Meet(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length) {
  return a < b + b_length && b < a + a_length;
}

uint32_t OutsideOfRoot(const std::vector<SpecIdMapping>& mappings) {
  for (const SpecIdMapping& m : mappings) {
    if (m.container_id == 0) return m.host_id;
  }
  return 0;
}

}  // namespace

uint32_t PodIdMaps::root_uid() const { return OutsideOfRoot(uids); }
uint32_t PodIdMaps::root_gid() const { return OutsideOfRoot(gids); }

bool IsMapped(const std::vector<SpecIdMapping>& mappings, uint32_t inside) {
  for (const SpecIdMapping& m : mappings) {
    if (inside >= m.container_id && inside - m.container_id < m.size) return true;
  }
  return mappings.empty();
}

absl::StatusOr<std::vector<SpecIdMapping>> ReadIdMappings(
    const google::protobuf::RepeatedPtrField<cri::IDMapping>& mappings, absl::string_view field) {
  // 2^32 - 1 is no id.
  constexpr uint64_t kEnd = std::numeric_limits<uint32_t>::max();
  if (mappings.size() >= kMaxMappings) return Invalid(field, "are too many");
  std::vector<SpecIdMapping> out;
  for (int i = 0; i < mappings.size(); ++i) {
    const cri::IDMapping& m = mappings[i];
    const std::string name = absl::StrCat(field, "[", i, "]");
    if (m.length() == 0) return Invalid(absl::StrCat(name, ".length"), "is 0");
    if (uint64_t{m.host_id()} + m.length() > kEnd ||
        uint64_t{m.container_id()} + m.length() > kEnd) {
      return Invalid(absl::StrCat(name, ".length"), "leads out of the 32 bits of an id");
    }
    for (const SpecIdMapping& other : out) {
      if (Meet(other.container_id, other.size, m.container_id(), m.length())) {
        return Invalid(absl::StrCat(name, ".container_id"), "overlaps another mapping");
      }
      if (Meet(other.host_id, other.size, m.host_id(), m.length())) {
        return Invalid(absl::StrCat(name, ".host_id"), "overlaps another mapping");
      }
    }
    out.push_back({m.container_id(), m.host_id(), m.length()});
  }
  return out;
}

absl::StatusOr<PodIdMaps> PodIdMapsOf(const cri::NamespaceOption& namespaces,
                                      absl::string_view parent) {
  PodIdMaps maps;
  if (!namespaces.has_userns_options()) return maps;
  const cri::UserNamespace& options = namespaces.userns_options();
  const std::string field = absl::StrCat(parent, ".userns_options");
  if (options.mode() == cri::NODE) {
    if (options.uids_size() == 0 && options.gids_size() == 0) return maps;
    return Invalid(field, "mappings need mode POD");
  }
  if (options.mode() != cri::POD) {
    return Invalid(absl::StrCat(field, ".mode"), "a user namespace is POD or NODE");
  }
  ASSIGN_OR_RETURN(maps.uids, ReadIdMappings(options.uids(), absl::StrCat(field, ".uids")));
  ASSIGN_OR_RETURN(maps.gids, ReadIdMappings(options.gids(), absl::StrCat(field, ".gids")));
  for (const auto& [name, list] :
       {std::make_pair(".uids", &maps.uids), std::make_pair(".gids", &maps.gids)}) {
    if (list->empty()) return Invalid(absl::StrCat(field, name), "missing");
    if (!IsMapped(*list, 0)) return Invalid(absl::StrCat(field, name), "do not map 0");
  }
  return maps;
}

}  // namespace berth
