#include "server/cdi/cdi_spec.h"
#include "tests/fuzz/fuzz.h"

namespace {

void Check(const berth::CdiEdits& edits) {
  for (const std::string& entry : edits.env) {
    FUZZ_CHECK(entry.find('=') != std::string::npos && entry.find('=') != 0);
  }
  for (const berth::CdiDeviceNode& node : edits.device_nodes) {
    FUZZ_CHECK(!node.path.empty() && node.path[0] == '/');
    FUZZ_CHECK(node.permissions.size() <= 3);
  }
  for (const berth::CdiMount& mount : edits.mounts) {
    FUZZ_CHECK(!mount.host_path.empty() && mount.container_path[0] == '/');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto spec = berth::ParseCdiSpec(berth::Text(data, size));
  if (!spec.ok()) return 0;
  FUZZ_CHECK(!spec->devices.empty());
  Check(spec->edits);
  for (const berth::CdiDevice& device : spec->devices) {
    Check(device.edits);
    // What a file names can be asked for.
    FUZZ_CHECK(berth::ParseCdiName(spec->kind + "=" + device.name).ok());
  }
  return 0;
}
