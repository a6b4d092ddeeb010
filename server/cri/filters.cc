#include "server/cri/filters.h"

namespace berth {
namespace {

bool MatchesId(absl::string_view wanted, absl::string_view id) {
  return wanted.empty() || wanted == id;
}

}  // namespace

bool MatchesLabels(const LabelMap& selector, const LabelMap& labels) {
  for (const auto& [key, value] : selector) {
    const auto it = labels.find(key);
    if (it == labels.end() || it->second != value) return false;
  }
  return true;
}

bool Matches(const cri::PodSandboxFilter& filter, absl::string_view pod_id,
             cri::PodSandboxState state, const LabelMap& labels) {
  return MatchesId(filter.id(), pod_id) &&
         (!filter.has_state() || filter.state().state() == state) &&
         MatchesLabels(filter.label_selector(), labels);
}

bool Matches(const cri::ContainerFilter& filter, absl::string_view container_id,
             absl::string_view pod_id, cri::ContainerState state, const LabelMap& labels) {
  return MatchesId(filter.id(), container_id) && MatchesId(filter.pod_sandbox_id(), pod_id) &&
         (!filter.has_state() || filter.state().state() == state) &&
         MatchesLabels(filter.label_selector(), labels);
}

bool Matches(const cri::PodSandboxStatsFilter& filter, absl::string_view pod_id,
             const LabelMap& labels) {
  return MatchesId(filter.id(), pod_id) && MatchesLabels(filter.label_selector(), labels);
}

bool Matches(const cri::ContainerStatsFilter& filter, absl::string_view container_id,
             absl::string_view pod_id, const LabelMap& labels) {
  return MatchesId(filter.id(), container_id) && MatchesId(filter.pod_sandbox_id(), pod_id) &&
         MatchesLabels(filter.label_selector(), labels);
}

}  // namespace berth
