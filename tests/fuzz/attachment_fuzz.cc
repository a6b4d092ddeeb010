#include "server/network/network.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto attachment = berth::Attachment::FromJson(berth::Text(data, size));
  if (!attachment.ok()) return 0;
  const auto result = berth::ResultOf(*attachment);
  if (result.ok()) FUZZ_CHECK(!result->ips.empty());
  const auto again = berth::Attachment::FromJson(attachment->ToJson());
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->ToJson() == attachment->ToJson());
  return 0;
}
