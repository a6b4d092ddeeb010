#include "nlohmann/json.hpp"
#include "server/network/bounded_json.h"
#include "server/network/cni_config.h"
#include "server/network/cni_versions.h"
#include "tests/fuzz/fuzz.h"

namespace {

void Check(const absl::StatusOr<berth::CniConfigList>& list) {
  if (!list.ok()) return;
  FUZZ_CHECK(!list->plugins.empty());
  for (const berth::CniPlugin& plugin : list->plugins) {
    FUZZ_CHECK(!plugin.type.empty() && plugin.type.find('/') == std::string::npos);
    const nlohmann::json arguments = {{"portMappings", nlohmann::json::array()},
                                      {"ips", {"10.0.0.1"}}};
    berth::DumpJson(berth::PluginInput(*list, plugin, arguments, nlohmann::json::object()));
  }
  const auto again = berth::ParseCniConfigList(list->ToJson());
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->ToJson() == list->ToJson());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Check(berth::ParseCniConfigList(berth::Text(data, size)));
  Check(berth::ParseCniConfig(berth::Text(data, size)));
  (void)berth::ParseCniVersions(berth::Text(data, size));
  return 0;
}
