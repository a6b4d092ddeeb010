#include "server/images/registry_error.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "nlohmann/json.hpp"

namespace berth {
namespace {

using nlohmann::json;

// errors[0].code of the body (distribution spec v1.1, "Error Codes").
std::string RegistryCode(absl::string_view body) {
  const json reply = json::parse(body.begin(), body.end(), nullptr, false);
  if (!reply.is_object()) return "";
  const auto errors = reply.find("errors");
  if (errors == reply.end() || !errors->is_array() || errors->empty()) return "";
  const json& first = errors->front();
  if (!first.is_object()) return "";
  const auto code = first.find("code");
  if (code == first.end() || !code->is_string()) return "";
  const std::string text = code->get<std::string>();
  const bool plain = !text.empty() && text.size() <= 64 &&
                     std::all_of(text.begin(), text.end(),
                                 [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
  return plain ? text : "";
}

absl::StatusCode CodeFor(int http) {
  switch (http) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 408:
      return absl::StatusCode::kUnavailable;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    default:
      return http >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kFailedPrecondition;
  }
}

}  // namespace

absl::Status HttpErrorStatus(absl::string_view what, const std::string& url, int code,
                             absl::string_view body) {
  std::string message = absl::StrCat(what, ": ", PublicUrl(url), ": HTTP ", code);
  if (const std::string name = RegistryCode(body); !name.empty()) {
    absl::StrAppend(&message, " (", name, ")");
  }
  return absl::Status(CodeFor(code), message);
}

}  // namespace berth
