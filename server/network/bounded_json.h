// JSON from strangers: an object of bounded depth.
#ifndef BERTH_SERVER_NETWORK_BOUNDED_JSON_H_
#define BERTH_SERVER_NETWORK_BOUNDED_JSON_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace berth {

// Parses one JSON object. InvalidArgument if `text` is anything else, not UTF-8, or nested deeper
// than 64 levels (writing JSON recurses). The caller bounds the size.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text);

// Compact text. Bytes that are not UTF-8 are replaced.
std::string DumpJson(const nlohmann::json& json);

// The member `key` as a string; empty if there is none. InvalidArgument for another type.
absl::StatusOr<std::string> JsonString(const nlohmann::json& object, const char* key);

// The member `key`, an array of strings of at most `limit` entries; empty if there is none or null.
absl::StatusOr<std::vector<std::string>> JsonStrings(const nlohmann::json& object, const char* key,
                                                     size_t limit);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_BOUNDED_JSON_H_
