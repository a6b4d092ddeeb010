#include "server/images/digest.h"
#include "server/images/image_config.h"
#include "tests/fuzz/fuzz.h"

// The first byte is the number of layers.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  const size_t layers = berth::TakeChoice(&input, 8);
  const auto parsed = berth::ParseImageConfig(input, layers);
  if (!parsed.ok()) return 0;
  FUZZ_CHECK(parsed->diff_ids.size() == layers);
  for (const berth::DiffId& id : parsed->diff_ids) FUZZ_CHECK(berth::CheckDigest(id.str()).ok());
  return 0;
}
