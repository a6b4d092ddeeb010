// Which pods and containers a List request means, and which one an abbreviated id means.
#ifndef BERTH_SERVER_CRI_FILTERS_H_
#define BERTH_SERVER_CRI_FILTERS_H_

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
bool Matches(const cri::PodSandboxFilter& filter, const cri::PodSandbox& pod);
bool Matches(const cri::ContainerFilter& filter, const cri::Container& container);
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
inline const std::string& Text(const std::string& id) { return id; }
template <typename Id>
const std::string& Text(const Id& id) {
  return id.str();
}
template <typename Key, typename Value>
const std::string& KeyText(const std::pair<Key, Value>& entry) {
  return Text(entry.first);
}
template <typename Key>
const std::string& KeyText(const Key& key) {
  return Text(key);
}
}  // namespace filters_internal

template <typename Sorted>
absl::StatusOr<std::string> ResolveId(absl::string_view noun, const std::string& given,
                                      const Sorted& ids) {
  if (given.empty()) return absl::InvalidArgumentError(absl::StrCat(noun, " id is empty"));
  auto it = ids.lower_bound(typename Sorted::key_type(given));
  if (it == ids.end() || !absl::StartsWith(filters_internal::KeyText(*it), given)) {
    return absl::NotFoundError(absl::StrCat(noun, " ", given, " not found"));
  }
  const std::string& found = filters_internal::KeyText(*it);
  // A full id wins over longer ones that begin with it.
  if (found.size() != given.size() && ++it != ids.end() &&
      absl::StartsWith(filters_internal::KeyText(*it), given)) {
    return absl::InvalidArgumentError(absl::StrCat(noun, " id ", given, " is ambiguous: it fits ",
                                                   found, " and ", filters_internal::KeyText(*it)));
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
