#include "nlohmann/json.hpp"
#include "runtime/seccomp/filter.h"
#include "runtime/seccomp/profile.h"
#include "tests/fuzz/filter_check.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto profile = berth::ParseSeccompProfile(berth::Text(data, size), "profile");
  if (!profile.ok()) return 0;
  const std::string text = berth::SeccompProfileToJson(*profile).dump();
  const auto again = berth::ParseSeccompProfile(text, "profile");
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(berth::SeccompProfileToJson(*again).dump() == text);
  const auto filter = berth::CompileSeccomp(*profile);
  if (!filter.ok()) return 0;
  FUZZ_CHECK(berth::FilterFault(filter->program) == nullptr);
  return 0;
}
