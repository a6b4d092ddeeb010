// Reading JSON whose shape strangers chose: each reader checks type and range and names the field by
// its path, `linux.resources.memory.limit: want an integer`.
//
// An absent member and `null` leave the output as it is (Go's encoders write both for "unset").
#ifndef BERTH_BASE_JSON_FIELDS_H_
#define BERTH_BASE_JSON_FIELDS_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace berth {

class JsonFields {
 public:
  // `path` is that of `object`, "" for a document. Both must outlive this.
  JsonFields(const nlohmann::json& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  // InvalidArgument unless it is an object.
  absl::Status CheckObject() const {
    return object_.is_object() ? absl::OkStatus() : Error(path_, "want an object");
  }
  std::string Path(absl::string_view key) const {
    return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
  }
  // The member, or null if it is absent or `null`.
  const nlohmann::json* Find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  absl::Status Read(const char* key, std::string* out) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_string()) return Error(Path(key), "want a string");
    *out = value->get_ref<const std::string&>();
    if (out->find('\0') != std::string::npos) return Error(Path(key), "has a NUL byte");
    return absl::OkStatus();
  }
  absl::Status Read(const char* key, bool* out) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_boolean()) return Error(Path(key), "want true or false");
    *out = value->get<bool>();
    return absl::OkStatus();
  }
  template <typename Int, typename = std::enable_if_t<std::is_integral_v<Int>>>
  absl::Status Read(const char* key, Int* out) const {
    const nlohmann::json* value = Find(key);
    return value == nullptr ? absl::OkStatus() : Integer(*value, Path(key), out);
  }
  template <typename T>
  absl::Status Read(const char* key, std::optional<T>* out) const {
    if (Find(key) == nullptr) return absl::OkStatus();
    T value{};
    RETURN_IF_ERROR(Read(key, &value));
    *out = std::move(value);
    return absl::OkStatus();
  }
  absl::Status Read(const char* key, std::vector<std::string>* out) const {
    return EachItem(key, [&](const nlohmann::json& item, const std::string& path) {
      if (!item.is_string()) return Error(path, "want a string");
      const std::string& text = item.get_ref<const std::string&>();
      if (text.find('\0') != std::string::npos) return Error(path, "has a NUL byte");
      out->push_back(text);
      return absl::OkStatus();
    });
  }
  // Calls `function(item, path)` for each element of the array `key`.
  template <typename Function>
  absl::Status EachItem(const char* key, Function function) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_array()) return Error(Path(key), "want an array");
    for (size_t i = 0; i < value->size(); ++i) {
      RETURN_IF_ERROR(function((*value)[i], absl::StrCat(Path(key), "[", i, "]")));
    }
    return absl::OkStatus();
  }
  // Calls `function(fields)` for the object `key`.
  template <typename Function>
  absl::Status Object(const char* key, Function function) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    const JsonFields fields(*value, Path(key));
    RETURN_IF_ERROR(fields.CheckObject());
    return function(fields);
  }
  // Calls `function(item fields)` for each element of the array of objects `key`.
  template <typename Function>
  absl::Status EachObject(const char* key, Function function) const {
    return EachItem(key, [&](const nlohmann::json& item, const std::string& path) {
      const JsonFields fields(item, path);
      RETURN_IF_ERROR(fields.CheckObject());
      return function(fields);
    });
  }

  absl::Status Invalid(const char* key, absl::string_view why) const {
    return Error(Path(key), why);
  }
  static absl::Status Error(absl::string_view path, absl::string_view why) {
    return absl::InvalidArgumentError(path.empty() ? std::string(why)
                                                   : absl::StrCat(path, ": ", why));
  }
  template <typename Int>
  static absl::Status Integer(const nlohmann::json& value, const std::string& path, Int* out) {
    if (value.is_number_unsigned()) {
      const uint64_t n = value.get<uint64_t>();
      if (n > static_cast<uint64_t>(std::numeric_limits<Int>::max())) {
        return Error(path, absl::StrCat(n, " is out of range"));
      }
      *out = static_cast<Int>(n);
      return absl::OkStatus();
    }
    if (!value.is_number_integer()) return Error(path, "want an integer");
    const int64_t n = value.get<int64_t>();  // negative here
    if (std::is_unsigned_v<Int> || n < static_cast<int64_t>(std::numeric_limits<Int>::min())) {
      return Error(path, absl::StrCat(n, " is out of range"));
    }
    *out = static_cast<Int>(n);
    return absl::OkStatus();
  }

 private:
  const nlohmann::json& object_;
  const std::string path_;
};

}  // namespace berth

#endif  // BERTH_BASE_JSON_FIELDS_H_
