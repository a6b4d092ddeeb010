#include "runtime/cgroup.h"
#include "tests/fuzz/fuzz.h"

// Opens the mount points that the text names, to look only.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto host = berth::CgroupHost::DetectFrom(berth::Text(data, size));
  if (!host.ok()) return 0;
  (*host)->HasController("memory");
  (*host)->HasController("cpu");
  for (const berth::CgroupDirectory& directory : (*host)->Directories("/berth-fuzz/none")) {
    FUZZ_CHECK(!directory.path.empty());
  }
  return 0;
}
