#include "server/images/hosts_config.h"
#include "tests/fuzz/fuzz.h"

// The first line is the registry.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  const absl::string_view registry = berth::TakeLine(&input);
  berth::IsLoopbackHost(registry);
  const auto endpoints = berth::ParseHostsToml(input, "/etc/berth/certs.d/x", registry);
  if (!endpoints.ok()) return 0;
  FUZZ_CHECK(!endpoints->empty() && endpoints->back().upstream);
  for (const berth::RegistryEndpoint& endpoint : *endpoints) {
    FUZZ_CHECK(endpoint.base.find("://") != std::string::npos && endpoint.base.back() != '/');
    for (const auto& [name, value] : endpoint.headers) {
      FUZZ_CHECK(name.find_first_of("\r\n") == std::string::npos);
      FUZZ_CHECK(value.find_first_of("\r\n") == std::string::npos);
    }
  }
  return 0;
}
