// The devices of a container: nodes and what its cgroup allows.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

absl::Status AddDevice(const SpecRequest& request, const cri::Device& d, BuiltSpec* built) {
  std::string target;
  if (!IsAbsolutePath(d.container_path()) || !CleanPath(d.container_path(), &target)) {
    return InvalidField("container_path",
                        absl::StrCat("\"", d.container_path(), "\" is no absolute path"));
  }
  if (!IsAbsolutePath(d.host_path())) return InvalidField("host_path", "want an absolute path");
  if (d.permissions().empty() || d.permissions().size() > 3 ||
      d.permissions().find_first_not_of("rwm") != std::string::npos) {
    return InvalidField("permissions", absl::StrCat("\"", d.permissions(), "\" is not out of rwm"));
  }
  absl::StatusOr<std::vector<SpecDevice>> found = request.host.devices(d.host_path());
  if (!found.ok()) return InvalidField("host_path", found.status().message());
  SpecLinux& l = built->spec.linux_;
  for (SpecDevice& device : *found) {
    // A directory's devices keep their places in it.
    device.path = absl::StrCat(target, absl::StripPrefix(device.path, d.host_path()));
    l.resources.devices->push_back(
        {true, device.type, device.major, device.minor, d.permissions()});
    const auto same = [&](const SpecDevice& other) { return other.path == device.path; };
    l.devices.erase(std::remove_if(l.devices.begin(), l.devices.end(), same), l.devices.end());
    l.devices.push_back(std::move(device));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AddDevices(const SpecRequest& request, BuiltSpec* built) {
  SpecLinux& l = built->spec.linux_;
  l.resources.devices = DefaultDeviceRules();
  if (request.privileged()) {
    ASSIGN_OR_RETURN(l.devices, request.host.all_devices());
    l.resources.devices = std::vector<DeviceRule>{{true, 'a', -1, -1, ""}};
  }
  for (int i = 0; i < request.container.devices_size(); ++i) {
    RETURN_IF_ERROR_WITH(AddDevice(request, request.container.devices(i), built),
                         absl::StrCat("devices[", i, "]"));
  }
  return absl::OkStatus();
}

}  // namespace berth
