#include "server/network/bounded_json.h"
#include "server/network/cni_result.h"
#include "tests/fuzz/fuzz.h"

// The first byte is the version that was asked for.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  const auto version = static_cast<berth::CniVersion>(berth::TakeChoice(&input, 5));
  const auto result = berth::ParseCniResult(input, version);
  if (!result.ok()) return 0;
  for (const berth::CniResult::Ip& ip : result->ips) {
    FUZZ_CHECK(!ip.address.empty());
    FUZZ_CHECK(!ip.interface || *ip.interface < result->interfaces.size());
  }
  const auto ips = berth::PodIps(*result, "eth0");
  if (ips.ok()) FUZZ_CHECK(!ips->empty());
  // It is the next plugin's prevResult, and after a restart it is read again.
  const auto again = berth::ParseCniResult(berth::DumpJson(result->raw), version);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->ips.size() == result->ips.size());
  FUZZ_CHECK(again->interfaces.size() == result->interfaces.size());
  return 0;
}
