#include "server/network/bounded_json.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;

// Counts brackets outside of strings, before the parser sees the text.
bool IsTooDeep(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') {
      if (++depth > kDeepest) return true;
    }
    if (c == '}' || c == ']') --depth;
  }
  return false;
}

}  // namespace

absl::StatusOr<json> ParseJsonObject(absl::string_view text) {
  if (IsTooDeep(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON nested deeper than ", kDeepest, " levels"));
  }
  json parsed = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::InvalidArgumentError("not valid JSON");
  if (!parsed.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return parsed;
}

std::string DumpJson(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<std::string> JsonString(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return absl::InvalidArgumentError(absl::StrCat(key, ": not a string"));
  return found->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> JsonStrings(const json& object, const char* key,
                                                     size_t limit) {
  std::vector<std::string> strings;
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return strings;
  if (!found->is_array()) return absl::InvalidArgumentError(absl::StrCat(key, ": not an array"));
  if (found->size() > limit) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": more than ", limit, " entries"));
  }
  for (const json& entry : *found) {
    if (!entry.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(key, "[", strings.size(), "]: not a string"));
    }
    strings.push_back(entry.get<std::string>());
  }
  return strings;
}

}  // namespace berth
