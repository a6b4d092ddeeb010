// Which pods and containers a List request means, and which one an abbreviated id means.
#ifndef BERTH_SERVER_CRI_FILTERS_H_
#define BERTH_SERVER_CRI_FILTERS_H_

#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/map.h"
#include "server/cri/api.h"

namespace berth {

using LabelMap = google::protobuf::Map<std::string, std::string>;

// True if `labels` has every key of `selector` with an equal value. An empty selector matches all.
bool MatchesLabels(const LabelMap& selector, const LabelMap& labels);

// True if every part of the filter that is set matches. An id in a filter has to be a full one
// here: resolve it before with ResolveIdFilter.
bool Matches(const cri::PodSandboxFilter& filter, absl::string_view pod_id,
             cri::PodSandboxState state, const LabelMap& labels);
bool Matches(const cri::ContainerFilter& filter, absl::string_view container_id,
             absl::string_view pod_id, cri::ContainerState state, const LabelMap& labels);
bool Matches(const cri::PodSandboxStatsFilter& filter, absl::string_view pod_id,
             const LabelMap& labels);
bool Matches(const cri::ContainerStatsFilter& filter, absl::string_view container_id,
             absl::string_view pod_id, const LabelMap& labels);

// The id that `given`, an id or an unambiguous beginning of one, stands for among the keys of
// `ids`, a sorted map or set of ids (std::map, std::set, absl::btree_*; keys are std::string or
// StringId). `noun` is what the messages call it: `container`. InvalidArgument if `given` is empty
// or fits several, NotFound if none.
template <typename Sorted>
absl::StatusOr<std::string> ResolveId(absl::string_view noun, const std::string& given,
                                      const Sorted& ids);

// The same for the id in a filter: empty stays empty (anything matches), and what names nothing or
// several stays as it is, so that the list is empty.
template <typename Sorted>
std::string ResolveIdFilter(const std::string& given, const Sorted& ids);

// Implementation only from here on.

namespace filters_internal {
inline absl::string_view Text(const std::string& id) { return id; }
template <typename Id>
absl::string_view Text(const Id& id) {
  return id.str();
}
template <typename Key, typename Value>
absl::string_view KeyText(const std::pair<Key, Value>& entry) {
  return Text(entry.first);
}
template <typename Key>
absl::string_view KeyText(const Key& key) {
  return Text(key);
}
}  // namespace filters_internal

template <typename Sorted>
absl::StatusOr<std::string> ResolveId(absl::string_view noun, const std::string& given,
                                      const Sorted& ids) {
  if (given.empty()) return absl::InvalidArgumentError(absl::StrCat(noun, " id is empty"));
  const auto it = ids.lower_bound(typename Sorted::key_type(given));
  if (it == ids.end() || !absl::StartsWith(filters_internal::KeyText(*it), given)) {
    return absl::NotFoundError(absl::StrCat(noun, " ", given, " not found"));
  }
  std::string found(filters_internal::KeyText(*it));
  const auto next = std::next(it);
  // A full id wins over longer ones that begin with it.
  if (found.size() != given.size() && next != ids.end() &&
      absl::StartsWith(filters_internal::KeyText(*next), given)) {
    return absl::InvalidArgumentError(absl::StrCat(noun, " id ", given, " is ambiguous: it fits ",
                                                   found, " and ",
                                                   filters_internal::KeyText(*next)));
  }
  return found;
}

template <typename Sorted>
std::string ResolveIdFilter(const std::string& given, const Sorted& ids) {
  if (given.empty()) return given;
  auto resolved = ResolveId("", given, ids);
  return resolved.ok() ? *std::move(resolved) : given;
}

}  // namespace berth

#endif  // BERTH_SERVER_CRI_FILTERS_H_
