#include "server/pods/spec_builder.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

bool HasSelinux(const cri::SELinuxOption& o) {
  return !o.user().empty() || !o.role().empty() || !o.type().empty() || !o.level().empty();
}

absl::Status RefuseUnsupported(const SpecRequest& request) {
  if (request.privileged() && !request.pod_context().privileged()) {
    return InvalidField(absl::StrCat(kContextField, ".privileged"),
                        "the pod sandbox is not privileged");
  }
  // Without SELinux there is nothing to label, and kubelet passes on what the pod says.
  if (request.host.selinux && (HasSelinux(request.context().selinux_options()) ||
                               HasSelinux(request.pod_context().selinux_options()))) {
    return UnsupportedField(absl::StrCat(kContextField, ".selinux_options"),
                            "SELinux is not supported");
  }
  if (request.container.has_windows()) return UnsupportedField("windows", "this is a Linux node");
  return absl::OkStatus();
}

void AddBasics(const SpecRequest& request, BuiltSpec* built) {
  built->spec.root_path = request.facts.rootfs;
  built->spec.root_readonly = request.context().readonly_rootfs();
  // With the node's network it has the node's UTS namespace, too, whose name isn't for it to set.
  if (request.pod_context().namespace_options().network() != cri::NODE)
    built->spec.hostname = request.pod_facts.hostname;
  built->spec.linux_.cgroups_path = request.facts.cgroup_path;
  built->process().terminal = request.container.tty();
  built->process().no_new_privileges = request.context().no_new_privs() && !request.privileged();
  built->stdin_open = request.container.stdin();
  built->stdin_once = request.container.stdin_once();
}

void AddAnnotations(const SpecRequest& request, BuiltSpec* built) {
  std::map<std::string, std::string>& a = built->spec.annotations;
  a["io.kubernetes.cri.container-type"] = "container";
  a["io.kubernetes.cri.container-name"] = request.container.metadata().name();
  a["io.kubernetes.cri.sandbox-id"] = request.pod_facts.id;
  a["io.kubernetes.cri.sandbox-name"] = request.pod.metadata().name();
  a["io.kubernetes.cri.sandbox-namespace"] = request.pod.metadata().namespace_();
  a["io.kubernetes.cri.sandbox-uid"] = request.pod.metadata().uid();
  a["io.kubernetes.cri.image-name"] = request.facts.image_name;
}

}  // namespace

absl::Status InvalidField(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}

absl::Status UnsupportedField(absl::string_view field, absl::string_view why) {
  return absl::UnimplementedError(absl::StrCat(field, ": ", why));
}

bool IsAbsolutePath(absl::string_view path) { return absl::StartsWith(path, "/"); }

bool CleanPath(absl::string_view path, std::string* clean) {
  clean->clear();
  for (absl::string_view element : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (element == "..") return false;
    if (element != ".") absl::StrAppend(clean, "/", element);
  }
  if (clean->empty()) *clean = "/";
  return true;
}

absl::StatusOr<BuiltSpec> BuildSpec(const cri::ContainerConfig& container,
                                    const cri::PodSandboxConfig& pod, const ImageConfig& image,
                                    const PodFacts& pod_facts,
                                    const ContainerFacts& container_facts, const HostFacts& host) {
  const SpecRequest request = {.container = container,
                               .pod = pod,
                               .image = image,
                               .pod_facts = pod_facts,
                               .facts = container_facts,
                               .host = host};
  BuiltSpec built;
  built.spec.process.emplace();
  RETURN_IF_ERROR(RefuseUnsupported(request));
  AddBasics(request, &built);
  RETURN_IF_ERROR(AddCommand(request, &built));
  RETURN_IF_ERROR(AddEnvironment(request, &built));
  RETURN_IF_ERROR(AddUser(request, &built));
  RETURN_IF_ERROR(AddCapabilities(request, &built));
  RETURN_IF_ERROR(AddNamespaces(request, &built));
  RETURN_IF_ERROR(AddMounts(request, &built));
  RETURN_IF_ERROR(AddResources(request, &built));
  RETURN_IF_ERROR(AddDevices(request, &built));
  RETURN_IF_ERROR(AddCdiDevices(request, &built));
  RETURN_IF_ERROR(AddConfinement(request, &built));
  AddAnnotations(request, &built);
  return built;
}

}  // namespace berth
