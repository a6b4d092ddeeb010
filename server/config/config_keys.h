// The table of keys: where each lies in a Config, its flag, and which values it takes.
#ifndef BERTH_SERVER_CONFIG_CONFIG_KEYS_H_
#define BERTH_SERVER_CONFIG_CONFIG_KEYS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/config/config.h"

namespace berth {

using ConfigValue =
    std::variant<std::string*, int64_t*, bool*, absl::Duration*, std::vector<std::string>*>;

struct KeyRow {
  const char* section;  // "" for the top level
  const char* name;
  const char* flag;  // without the dashes; null: none
  const char* value_name;
  const char* help;
  ConfigValue value;
  absl::Status (*check)(const ConfigValue& value);
};

// The rows, pointing into `config`.
std::vector<KeyRow> KeyTable(Config* config);
// What a runtime handler may be called.
bool IsHandlerName(absl::string_view name);
// section.name, or name.
std::string KeyName(const KeyRow& row);
std::string TomlValue(const ConfigValue& value);
std::string TomlQuote(absl::string_view text);

}  // namespace berth

#endif  // BERTH_SERVER_CONFIG_CONFIG_KEYS_H_
