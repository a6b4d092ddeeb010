#include "server/images/reference.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text = berth::Text(data, size);
  berth::RegistryApiHost(berth::RegistryOfAddress(text));
  const auto reference = berth::ParseReference(text);
  if (!reference.ok()) return 0;
  FUZZ_CHECK(!reference->registry.empty() && !reference->repository.empty());
  FUZZ_CHECK(!reference->tag.empty() || !reference->digest.empty());
  // What is normal stays as it is.
  const auto again = berth::ParseReference(reference->ToString());
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->ToString() == reference->ToString());
  FUZZ_CHECK(again->registry == reference->registry);
  return 0;
}
