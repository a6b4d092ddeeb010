#include "server/network/cni_config.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/network/bounded_json.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr size_t kMostPlugins = 64;
constexpr size_t kMostVersions = 64;
constexpr size_t kLongestName = 255;

struct VersionName {
  CniVersion version;
  absl::string_view text;
};
constexpr VersionName kVersions[] = {{CniVersion::k0_3_0, "0.3.0"},
                                     {CniVersion::k0_3_1, "0.3.1"},
                                     {CniVersion::k0_4_0, "0.4.0"},
                                     {CniVersion::k1_0_0, "1.0.0"},
                                     {CniVersion::k1_1_0, "1.1.0"}};

// "Must start with an alphanumeric character, optionally followed by alphanumeric characters, _ .
// -"
absl::Status CheckName(const std::string& name) {
  const bool characters = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  });
  if (name.empty()) return absl::InvalidArgumentError("name: missing");
  if (!characters || !absl::ascii_isalnum(static_cast<unsigned char>(name[0])) ||
      name.size() > kLongestName) {
    return absl::InvalidArgumentError(absl::StrCat("name: `", name, "` is malformed"));
  }
  return absl::OkStatus();
}

// The program is looked up by this name in the plugin directories and nowhere else.
absl::Status CheckType(const std::string& type) {
  if (type.empty()) return absl::InvalidArgumentError("type: missing");
  const bool graphic = std::all_of(type.begin(), type.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '/';
  });
  if (!graphic || type == "." || type == ".." || type.size() > kLongestName) {
    return absl::InvalidArgumentError("type: not a file name");
  }
  return absl::OkStatus();
}

// A flag; older specifications write it as a string.
absl::StatusOr<bool> Flag(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if (found->is_boolean()) return found->get<bool>();
  if (*found == "true") return true;
  if (*found == "false") return false;
  return absl::InvalidArgumentError(absl::StrCat(key, ": neither true nor false"));
}

// The versions that the configuration offers and that are served, ascending (CNI specification,
// "Version considerations": cniVersion and cniVersions together).
absl::StatusOr<std::vector<CniVersion>> VersionsOf(const json& object) {
  ASSIGN_OR_RETURN(std::vector<std::string> texts,
                   JsonStrings(object, "cniVersions", kMostVersions));
  ASSIGN_OR_RETURN(const std::string single, JsonString(object, "cniVersion"));
  if (!single.empty()) texts.insert(texts.begin(), single);
  if (texts.empty()) return absl::InvalidArgumentError("cniVersion: missing");
  std::vector<CniVersion> offered;
  for (const std::string& text : texts) {
    if (const auto version = ParseCniVersion(text); version.ok()) offered.push_back(*version);
  }
  if (offered.empty()) return ParseCniVersion(texts[0]).status();
  std::sort(offered.begin(), offered.end());
  offered.erase(std::unique(offered.begin(), offered.end()), offered.end());
  return offered;
}

absl::StatusOr<CniPlugin> PluginOf(json config) {
  if (!config.is_object()) return absl::InvalidArgumentError("not an object");
  CniPlugin plugin;
  ASSIGN_OR_RETURN(plugin.type, JsonString(config, "type"));
  RETURN_IF_ERROR(CheckType(plugin.type));
  const auto capabilities = config.find("capabilities");
  if (capabilities != config.end() && !capabilities->is_object()) {
    return absl::InvalidArgumentError("capabilities: not an object");
  }
  const auto runtime_config = config.find("runtimeConfig");
  if (runtime_config != config.end() && !runtime_config->is_object()) {
    return absl::InvalidArgumentError("runtimeConfig: not an object");
  }
  plugin.config = std::move(config);
  return plugin;
}

// What lists and single configurations have in common.
absl::StatusOr<CniConfigList> HeadOf(const json& object) {
  CniConfigList list;
  ASSIGN_OR_RETURN(list.offered, VersionsOf(object));
  list.version = list.offered.back();
  ASSIGN_OR_RETURN(list.name, JsonString(object, "name"));
  RETURN_IF_ERROR(CheckName(list.name));
  ASSIGN_OR_RETURN(list.disable_check, Flag(object, "disableCheck"));
  ASSIGN_OR_RETURN(list.disable_gc, Flag(object, "disableGC"));
  return list;
}

}  // namespace

absl::StatusOr<CniVersion> ParseCniVersion(absl::string_view text) {
  for (const VersionName& known : kVersions) {
    if (text == known.text) return known.version;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "cniVersion: `", text, "` is not served (0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0 are)"));
}

absl::string_view CniVersionText(CniVersion version) {
  return kVersions[static_cast<size_t>(version)].text;
}

std::string CniConfigList::ToJson() const {
  json list = {{"name", name}, {"cniVersion", std::string(CniVersionText(version))}};
  if (disable_check) list["disableCheck"] = true;
  if (disable_gc) list["disableGC"] = true;
  list["plugins"] = json::array();
  for (const CniPlugin& plugin : plugins) list["plugins"].push_back(plugin.config);
  return DumpJson(list);
}

absl::StatusOr<CniConfigList> ParseCniConfigList(absl::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  ASSIGN_OR_RETURN(CniConfigList list, HeadOf(object));
  const auto plugins = object.find("plugins");
  if (plugins == object.end()) return absl::InvalidArgumentError("plugins: missing");
  if (!plugins->is_array() || plugins->empty() || plugins->size() > kMostPlugins) {
    return absl::InvalidArgumentError(
        absl::StrCat("plugins: not an array of 1 to ", kMostPlugins, " plugins"));
  }
  for (const json& config : *plugins) {
    ASSIGN_OR_RETURN_WITH(CniPlugin plugin, PluginOf(config),
                          absl::StrCat("plugins[", list.plugins.size(), "]"));
    list.plugins.push_back(std::move(plugin));
  }
  return list;
}

absl::StatusOr<CniConfigList> ParseCniConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(json object, ParseJsonObject(text));
  if (object.contains("plugins") && !object.contains("type")) {
    return absl::InvalidArgumentError(
        "type: missing (a list of plugins belongs in a .conflist file)");
  }
  ASSIGN_OR_RETURN(CniConfigList list, HeadOf(object));
  ASSIGN_OR_RETURN(CniPlugin plugin, PluginOf(std::move(object)));
  list.plugins.push_back(std::move(plugin));
  return list;
}

json PluginInput(const CniConfigList& list, const CniPlugin& plugin, const json& capability_args,
                 const json& prev_result) {
  json input = plugin.config;
  // The runtime's own keys ("Deriving request configuration from plugin configuration").
  for (auto member = input.begin(); member != input.end();) {
    member = absl::StartsWith(member.key(), "cni.dev/") ? input.erase(member) : std::next(member);
  }
  input["name"] = list.name;
  input["cniVersion"] = std::string(CniVersionText(list.version));
  input.erase("cniVersions");
  json capabilities = json::object();
  if (const auto found = input.find("capabilities"); found != input.end()) {
    capabilities = std::move(*found);
    input.erase("capabilities");
  }
  for (const auto& [name, argument] : capability_args.items()) {
    const auto declared = capabilities.find(name);
    if (declared != capabilities.end() && *declared == true)
      input["runtimeConfig"][name] = argument;
  }
  input.erase("prevResult");
  if (!prev_result.is_null()) input["prevResult"] = prev_result;
  return input;
}

}  // namespace berth
