// What CDI devices add to a container.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

constexpr char kAnnotationPrefix[] = "cdi.k8s.io/";

absl::Status AddNode(const SpecRequest& request, const CdiDeviceNode& node, BuiltSpec* built) {
  SpecDevice device;
  device.path = node.path;
  device.type = node.type;
  if (node.type == 0 || (node.type != 'p' && (!node.major || !node.minor))) {
    const std::string& path = node.host_path.empty() ? node.path : node.host_path;
    ASSIGN_OR_RETURN(const std::vector<SpecDevice> found, request.host.devices(path));
    if (found.size() != 1 || found[0].path != path)
      return InvalidField(path, "is no device of this host");
    device = found[0];
    device.path = node.path;
  } else {
    device.major = node.major.value_or(0);
    device.minor = node.minor.value_or(0);
  }
  if (node.file_mode) device.file_mode = node.file_mode;
  if (node.uid) device.uid = node.uid;
  if (node.gid) device.gid = node.gid;
  SpecLinux& l = built->spec.linux_;
  if (device.type != 'p') {
    const char type = device.type == 'b' ? 'b' : 'c';  // u is a c without buffer
    l.resources.devices->push_back({true, type, device.major, device.minor,
                                    node.permissions.empty() ? "rwm" : node.permissions});
  }
  const auto same = [&](const SpecDevice& other) { return other.path == device.path; };
  l.devices.erase(std::remove_if(l.devices.begin(), l.devices.end(), same), l.devices.end());
  l.devices.push_back(std::move(device));
  return absl::OkStatus();
}

absl::Status AddMount(const SpecRequest& request, const CdiMount& mount, BuiltSpec* built) {
  SpecMount out;
  ASSIGN_OR_RETURN(out.destination, MountTarget(mount.container_path));
  out.type = mount.type.empty() ? "bind" : mount.type;
  out.options = mount.options;
  if (out.type != "bind" && out.type != "rbind") {
    out.source = mount.host_path;
  } else {
    if (!IsAbsolutePath(mount.host_path))
      return InvalidField(mount.host_path, "is no absolute path");
    ASSIGN_OR_RETURN(out.source, request.host.existing_source(mount.host_path));
  }
  std::vector<SpecMount>& all = built->spec.mounts;
  const auto same = [&](const SpecMount& other) { return other.destination == out.destination; };
  all.erase(std::remove_if(all.begin(), all.end(), same), all.end());
  all.push_back(std::move(out));
  return absl::OkStatus();
}

void AddVariable(const std::string& entry, std::vector<std::string>* env) {
  const absl::string_view name = absl::string_view(entry).substr(0, entry.find('=') + 1);
  const auto same = [&](const std::string& old) { return absl::StartsWith(old, name); };
  env->erase(std::remove_if(env->begin(), env->end(), same), env->end());
  env->push_back(entry);
}

void AddHook(const CdiHook& from, SpecHooks* hooks) {
  const std::pair<const char*, std::vector<SpecHook>*> lists[] = {
      {"prestart", &hooks->prestart},
      {"createRuntime", &hooks->create_runtime},
      {"createContainer", &hooks->create_container},
      {"startContainer", &hooks->start_container},
      {"poststart", &hooks->poststart},
      {"poststop", &hooks->poststop}};
  for (const auto& [name, list] : lists) {
    if (from.name == name) list->push_back({from.path, from.args, from.env, from.timeout});
  }
}

absl::Status AddEdits(const SpecRequest& request, const CdiEdits& edits, BuiltSpec* built) {
  for (const std::string& entry : edits.env) AddVariable(entry, &built->process().env);
  for (const CdiDeviceNode& node : edits.device_nodes) {
    RETURN_IF_ERROR_WITH(AddNode(request, node, built), absl::StrCat("device node ", node.path));
  }
  for (const CdiMount& mount : edits.mounts) {
    RETURN_IF_ERROR_WITH(AddMount(request, mount, built),
                         absl::StrCat("mount ", mount.container_path));
  }
  for (const CdiHook& hook : edits.hooks) AddHook(hook, &built->spec.hooks);
  std::vector<uint32_t>& gids = built->process().user.additional_gids;
  for (const uint32_t gid : edits.additional_gids) {
    if (std::find(gids.begin(), gids.end(), gid) == gids.end()) gids.push_back(gid);
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> CdiDevicesOf(const cri::ContainerConfig& config) {
  std::vector<std::string> names;
  const auto add = [&names](std::string name) {
    if (std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(std::move(name));
  };
  for (const cri::CDIDevice& device : config.cdi_devices()) add(device.name());
  // Sorted: a map of protobuf has no order.
  const std::map<std::string, std::string> annotations(config.annotations().begin(),
                                                       config.annotations().end());
  for (const auto& [key, value] : annotations) {
    if (!absl::StartsWith(key, kAnnotationPrefix)) continue;
    for (absl::string_view name : absl::StrSplit(value, ',')) add(std::string(name));
  }
  return names;
}

absl::Status AddCdiDevices(const SpecRequest& request, BuiltSpec* built) {
  for (const CdiEdits& edits : request.facts.cdi_edits) {
    const absl::Status status = AddEdits(request, edits, built);
    // Whatever was wrong, it is with what the container asks for.
    if (!status.ok()) return InvalidField("CDI_devices", status.message());
  }
  return absl::OkStatus();
}

}  // namespace berth
