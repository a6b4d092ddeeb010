#include "server/cdi/cdi_spec.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "server/network/bounded_json.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr size_t kMostEntries = 4096;

absl::Status Invalid(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}

std::string Below(const std::string& field, absl::string_view member) {
  return field.empty() ? std::string(member) : absl::StrCat(field, ".", member);
}

// A JSON object with its path, read member by member.
class Object {
 public:
  // Refuses members that are not in `known`: they may ask for what would not be done.
  static absl::StatusOr<Object> Of(const json& value, std::string field,
                                   std::initializer_list<absl::string_view> known) {
    if (!value.is_object()) return Invalid(field, "is no object");
    for (const auto& [key, unused] : value.items()) {
      if (std::find(known.begin(), known.end(), absl::string_view(key)) == known.end())
        return Invalid(Below(field, key), "unknown");
    }
    return Object(value, std::move(field));
  }

  std::string Field(absl::string_view member) const { return Below(field_, member); }
  // Null if it is missing, or null.
  const json* Find(const char* member) const {
    const auto found = value_.find(member);
    return found == value_.end() || found->is_null() ? nullptr : &*found;
  }

  absl::StatusOr<std::string> String(const char* member) const {
    const json* value = Find(member);
    if (value == nullptr) return std::string();
    if (!value->is_string()) return Invalid(Field(member), "is no string");
    std::string text = value->get<std::string>();
    if (text.find('\0') != std::string::npos) return Invalid(Field(member), "has a NUL byte");
    return text;
  }
  absl::StatusOr<std::string> Path(const char* member) const {
    absl::StatusOr<std::string> path = String(member);
    if (path.ok() && !absl::StartsWith(*path, "/"))
      return Invalid(Field(member), "is no absolute path");
    return path;
  }
  absl::StatusOr<std::vector<std::string>> Strings(const char* member) const {
    std::vector<std::string> out;
    ASSIGN_OR_RETURN(const json* list, Array(member));
    if (list == nullptr) return out;
    for (size_t i = 0; i < list->size(); ++i) {
      const json& entry = (*list)[i];
      const std::string name = absl::StrCat(Field(member), "[", i, "]");
      if (!entry.is_string()) return Invalid(name, "is no string");
      out.push_back(entry.get<std::string>());
      if (out.back().find('\0') != std::string::npos) return Invalid(name, "has a NUL byte");
    }
    return out;
  }
  absl::StatusOr<std::optional<int64_t>> Number(const char* member, int64_t low,
                                                int64_t high) const {
    const json* value = Find(member);
    if (value == nullptr) return std::optional<int64_t>();
    return ReadNumber(*value, Field(member), low, high);
  }
  absl::StatusOr<const json*> Array(const char* member) const {
    const json* value = Find(member);
    if (value == nullptr) return static_cast<const json*>(nullptr);
    if (!value->is_array()) return Invalid(Field(member), "is no array");
    if (value->size() > kMostEntries) return Invalid(Field(member), "has too many entries");
    return value;
  }

  static absl::StatusOr<std::optional<int64_t>> ReadNumber(const json& value,
                                                           const std::string& field, int64_t low,
                                                           int64_t high) {
    const bool fits =
        value.is_number_integer() &&
        (!value.is_number_unsigned() ||
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
    const int64_t number = fits ? value.get<int64_t>() : 0;
    if (!fits || number < low || number > high) {
      return Invalid(field, absl::StrCat("is no number from ", low, " to ", high));
    }
    return std::optional<int64_t>(number);
  }

 private:
  Object(const json& value, std::string field) : value_(value), field_(std::move(field)) {}

  const json& value_;
  std::string field_;
};

// ---- names ----

bool IsNameCharacter(char c, absl::string_view extra) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         extra.find(c) != absl::string_view::npos;
}

// Vendors and classes begin with a letter, devices with a letter or digit; all end with either.
bool IsName(absl::string_view name, absl::string_view extra, bool letter_first) {
  if (name.empty() || name.size() > 253) return false;
  const unsigned char first = name.front();
  if (letter_first ? !absl::ascii_isalpha(first) : !absl::ascii_isalnum(first)) return false;
  if (!absl::ascii_isalnum(static_cast<unsigned char>(name.back()))) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return IsNameCharacter(c, extra); });
}

bool IsKind(absl::string_view kind) {
  const std::vector<absl::string_view> parts = absl::StrSplit(kind, '/');
  return parts.size() == 2 && IsName(parts[0], "_-.", true) && IsName(parts[1], "_-.", true);
}

bool IsDeviceName(absl::string_view name) { return IsName(name, "_-.:", false); }

// 0.3 is the first that was tagged; later minor versions of 1 add fields, which are told by name.
bool IsVersion(absl::string_view version) {
  absl::ConsumePrefix(&version, "v");
  const std::vector<absl::string_view> parts = absl::StrSplit(version, '.');
  int number[3] = {};
  if (parts.size() != 3) return false;
  for (int i = 0; i < 3; ++i) {
    if (parts[i].empty() || parts[i].size() > 4 || !absl::SimpleAtoi(parts[i], &number[i]) ||
        number[i] < 0)
      return false;
  }
  return number[0] == 1 || (number[0] == 0 && number[1] >= 3);
}

// ---- edits ----

absl::StatusOr<std::optional<uint32_t>> Id(const Object& object, const char* member) {
  ASSIGN_OR_RETURN(const auto number, object.Number(member, 0, 0xfffffffe));
  if (!number) return std::optional<uint32_t>();
  return std::optional<uint32_t>(static_cast<uint32_t>(*number));
}

absl::StatusOr<CdiDeviceNode> ReadDeviceNode(const json& value, const std::string& field) {
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  ASSIGN_OR_RETURN(const Object o, Object::Of(value, field,
                                              {"path", "hostPath", "permissions", "type", "major",
                                               "minor", "fileMode", "uid", "gid"}));
  CdiDeviceNode node;
  ASSIGN_OR_RETURN(node.path, o.Path("path"));
  if (o.Find("hostPath") != nullptr) {
    ASSIGN_OR_RETURN(node.host_path, o.Path("hostPath"));
  }
  ASSIGN_OR_RETURN(node.permissions, o.String("permissions"));
  if (node.permissions.size() > 3 ||
      node.permissions.find_first_not_of("rwm") != std::string::npos) {
    return Invalid(o.Field("permissions"), "is not out of rwm");
  }
  ASSIGN_OR_RETURN(const std::string type, o.String("type"));
  if (type.size() > 1 || (type.size() == 1 && std::string("bcup").find(type) == std::string::npos))
    return Invalid(o.Field("type"), "is not b, c, u or p");
  if (!type.empty()) node.type = type[0];
  ASSIGN_OR_RETURN(node.major, o.Number("major", 0, kMost));
  ASSIGN_OR_RETURN(node.minor, o.Number("minor", 0, kMost));
  ASSIGN_OR_RETURN(const auto mode, o.Number("fileMode", 0, kMost));
  if (mode) node.file_mode = static_cast<uint32_t>(*mode) & 07777;
  ASSIGN_OR_RETURN(node.uid, Id(o, "uid"));
  ASSIGN_OR_RETURN(node.gid, Id(o, "gid"));
  return node;
}

absl::StatusOr<CdiMount> ReadMount(const json& value, const std::string& field) {
  ASSIGN_OR_RETURN(const Object o,
                   Object::Of(value, field, {"hostPath", "containerPath", "options", "type"}));
  CdiMount mount;
  ASSIGN_OR_RETURN(mount.host_path, o.String("hostPath"));
  if (mount.host_path.empty()) return Invalid(o.Field("hostPath"), "missing");
  ASSIGN_OR_RETURN(mount.container_path, o.Path("containerPath"));
  ASSIGN_OR_RETURN(mount.type, o.String("type"));
  ASSIGN_OR_RETURN(mount.options, o.Strings("options"));
  return mount;
}

absl::StatusOr<CdiHook> ReadHook(const json& value, const std::string& field) {
  constexpr absl::string_view kNames[] = {"prestart",       "createRuntime", "createContainer",
                                          "startContainer", "poststart",     "poststop"};
  ASSIGN_OR_RETURN(const Object o,
                   Object::Of(value, field, {"hookName", "path", "args", "env", "timeout"}));
  CdiHook hook;
  ASSIGN_OR_RETURN(hook.name, o.String("hookName"));
  if (std::find(std::begin(kNames), std::end(kNames), hook.name) == std::end(kNames))
    return Invalid(o.Field("hookName"), absl::StrCat("\"", hook.name, "\" is no OCI hook"));
  ASSIGN_OR_RETURN(hook.path, o.Path("path"));
  ASSIGN_OR_RETURN(hook.args, o.Strings("args"));
  ASSIGN_OR_RETURN(hook.env, o.Strings("env"));
  ASSIGN_OR_RETURN(const auto timeout, o.Number("timeout", 1, std::numeric_limits<int32_t>::max()));
  if (timeout) hook.timeout = static_cast<int>(*timeout);
  return hook;
}

absl::StatusOr<CdiEdits> ReadEdits(const json& value, const std::string& field) {
  ASSIGN_OR_RETURN(const Object o, Object::Of(value, field,
                                              {"env", "deviceNodes", "mounts", "hooks",
                                               "additionalGids", "intelRdt", "netDevices"}));
  CdiEdits edits;
  ASSIGN_OR_RETURN(edits.env, o.Strings("env"));
  for (size_t i = 0; i < edits.env.size(); ++i) {
    const size_t equals = edits.env[i].find('=');
    if (equals == std::string::npos || equals == 0)
      return Invalid(absl::StrCat(o.Field("env"), "[", i, "]"), "is no NAME=VALUE");
  }
  ASSIGN_OR_RETURN(const json* nodes, o.Array("deviceNodes"));
  for (size_t i = 0; nodes != nullptr && i < nodes->size(); ++i) {
    ASSIGN_OR_RETURN(
        CdiDeviceNode node,
        ReadDeviceNode((*nodes)[i], absl::StrCat(o.Field("deviceNodes"), "[", i, "]")));
    edits.device_nodes.push_back(std::move(node));
  }
  ASSIGN_OR_RETURN(const json* mounts, o.Array("mounts"));
  for (size_t i = 0; mounts != nullptr && i < mounts->size(); ++i) {
    ASSIGN_OR_RETURN(CdiMount mount,
                     ReadMount((*mounts)[i], absl::StrCat(o.Field("mounts"), "[", i, "]")));
    edits.mounts.push_back(std::move(mount));
  }
  ASSIGN_OR_RETURN(const json* gids, o.Array("additionalGids"));
  for (size_t i = 0; gids != nullptr && i < gids->size(); ++i) {
    ASSIGN_OR_RETURN(
        const auto gid,
        Object::ReadNumber((*gids)[i], absl::StrCat(o.Field("additionalGids"), "[", i, "]"), 0,
                           0xfffffffe));
    if (*gid != 0) edits.additional_gids.push_back(static_cast<uint32_t>(*gid));
  }
  ASSIGN_OR_RETURN(const json* hooks, o.Array("hooks"));
  for (size_t i = 0; hooks != nullptr && i < hooks->size(); ++i) {
    ASSIGN_OR_RETURN(CdiHook hook,
                     ReadHook((*hooks)[i], absl::StrCat(o.Field("hooks"), "[", i, "]")));
    edits.hooks.push_back(std::move(hook));
  }
  for (const char* member : {"intelRdt", "netDevices"}) {
    const json* found = o.Find(member);
    if (found != nullptr && !found->empty()) edits.unsupported.push_back(o.Field(member));
  }
  return edits;
}

absl::StatusOr<CdiDevice> ReadDevice(const json& value, const std::string& field) {
  ASSIGN_OR_RETURN(const Object o,
                   Object::Of(value, field, {"name", "annotations", "containerEdits"}));
  CdiDevice device;
  ASSIGN_OR_RETURN(device.name, o.String("name"));
  if (!IsDeviceName(device.name)) {
    return Invalid(o.Field("name"), absl::StrCat("\"", device.name, "\" is no device name"));
  }
  if (const json* edits = o.Find("containerEdits")) {
    ASSIGN_OR_RETURN(device.edits, ReadEdits(*edits, o.Field("containerEdits")));
  }
  return device;
}

}  // namespace

absl::StatusOr<CdiName> ParseCdiName(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals != absl::string_view::npos) {
    CdiName name{std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
    if (IsKind(name.kind) && IsDeviceName(name.device)) return name;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no CDI device, vendor/class=name"));
}

absl::StatusOr<CdiSpec> ParseCdiSpec(absl::string_view text) {
  ASSIGN_OR_RETURN(const json value, ParseJsonObject(text));
  ASSIGN_OR_RETURN(
      const Object o,
      Object::Of(value, "", {"cdiVersion", "kind", "annotations", "devices", "containerEdits"}));
  ASSIGN_OR_RETURN(const std::string version, o.String("cdiVersion"));
  if (!IsVersion(version)) {
    return Invalid("cdiVersion", absl::StrCat("\"", version, "\" is not supported"));
  }
  CdiSpec spec;
  ASSIGN_OR_RETURN(spec.kind, o.String("kind"));
  if (!IsKind(spec.kind)) {
    return Invalid("kind", absl::StrCat("\"", spec.kind, "\" is no vendor/class"));
  }
  if (const json* edits = o.Find("containerEdits")) {
    ASSIGN_OR_RETURN(spec.edits, ReadEdits(*edits, "containerEdits"));
  }
  ASSIGN_OR_RETURN(const json* devices, o.Array("devices"));
  if (devices == nullptr || devices->empty()) return Invalid("devices", "missing");
  std::set<std::string> names;
  for (size_t i = 0; i < devices->size(); ++i) {
    const std::string field = absl::StrCat("devices[", i, "]");
    ASSIGN_OR_RETURN(CdiDevice device, ReadDevice((*devices)[i], field));
    if (!names.insert(device.name).second) {
      return Invalid(absl::StrCat(field, ".name"), absl::StrCat(device.name, " occurs twice"));
    }
    spec.devices.push_back(std::move(device));
  }
  return spec;
}

}  // namespace berth
