#include "server/config/config.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::Config config;
  if (!berth::ParseConfig(berth::Text(data, size), "config.toml", &config).ok()) return 0;
  const std::string dump = config.Dump();
  berth::Config again;
  FUZZ_CHECK(berth::ParseConfig(dump, "dump", &again).ok());
  FUZZ_CHECK(again.Dump() == dump);
  return 0;
}
