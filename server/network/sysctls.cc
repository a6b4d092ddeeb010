#include "server/network/sysctls.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr size_t kLongestKey = 256;
constexpr size_t kLongestValue = 4096;

enum class Kind { kNetwork, kIpc };

absl::Status Refuse(absl::string_view key, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("sysctl `", key, "`: ", why));
}

bool IsKeyCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.' ||
         c == '/' || c == '@' || c == ':';
}

// sysctl(8): the separator that comes first separates, the other is part of a component.
std::string Dotted(std::string key) {
  const size_t first = key.find_first_of("./");
  if (first == std::string::npos || key[first] == '.') return key;
  for (char& c : key) {
    if (c == '.') {
      c = '/';
    } else if (c == '/') {
      c = '.';
    }
  }
  return key;
}

absl::Status CheckKey(const std::string& key, const std::string& dotted) {
  if (key.empty() || key.size() > kLongestKey ||
      !std::all_of(key.begin(), key.end(), IsKeyCharacter)) {
    return Refuse(key, "malformed name");
  }
  for (absl::string_view component : absl::StrSplit(dotted, '.')) {
    // `//` would be the parent directory in the path of the file.
    if (component.empty() || component == "/" || component == "//") {
      return Refuse(key, "malformed name");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckValue(absl::string_view key, absl::string_view value) {
  const bool printable = std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c)) || c == '\t';
  });
  if (value.size() > kLongestValue || !printable) return Refuse(key, "malformed value");
  return absl::OkStatus();
}

// The namespace a sysctl belongs to (ipc_namespaces(7), network_namespaces(7)).
absl::StatusOr<Kind> KindOf(absl::string_view key, const std::string& dotted) {
  if (absl::StartsWith(dotted, "net.")) return Kind::kNetwork;
  if (absl::StartsWith(dotted, "fs.mqueue.") || absl::StartsWith(dotted, "kernel.shm") ||
      absl::StartsWith(dotted, "kernel.msg") || dotted == "kernel.sem") {
    return Kind::kIpc;
  }
  return Refuse(key, "not namespaced: it would change the node");
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> PodSysctls(
    const std::map<std::string, std::string>& requested, const PodNamespaces& namespaces) {
  std::map<std::string, std::string> sysctls;
  for (const auto& [key, value] : requested) {
    std::string dotted = Dotted(key);
    RETURN_IF_ERROR(CheckKey(key, dotted));
    RETURN_IF_ERROR(CheckValue(key, value));
    ASSIGN_OR_RETURN(const Kind kind, KindOf(key, dotted));
    if (kind == Kind::kNetwork && namespaces.host_network) {
      return Refuse(key, "not allowed with the host's network");
    }
    if (kind == Kind::kIpc && namespaces.host_ipc) {
      return Refuse(key, "not allowed with the host's IPC");
    }
    if (!sysctls.emplace(std::move(dotted), value).second) return Refuse(key, "given twice");
  }
  if (!namespaces.host_network) {
    sysctls.emplace("net.ipv4.ip_unprivileged_port_start", "0");
    if (!namespaces.user_namespace) {
      sysctls.emplace("net.ipv4.ping_group_range", "0 2147483647");
    }
  }
  return sysctls;
}

}  // namespace berth
