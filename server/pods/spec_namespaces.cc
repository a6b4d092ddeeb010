// The namespaces of a container: its own, the pod's, the node's, another container's.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"
#include "server/pods/user_namespace.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

std::string NamespacePath(int pid, absl::string_view name) {
  return absl::StrCat("/proc/", pid, "/ns/", name);
}

absl::Status PidNamespace(const SpecRequest& request, BuiltSpec* built) {
  const std::string field = absl::StrCat(kContextField, ".namespace_options.pid");
  const cri::NamespaceMode pod = request.pod_context().namespace_options().pid();
  const cri::NamespaceMode mode =
      request.context().has_namespace_options() ? request.context().namespace_options().pid() : pod;
  switch (mode) {
    case cri::NODE:
      if (pod != cri::NODE)
        return InvalidField(field, "NODE, but the pod sandbox has not the node's");
      return absl::OkStatus();
    case cri::CONTAINER:
      built->spec.linux_.namespaces.push_back({NamespaceKind::kPid, ""});
      return absl::OkStatus();
    case cri::POD:
      if (pod != cri::POD) return InvalidField(field, "POD, but the pod sandbox shares none");
      built->spec.linux_.namespaces.push_back(
          {NamespaceKind::kPid, NamespacePath(request.pod_facts.pod_init_pid, "pid")});
      return absl::OkStatus();
    case cri::TARGET:
      if (request.facts.pid_target.empty())
        return InvalidField(field, "TARGET without a target_id");
      built->joined_pid = PidMode::kTarget;
      built->pid_target = request.facts.pid_target;
      built->spec.linux_.namespaces.push_back(
          {NamespaceKind::kPid, NamespacePath(request.facts.pid_target_pid, "pid")});
      return absl::OkStatus();
    default:
      return InvalidField(field, "unknown mode");
  }
}

// The pod's, which kubelet repeats for each container.
absl::Status UserNamespace(const SpecRequest& request, BuiltSpec* built) {
  const std::string parent = absl::StrCat(kContextField, ".namespace_options");
  ASSIGN_OR_RETURN(PodIdMaps maps, PodIdMapsOf(request.pod_context().namespace_options(), parent));
  const cri::NamespaceOption& own = request.context().namespace_options();
  if (own.has_userns_options()) {
    ASSIGN_OR_RETURN(const PodIdMaps asked, PodIdMapsOf(own, parent));
    const auto same = [](const std::vector<SpecIdMapping>& a, const std::vector<SpecIdMapping>& b) {
      return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                        [](const SpecIdMapping& x, const SpecIdMapping& y) {
                          return x.container_id == y.container_id && x.host_id == y.host_id &&
                                 x.size == y.size;
                        });
    };
    if (!same(asked.uids, maps.uids) || !same(asked.gids, maps.gids)) {
      return InvalidField(absl::StrCat(parent, ".userns_options"),
                          "is not that of the pod sandbox");
    }
  }
  if (maps.empty()) return absl::OkStatus();
  built->spec.linux_.namespaces.push_back({NamespaceKind::kUser, ""});
  built->spec.linux_.uid_mappings = std::move(maps.uids);
  built->spec.linux_.gid_mappings = std::move(maps.gids);
  return absl::OkStatus();
}

}  // namespace

absl::Status AddNamespaces(const SpecRequest& request, BuiltSpec* built) {
  std::vector<SpecNamespace>& out = built->spec.linux_.namespaces;
  const cri::NamespaceOption& pod = request.pod_context().namespace_options();
  const int keeper = request.pod_facts.keeper_pid;
  RETURN_IF_ERROR(PidNamespace(request, built));
  RETURN_IF_ERROR(UserNamespace(request, built));
  if (pod.network() != cri::NODE) {
    out.push_back({NamespaceKind::kNetwork, !request.pod_facts.netns_path.empty()
                                                ? request.pod_facts.netns_path
                                                : NamespacePath(keeper, "net")});
    out.push_back({NamespaceKind::kUts, NamespacePath(keeper, "uts")});
  }
  if (pod.ipc() != cri::NODE) out.push_back({NamespaceKind::kIpc, NamespacePath(keeper, "ipc")});
  out.push_back({NamespaceKind::kMount, ""});
  // A privileged container sees and manages the host's tree.
  if (!request.privileged()) out.push_back({NamespaceKind::kCgroup, ""});
  return absl::OkStatus();
}

}  // namespace berth
