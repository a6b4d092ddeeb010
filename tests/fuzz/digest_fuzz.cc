#include "server/images/digest.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text = berth::Text(data, size);
  if (!berth::CheckDigest(text).ok()) {
    FUZZ_CHECK(!berth::VerifyDigest(text, "content", "a test").ok());
    return 0;
  }
  const absl::string_view algorithm = berth::DigestAlgorithm(text);
  FUZZ_CHECK(algorithm == "sha256" || algorithm == "sha512");
  FUZZ_CHECK(berth::DigestHex(text).size() == (algorithm == "sha256" ? 64 : 128));
  const std::string of = berth::DigestOf(algorithm, "content");
  FUZZ_CHECK(berth::VerifyDigest(text, "content", "a test").ok() == (text == of));
  return 0;
}
