// One file of the Container Device Interface: a vendor's devices and what a container needs for each
// (tags.cncf.io/container-device-interface, SPEC.md, up to version 1.1).
#ifndef BERTH_SERVER_CDI_CDI_SPEC_H_
#define BERTH_SERVER_CDI_CDI_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace berth {

struct CdiDeviceNode {
  std::string path;         // in the container
  std::string host_path;    // "": the same
  std::string permissions;  // out of rwm; "": rwm
  // What the file doesn't say is taken from the host's node.
  char type = 0;  // c, b, u or p
  std::optional<int64_t> major, minor;
  std::optional<uint32_t> file_mode, uid, gid;
};

struct CdiMount {
  std::string host_path;
  std::string container_path;
  std::string type;  // "": a bind mount
  std::vector<std::string> options;
};

// An OCI hook; what its fields mean says runtime-spec, config.md, "POSIX-platform Hooks".
struct CdiHook {
  // prestart, createRuntime, createContainer, startContainer, poststart or poststop.
  std::string name;
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::optional<int> timeout;  // seconds
};

// containerEdits, of a device or of a whole file.
struct CdiEdits {
  std::vector<std::string> env;  // NAME=VALUE
  std::vector<CdiDeviceNode> device_nodes;
  std::vector<CdiMount> mounts;
  std::vector<uint32_t> additional_gids;
  std::vector<CdiHook> hooks;
  // What the file asks for and this runtime has not: intelRdt, netDevices. Refused when a container asks for
  // the device.
  std::vector<std::string> unsupported;
};

struct CdiDevice {
  std::string name;
  CdiEdits edits;
};

struct CdiSpec {
  std::string kind;  // vendor/class
  std::vector<CdiDevice> devices;
  CdiEdits edits;  // for each container that gets one of the devices
};

// A device's full name, vendor/class=name.
struct CdiName {
  std::string kind;
  std::string device;
};

// InvalidArgument says which field is wrong (`devices[0].containerEdits.deviceNodes[1].path: …`), unknown ones
// among them: they would go unheeded. Pure.
absl::StatusOr<CdiSpec> ParseCdiSpec(absl::string_view json);

// InvalidArgument for anything else than vendor/class=name.
absl::StatusOr<CdiName> ParseCdiName(absl::string_view text);

}  // namespace berth

#endif  // BERTH_SERVER_CDI_CDI_SPEC_H_
