#include "server/config/config_keys.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/log.h"

namespace berth {
namespace {

constexpr char kUnixPrefix[] = "unix://";

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::Status Any(const ConfigValue&) { return absl::OkStatus(); }

absl::Status CheckPath(const std::string& path) {
  if (path.empty() || path[0] != '/') return Bad("is no absolute path");
  if (path.find('\0') != std::string::npos) return Bad("has a NUL byte");
  return absl::OkStatus();
}
absl::Status Path(const ConfigValue& value) { return CheckPath(*std::get<std::string*>(value)); }

absl::Status PathOrEmpty(const ConfigValue& value) {
  return std::get<std::string*>(value)->empty() ? absl::OkStatus() : Path(value);
}

absl::Status Paths(const ConfigValue& value) {
  const auto& paths = *std::get<std::vector<std::string>*>(value);
  if (paths.empty()) return Bad("has no directory");
  for (const std::string& path : paths) {
    if (absl::Status status = CheckPath(path); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SocketAddress(const ConfigValue& value) {
  const std::string& address = *std::get<std::string*>(value);
  if (!absl::StartsWith(address, kUnixPrefix)) return Bad("does not begin with unix://");
  const std::string path = address.substr(sizeof(kUnixPrefix) - 1);
  // sockaddr_un holds 107 bytes and a NUL (unix(7)).
  if (path.size() > 107) return Bad("is longer than the 107 bytes of a socket's path");
  return CheckPath(path);
}

absl::Status HostPort(const ConfigValue& value) {
  const std::string& address = *std::get<std::string*>(value);
  const size_t colon = address.rfind(':');
  int port;
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size() ||
      !std::all_of(address.begin() + colon + 1, address.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port > 65535) {
    return Bad("is not HOST:PORT");
  }
  return absl::OkStatus();
}

absl::Status HostPortOrEmpty(const ConfigValue& value) {
  return std::get<std::string*>(value)->empty() ? absl::OkStatus() : HostPort(value);
}

absl::Status Level(const ConfigValue& value) {
  LogLevel level;
  if (ParseLogLevel(*std::get<std::string*>(value), &level)) return absl::OkStatus();
  return Bad("is not debug, info, warning or error");
}

absl::Status Driver(const ConfigValue& value) {
  const std::string& driver = *std::get<std::string*>(value);
  if (driver == "cgroupfs" || driver == "systemd") return absl::OkStatus();
  return Bad("is not cgroupfs or systemd");
}

absl::Status Name(const ConfigValue& value) {
  return IsHandlerName(*std::get<std::string*>(value))
             ? absl::OkStatus()
             : Bad("is not a name of letters, digits, - _ and .");
}

template <int64_t low, int64_t high>
absl::Status Between(const ConfigValue& value) {
  const int64_t number = *std::get<int64_t*>(value);
  if (number >= low && number <= high) return absl::OkStatus();
  return Bad(absl::StrCat("is not between ", low, " and ", high));
}

template <int low, int high>
absl::Status Seconds(const ConfigValue& value) {
  const absl::Duration duration = *std::get<absl::Duration*>(value);
  if (duration >= absl::Seconds(low) && duration <= absl::Seconds(high)) return absl::OkStatus();
  return Bad(absl::StrCat("is not between ", low, "s and ", high, "s"));
}

}  // namespace

std::vector<KeyRow> KeyTable(Config* c) {
  constexpr int64_t kMax = int64_t{1} << 50;
  return {
      {"", "root", "root", "DIR", "what survives a reboot: images, layers, state.db", &c->root,
       Path},
      {"", "state", "state", "DIR", "what does not: sockets, keepers' files", &c->state, Path},
      {"", "address", "address", "unix://PATH", "the CRI socket", &c->address, SocketAddress},
      {"", "metrics_address", "metrics-address", "HOST:PORT",
       "where /metrics is served; \"\": nowhere", &c->metrics_address, HostPortOrEmpty},
      {"", "log_level", "log-level", "LEVEL", "debug, info, warning or error", &c->log_level,
       Level},
      {"cgroup", "driver", nullptr, "", "", &c->cgroup.driver, Driver},
      {"cgroup", "keepers_cgroup", nullptr, "", "", &c->cgroup.keepers_cgroup, PathOrEmpty},
      {"registry", "config_path", nullptr, "", "", &c->registry.config_path, PathOrEmpty},
      {"registry", "max_concurrent_downloads", nullptr, "", "",
       &c->registry.max_concurrent_downloads, Between<1, 64>},
      {"registry", "stall_timeout", nullptr, "", "", &c->registry.stall_timeout, Seconds<1, 3600>},
      {"network", "conf_dir", "cni-conf-dir", "DIR", "CNI configuration lists",
       &c->network.conf_dir, Path},
      {"network", "bin_dirs", "cni-bin-dir", "DIR", "CNI plugins; may be repeated",
       &c->network.bin_dirs, Paths},
      {"network", "plugin_timeout", nullptr, "", "", &c->network.plugin_timeout, Seconds<1, 3600>},
      {"network", "gc", nullptr, "", "", &c->network.gc, Any},
      {"streaming", "address", nullptr, "", "", &c->streaming.address, HostPort},
      {"streaming", "idle_timeout", nullptr, "", "", &c->streaming.idle_timeout,
       Seconds<1, 604800>},
      {"runtime", "keeper", nullptr, "", "", &c->runtime.keeper, PathOrEmpty},
      {"runtime", "unpacker", nullptr, "", "", &c->runtime.unpacker, PathOrEmpty},
      {"runtime", "default_handler", nullptr, "", "", &c->runtime.default_handler, Name},
      {"runtime", "pids_limit", nullptr, "", "", &c->runtime.pids_limit, Between<0, 4194304>},
      {"runtime", "shm_size", nullptr, "", "", &c->runtime.shm_size, Between<65536, kMax>},
      {"image", "max_layer_bytes", nullptr, "", "", &c->image.max_layer_bytes, Between<1, kMax>},
      {"image", "max_layer_files", nullptr, "", "", &c->image.max_layer_files, Between<1, kMax>},
      {"image", "pinned", nullptr, "", "", &c->image.pinned, Any},
      {"cdi", "directories", nullptr, "", "", &c->cdi.directories, Paths},
  };
}

bool IsHandlerName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string KeyName(const KeyRow& row) {
  return *row.section == '\0' ? row.name : absl::StrCat(row.section, ".", row.name);
}

// A basic string (toml.io, v1.0.0, "String").
std::string TomlQuote(absl::string_view text) {
  std::string quoted = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\u%04x", c);
    } else {
      quoted += static_cast<char>(c);
    }
  }
  return quoted + "\"";
}

std::string TomlValue(const ConfigValue& value) {
  if (const auto* text = std::get_if<std::string*>(&value)) return TomlQuote(**text);
  if (const auto* number = std::get_if<int64_t*>(&value)) return absl::StrCat(**number);
  if (const auto* flag = std::get_if<bool*>(&value)) return **flag ? "true" : "false";
  if (const auto* duration = std::get_if<absl::Duration*>(&value)) {
    return TomlQuote(absl::FormatDuration(**duration));
  }
  const auto& list = **std::get_if<std::vector<std::string>*>(&value);
  return absl::StrCat("[",
                      absl::StrJoin(list, ", ",
                                    [](std::string* out, const std::string& item) {
                                      out->append(TomlQuote(item));
                                    }),
                      "]");
}

}  // namespace berth
