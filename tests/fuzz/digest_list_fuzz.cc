#include "snapshotter/unpack/digest_list.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text = berth::Text(data, size);
  berth::ParseImplied(text).status().IgnoreError();
  const auto records = berth::ParseDigestList(text);
  if (!records.ok()) return 0;
  for (const auto& [path, record] : *records) FUZZ_CHECK(record.path == path);
  return 0;
}
