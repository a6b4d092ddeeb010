// A CNI network configuration list (CNI specification, "Section 1: Network configuration format").
#ifndef BERTH_SERVER_NETWORK_CNI_CONFIG_H_
#define BERTH_SERVER_NETWORK_CNI_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace berth {

// Specification versions; the order is theirs.
enum class CniVersion { k0_3_0, k0_3_1, k0_4_0, k1_0_0, k1_1_0 };

// InvalidArgument for a version that is not served, 0.1.0 and 0.2.0 among them: they have no lists,
// and results of another form.
absl::StatusOr<CniVersion> ParseCniVersion(absl::string_view text);
absl::string_view CniVersionText(CniVersion version);

struct CniPlugin {
  // The program's name, without a slash.
  std::string type;
  // The plugin's object as configured.
  nlohmann::json config;
};

struct CniConfigList {
  std::string name;
  // The highest of what the configuration offers.
  CniVersion version = CniVersion::k1_0_0;
  // All that it offers (`cniVersion` and `cniVersions`) and that is served, ascending.
  std::vector<CniVersion> offered;
  bool disable_check = false;
  bool disable_gc = false;
  // One at least.
  std::vector<CniPlugin> plugins;

  // A .conflist that ParseCniConfigList reads back, whatever file it came from. It offers `version`
  // only.
  std::string ToJson() const;
};

// A .conflist. InvalidArgument names the field. Of `cniVersions` the highest that is served is
// taken.
absl::StatusOr<CniConfigList> ParseCniConfigList(absl::string_view text);

// A .conf or .json: one plugin, as a list of one.
absl::StatusOr<CniConfigList> ParseCniConfig(absl::string_view text);

// What one plugin gets on stdin: its configuration with the list's name and version, the capability
// arguments that it declares as `runtimeConfig`, and `prev_result` unless that is null. STATUS and GC
// take neither: an empty object and null.
nlohmann::json PluginInput(const CniConfigList& list, const CniPlugin& plugin,
                           const nlohmann::json& capability_args,
                           const nlohmann::json& prev_result);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_CONFIG_H_
