#include "server/images/image_config.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "server/images/digest.h"

namespace berth {
namespace {

using nlohmann::json;

absl::Status Refuse(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("image config: ", field, ": ", why));
}

// A member that is absent or null leaves what it was; a NUL would cut the string in a system call.
absl::Status Take(const json& value, const std::string& field, std::string* out) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_string()) return Refuse(field, "must be a string");
  *out = value.get<std::string>();
  if (absl::StrContains(*out, absl::string_view("\0", 1))) return Refuse(field, "has a NUL");
  return absl::OkStatus();
}

absl::Status Take(const json& value, const std::string& field, std::vector<std::string>* out) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_array()) return Refuse(field, "must be a list of strings");
  for (const json& item : value) {
    if (!item.is_string()) return Refuse(field, "must be a list of strings");
    out->emplace_back();
    RETURN_IF_ERROR(Take(item, field, &out->back()));
  }
  return absl::OkStatus();
}

// {"a": {}, "b": {}}: the keys are the set.
absl::Status TakeKeys(const json& value, const std::string& field, std::vector<std::string>* out) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) return Refuse(field, "must be an object");
  for (const auto& [key, unused] : value.items()) {
    if (absl::StrContains(key, absl::string_view("\0", 1))) return Refuse(field, "has a NUL");
    out->push_back(key);
  }
  return absl::OkStatus();
}

absl::Status TakeLabels(const json& value, std::map<std::string, std::string>* out) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) return Refuse("config.Labels", "must be an object");
  for (const auto& [key, label] : value.items()) {
    RETURN_IF_ERROR(Take(label, "config.Labels", &(*out)[key]));
  }
  return absl::OkStatus();
}

const json& Member(const json& object, const char* key) {
  static const json kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

absl::Status TakeRuntimeConfig(const json& value, ImageConfig* config) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) return Refuse("config", "must be an object");
  RETURN_IF_ERROR(Take(Member(value, "User"), "config.User", &config->user));
  RETURN_IF_ERROR(Take(Member(value, "Env"), "config.Env", &config->env));
  RETURN_IF_ERROR(Take(Member(value, "Entrypoint"), "config.Entrypoint", &config->entrypoint));
  RETURN_IF_ERROR(Take(Member(value, "Cmd"), "config.Cmd", &config->cmd));
  RETURN_IF_ERROR(Take(Member(value, "WorkingDir"), "config.WorkingDir", &config->working_dir));
  RETURN_IF_ERROR(TakeKeys(Member(value, "Volumes"), "config.Volumes", &config->volumes));
  RETURN_IF_ERROR(
      TakeKeys(Member(value, "ExposedPorts"), "config.ExposedPorts", &config->exposed_ports));
  RETURN_IF_ERROR(Take(Member(value, "StopSignal"), "config.StopSignal", &config->stop_signal));
  return TakeLabels(Member(value, "Labels"), &config->labels);
}

absl::Status TakeDiffIds(const json& rootfs, size_t layers, std::vector<DiffId>* out) {
  if (!rootfs.is_object()) return Refuse("rootfs", "must be an object");
  std::string type;
  RETURN_IF_ERROR(Take(Member(rootfs, "type"), "rootfs.type", &type));
  if (type != "layers") return Refuse("rootfs.type", "must be \"layers\"");
  std::vector<std::string> ids;
  RETURN_IF_ERROR(Take(Member(rootfs, "diff_ids"), "rootfs.diff_ids", &ids));
  if (ids.size() != layers) {
    return Refuse("rootfs.diff_ids",
                  absl::StrCat(ids.size(), " entries for the ", layers, " layers of the manifest"));
  }
  for (std::string& id : ids) {
    if (absl::Status status = CheckDigest(id); !status.ok()) {
      return Refuse("rootfs.diff_ids", status.message());
    }
    out->emplace_back(std::move(id));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ParsedImageConfig> ParseImageConfig(absl::string_view bytes, size_t layers) {
  const json document = json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!document.is_object()) return Refuse("document", "is no JSON object");
  ParsedImageConfig parsed;
  ImageConfig& config = parsed.config;
  RETURN_IF_ERROR(Take(Member(document, "os"), "os", &config.os));
  RETURN_IF_ERROR(Take(Member(document, "architecture"), "architecture", &config.architecture));
  RETURN_IF_ERROR(Take(Member(document, "variant"), "variant", &config.variant));
  RETURN_IF_ERROR(Take(Member(document, "created"), "created", &config.created));
  RETURN_IF_ERROR(TakeRuntimeConfig(Member(document, "config"), &config));
  RETURN_IF_ERROR(TakeDiffIds(Member(document, "rootfs"), layers, &parsed.diff_ids));
  return parsed;
}

}  // namespace berth
