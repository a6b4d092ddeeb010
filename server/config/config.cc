#include "server/config/config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"
#include "server/config/config_keys.h"
#include "third_party/toml.h"

namespace berth {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr char kHandlersKey[] = "runtime.handlers";
constexpr char kOwnHandler[] = "berth";
constexpr char kLibexec[] = "/usr/libexec/berth";

absl::Status Wrong(absl::string_view file, const toml::source_region& where, absl::string_view key,
                   absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(file, ":", where.begin.line, ": ", key, " ", what));
}

absl::Status SetDuration(absl::string_view text, absl::Duration* duration) {
  if (absl::ParseDuration(text, duration)) return absl::OkStatus();
  return absl::InvalidArgumentError("is no duration such as \"30s\" or \"2m\"");
}

absl::StatusOr<std::vector<std::string>> StringsOf(const toml::node& node) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return absl::InvalidArgumentError("is no array of strings");
  std::vector<std::string> strings;
  for (const toml::node& item : *array) {
    const auto text = item.value_exact<std::string>();
    if (!text.has_value()) return absl::InvalidArgumentError("is no array of strings");
    strings.push_back(*text);
  }
  return strings;
}

absl::Status SetFromNode(const toml::node& node, const ConfigValue& value) {
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&value)) {
    ASSIGN_OR_RETURN(**list, StringsOf(node));
    return absl::OkStatus();
  }
  if (auto* const* number = std::get_if<int64_t*>(&value)) {
    const auto given = node.value_exact<int64_t>();
    if (!given.has_value()) return absl::InvalidArgumentError("is no integer");
    **number = *given;
    return absl::OkStatus();
  }
  if (auto* const* flag = std::get_if<bool*>(&value)) {
    const auto given = node.value_exact<bool>();
    if (!given.has_value()) return absl::InvalidArgumentError("is neither true nor false");
    **flag = *given;
    return absl::OkStatus();
  }
  const auto given = node.value_exact<std::string>();
  if (!given.has_value()) return absl::InvalidArgumentError("is no string");
  if (auto* const* duration = std::get_if<absl::Duration*>(&value)) {
    return SetDuration(*given, *duration);
  }
  **std::get_if<std::string*>(&value) = *given;
  return absl::OkStatus();
}

const KeyRow* FindKey(const std::vector<KeyRow>& rows, absl::string_view section,
                      absl::string_view name) {
  for (const KeyRow& row : rows) {
    if (section == row.section && name == row.name) return &row;
  }
  return nullptr;
}

bool IsSection(const std::vector<KeyRow>& rows, absl::string_view name) {
  for (const KeyRow& row : rows) {
    if (!name.empty() && name == row.section) return true;
  }
  return false;
}

absl::Status CheckHandler(const std::string& name, const Config::Runtime::Handler& handler) {
  if (name == kOwnHandler) {
    if (!handler.path.empty())
      return absl::InvalidArgumentError(".path: berth is no other program");
    if (!handler.options.empty()) return absl::InvalidArgumentError(".options: berth takes none");
  } else if (handler.path.empty() || handler.path[0] != '/') {
    return absl::InvalidArgumentError(".path is no absolute path");
  }
  for (const std::string& option : handler.options) {
    // They are handed on as lines, and as what an empty word ends.
    if (option.empty() || option.find('\0') != std::string::npos ||
        option.find('\n') != std::string::npos) {
      return absl::InvalidArgumentError(".options has an empty one, or one of several lines");
    }
  }
  for (const std::string& pattern : handler.annotations) {
    if (pattern.empty()) return absl::InvalidArgumentError(".annotations has an empty pattern");
  }
  return absl::OkStatus();
}

// [runtime.handlers.NAME]
absl::Status ReadHandler(const std::string& name, const toml::table& table, absl::string_view file,
                         const std::string& field, Config::Runtime::Handler* handler) {
  for (const auto& [toml_key, node] : table) {
    const absl::string_view key(toml_key.str().data(), toml_key.str().size());
    const std::string full = absl::StrCat(field, ".", key);
    absl::Status status;
    if (key == "path") {
      status = SetFromNode(node, &handler->path);
      if (status.ok() && handler->path.find('\0') != std::string::npos)
        status = absl::InvalidArgumentError("has a NUL byte");
    } else if (key == "options") {
      status = SetFromNode(node, &handler->options);
    } else if (key == "annotations") {
      status = SetFromNode(node, &handler->annotations);
    } else {
      status = absl::InvalidArgumentError("is unknown");
    }
    if (!status.ok()) return Wrong(file, toml_key.source(), full, status.message());
  }
  const absl::Status status = CheckHandler(name, *handler);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file, ":", table.source().begin.line, ": ", field, status.message()));
}

absl::Status ReadHandlers(const toml::node& node, absl::string_view file,
                          std::map<std::string, Config::Runtime::Handler>* handlers) {
  const std::string field = kHandlersKey;
  const toml::table* table = node.as_table();
  if (table == nullptr) return Wrong(file, node.source(), field, "is no section");
  for (const auto& [toml_key, value] : *table) {
    const std::string name(toml_key.str());
    const std::string full = absl::StrCat(field, ".", name);
    const toml::table* inner = value.as_table();
    if (inner == nullptr) return Wrong(file, toml_key.source(), full, "is no section");
    if (!IsHandlerName(name))
      return Wrong(file, toml_key.source(), full, "is no name of letters, digits, - _ and .");
    Config::Runtime::Handler handler;
    RETURN_IF_ERROR(ReadHandler(name, *inner, file, full, &handler));
    (*handlers)[name] = std::move(handler);
  }
  return absl::OkStatus();
}

absl::Status ReadTable(const toml::table& table, absl::string_view section, absl::string_view file,
                       const std::vector<KeyRow>& rows) {
  for (const auto& [toml_key, node] : table) {
    const absl::string_view name(toml_key.str().data(), toml_key.str().size());
    const std::string full = section.empty() ? std::string(name) : absl::StrCat(section, ".", name);
    if (section.empty() && IsSection(rows, name)) {
      const toml::table* inner = node.as_table();
      if (inner == nullptr) return Wrong(file, toml_key.source(), full, "is no section");
      RETURN_IF_ERROR(ReadTable(*inner, name, file, rows));
      continue;
    }
    if (full == kHandlersKey) continue;  // ReadHandlers
    const KeyRow* row = FindKey(rows, section, name);
    if (row == nullptr) return Wrong(file, toml_key.source(), full, "is unknown");
    absl::Status status = SetFromNode(node, row->value);
    if (status.ok()) status = row->check(row->value);
    if (!status.ok()) return Wrong(file, toml_key.source(), full, status.message());
  }
  return absl::OkStatus();
}

absl::Status SetFromFlag(absl::string_view text, bool first, const KeyRow& row) {
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&row.value)) {
    if (first) (*list)->clear();
    for (absl::string_view item : absl::StrSplit(text, ',')) (*list)->emplace_back(item);
  } else if (auto* const* number = std::get_if<int64_t*>(&row.value)) {
    if (!absl::SimpleAtoi(text, *number)) return absl::InvalidArgumentError("is no integer");
  } else if (auto* const* on = std::get_if<bool*>(&row.value)) {
    if (!absl::SimpleAtob(text, *on))
      return absl::InvalidArgumentError("is neither true nor false");
  } else if (auto* const* duration = std::get_if<absl::Duration*>(&row.value)) {
    RETURN_IF_ERROR(SetDuration(text, *duration));
  } else {
    **std::get_if<std::string*>(&row.value) = std::string(text);
  }
  return row.check(row.value);
}

struct Flag {
  std::string name;
  std::string value;
};

// Cuts the arguments into flags; knows which flags take no value.
absl::StatusOr<std::vector<Flag>> SplitArguments(int argc, const char* const* argv) {
  std::vector<Flag> flags;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "-h") {
      flags.push_back({"help", ""});
      continue;
    }
    if (!absl::StartsWith(argument, "--") || argument.size() == 2) {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument ", argument));
    }
    const size_t equals = argument.find('=');
    Flag flag{argument.substr(2, equals == std::string::npos ? equals : equals - 2), ""};
    const bool bare = flag.name == "help" || flag.name == "version";
    if (equals != std::string::npos) {
      if (bare) return absl::InvalidArgumentError(absl::StrCat("--", flag.name, " takes no value"));
      flag.value = argument.substr(equals + 1);
    } else if (!bare && i + 1 < argc) {
      flag.value = argv[++i];
    } else if (!bare) {
      return absl::InvalidArgumentError(absl::StrCat("--", flag.name, " lacks its value"));
    }
    flags.push_back(std::move(flag));
  }
  return flags;
}

const KeyRow* FindFlag(const std::vector<KeyRow>& rows, absl::string_view name) {
  for (const KeyRow& row : rows) {
    if (row.flag != nullptr && name == row.flag) return &row;
  }
  return nullptr;
}

absl::Status ApplyFlags(const std::vector<Flag>& flags, Config* config) {
  const std::vector<KeyRow> rows = KeyTable(config);
  std::vector<std::string> seen;
  for (const Flag& flag : flags) {
    if (flag.name == "config") continue;
    const KeyRow* row = FindFlag(rows, flag.name);
    const bool first = std::find(seen.begin(), seen.end(), flag.name) == seen.end();
    seen.push_back(flag.name);
    if (absl::Status status = SetFromFlag(flag.value, first, *row); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag.name, " ", TomlQuote(flag.value), " ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string Config::SocketPath() const { return address.substr(sizeof("unix://") - 1); }

std::string Config::Dump() const {
  Config copy = *this;
  std::string toml;
  absl::string_view section;
  for (const KeyRow& row : KeyTable(&copy)) {
    if (section != row.section) {
      section = row.section;
      absl::StrAppend(&toml, "\n[", section, "]\n");
    }
    absl::StrAppend(&toml, row.name, " = ", TomlValue(row.value), "\n");
  }
  for (auto& [name, handler] : copy.runtime.handlers) {
    absl::StrAppend(&toml, "\n[", kHandlersKey, ".", TomlQuote(name), "]\n");
    if (name != kOwnHandler) {
      absl::StrAppend(&toml, "path = ", TomlValue(&handler.path), "\n");
      absl::StrAppend(&toml, "options = ", TomlValue(&handler.options), "\n");
    }
    absl::StrAppend(&toml, "annotations = ", TomlValue(&handler.annotations), "\n");
  }
  return toml;
}

std::string Config::DumpJson() const {
  const toml::parse_result parsed = toml::parse(Dump());
  if (!parsed) return "{}";  // Dump's own mistake, which a test finds
  std::ostringstream out;
  out << toml::json_formatter(parsed.table());
  return out.str();
}

absl::Status ParseConfig(absl::string_view toml, absl::string_view name, Config* config) {
  const toml::parse_result parsed =
      toml::parse(std::string_view(toml.data(), toml.size()), std::string(name));
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    const auto what = error.description();
    return absl::InvalidArgumentError(absl::StrCat(name, ":", error.source().begin.line, ": ",
                                                   absl::string_view(what.data(), what.size())));
  }
  RETURN_IF_ERROR(ReadTable(parsed.table(), "", name, KeyTable(config)));
  const auto handlers = parsed.table()["runtime"]["handlers"];
  if (!handlers) return absl::OkStatus();
  return ReadHandlers(*handlers.node(), name, &config->runtime.handlers);
}

absl::Status LoadConfig(const std::string& path, Config* config) {
  ASSIGN_OR_RETURN_WITH(const std::string toml, ReadFile(path, kMaxFileBytes),
                        "read the configuration");
  return ParseConfig(toml, path, config);
}

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  ASSIGN_OR_RETURN(const std::vector<Flag> flags, SplitArguments(argc, argv));
  CommandLine line;
  const std::vector<KeyRow> rows = KeyTable(&line.config);
  for (const Flag& flag : flags) {
    if (flag.name == "help") line.action = CommandLine::kHelp;
    if (flag.name == "version") line.action = CommandLine::kVersion;
    if (line.action != CommandLine::kServe) return line;
    if (flag.name == "config") {
      line.config_file = flag.value;
    } else if (FindFlag(rows, flag.name) == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag --", flag.name));
    }
  }
  if (!line.config_file.empty()) RETURN_IF_ERROR(LoadConfig(line.config_file, &line.config));
  RETURN_IF_ERROR(ApplyFlags(flags, &line.config));
  const Config::Runtime& runtime = line.config.runtime;
  if (runtime.handlers.count(runtime.default_handler) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "runtime.default_handler: there is no runtime.handlers.", runtime.default_handler));
  }
  return line;
}

std::string HelpText() {
  std::string text =
      "berthd: a Kubernetes container runtime\n\n"
      "  --config FILE                  TOML; deploy/config.toml has every key\n";
  Config config;
  for (const KeyRow& row : KeyTable(&config)) {
    if (row.flag == nullptr) continue;
    std::string flag = absl::StrCat("--", row.flag, " ", row.value_name);
    flag.resize(std::max<size_t>(flag.size() + 1, 31), ' ');
    absl::StrAppend(&text, "  ", flag, row.help, " (", TomlValue(row.value), ")\n");
  }
  absl::StrAppend(&text, "  --version                      print the version\n",
                  "  --help                         print this\n");
  return text;
}

std::vector<ConfigKey> ConfigKeys() {
  std::vector<ConfigKey> keys;
  Config config;
  for (const KeyRow& row : KeyTable(&config)) {
    keys.push_back({KeyName(row), row.flag == nullptr ? "" : absl::StrCat("--", row.flag),
                    TomlValue(row.value)});
  }
  return keys;
}

absl::StatusOr<std::string> FindProgram(const std::string& configured, absl::string_view name) {
  std::vector<std::string> candidates;
  if (!configured.empty()) {
    candidates.push_back(configured);
  } else {
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
    if (length < 0) return ErrnoStatus("readlink", "/proc/self/exe");
    const std::string program(self, length);
    candidates.push_back(absl::StrCat(program.substr(0, program.rfind('/') + 1), name));
    candidates.push_back(absl::StrCat(kLibexec, "/", name));
  }
  for (const std::string& candidate : candidates) {
    struct stat info;
    if (stat(candidate.c_str(), &info) != 0) continue;
    if (S_ISREG(info.st_mode) && access(candidate.c_str(), X_OK) == 0) return candidate;
    return absl::FailedPreconditionError(absl::StrCat(candidate, " can't be executed"));
  }
  return absl::NotFoundError(
      absl::StrCat("no program ", name, " at ", absl::StrJoin(candidates, " or ")));
}

}  // namespace berth
