#include "runtime/capabilities.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/files.h"

namespace berth {
namespace {

// By number, without the prefix (linux/capability.h).
constexpr std::array<const char*, kLastCapability + 1> kNames = {"CHOWN",
                                                                 "DAC_OVERRIDE",
                                                                 "DAC_READ_SEARCH",
                                                                 "FOWNER",
                                                                 "FSETID",
                                                                 "KILL",
                                                                 "SETGID",
                                                                 "SETUID",
                                                                 "SETPCAP",
                                                                 "LINUX_IMMUTABLE",
                                                                 "NET_BIND_SERVICE",
                                                                 "NET_BROADCAST",
                                                                 "NET_ADMIN",
                                                                 "NET_RAW",
                                                                 "IPC_LOCK",
                                                                 "IPC_OWNER",
                                                                 "SYS_MODULE",
                                                                 "SYS_RAWIO",
                                                                 "SYS_CHROOT",
                                                                 "SYS_PTRACE",
                                                                 "SYS_PACCT",
                                                                 "SYS_ADMIN",
                                                                 "SYS_BOOT",
                                                                 "SYS_NICE",
                                                                 "SYS_RESOURCE",
                                                                 "SYS_TIME",
                                                                 "SYS_TTY_CONFIG",
                                                                 "MKNOD",
                                                                 "LEASE",
                                                                 "AUDIT_WRITE",
                                                                 "AUDIT_CONTROL",
                                                                 "SETFCAP",
                                                                 "MAC_OVERRIDE",
                                                                 "MAC_ADMIN",
                                                                 "SYSLOG",
                                                                 "WAKE_ALARM",
                                                                 "BLOCK_SUSPEND",
                                                                 "AUDIT_READ",
                                                                 "PERFMON",
                                                                 "BPF",
                                                                 "CHECKPOINT_RESTORE"};

constexpr std::array<const char*, 14> kDefaults = {
    "CHOWN",   "DAC_OVERRIDE", "FSETID",           "FOWNER",
    "MKNOD",   "NET_RAW",      "SETGID",           "SETUID",
    "SETFCAP", "SETPCAP",      "NET_BIND_SERVICE", "SYS_CHROOT",
    "KILL",    "AUDIT_WRITE"};

CapabilityMask ReadOwnBoundingSet() {
  absl::StatusOr<std::string> text = ReadFile("/proc/self/status");
  if (!text.ok()) return kAllCapabilities;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, "CapBnd:")) continue;
    uint64_t mask = 0;
    if (absl::SimpleHexAtoi(absl::StripAsciiWhitespace(line), &mask)) return mask;
  }
  return kAllCapabilities;
}

}  // namespace

std::optional<int> CapabilityNumber(absl::string_view name) {
  const std::string upper = absl::AsciiStrToUpper(name);
  const absl::string_view bare = absl::StripPrefix(upper, "CAP_");
  for (int i = 0; i <= kLastCapability; ++i) {
    if (bare == kNames[i]) return i;
  }
  return std::nullopt;
}

std::string CapabilityName(int number) {
  if (number < 0 || number > kLastCapability) return absl::StrCat("CAP_", number);
  return absl::StrCat("CAP_", kNames[number]);
}

absl::StatusOr<CapabilityMask> CapabilityMaskOf(const std::vector<std::string>& names) {
  CapabilityMask mask = 0;
  for (const std::string& name : names) {
    const std::optional<int> number = CapabilityNumber(name);
    if (!number) {
      return absl::InvalidArgumentError(absl::StrCat("unknown capability \"", name, "\""));
    }
    mask |= CapabilityBit(*number);
  }
  return mask;
}

std::vector<std::string> CapabilityNames(CapabilityMask mask) {
  std::vector<std::string> names;
  for (int i = 0; i < 64; ++i) {
    if (mask & CapabilityBit(i)) names.push_back(CapabilityName(i));
  }
  return names;
}

CapabilityMask DefaultCapabilities() {
  static const CapabilityMask mask = [] {
    CapabilityMask bits = 0;
    for (const char* name : kDefaults) bits |= CapabilityBit(*CapabilityNumber(name));
    return bits;
  }();
  return mask;
}

CapabilityMask OwnBoundingSet() {
  static const CapabilityMask mask = ReadOwnBoundingSet();
  return mask;
}

}  // namespace berth
