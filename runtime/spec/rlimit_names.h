// RLIMIT_* names ↔ numbers.
#ifndef BERTH_RUNTIME_SPEC_RLIMIT_NAMES_H_
#define BERTH_RUNTIME_SPEC_RLIMIT_NAMES_H_

#include <sys/resource.h>

#include <optional>
#include <string>

namespace berth {

inline constexpr struct {
  const char* name;
  int resource;
} kRlimitNames[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

inline std::optional<int> RlimitNumber(const std::string& name) {
  for (const auto& entry : kRlimitNames) {
    if (name == entry.name) return entry.resource;
  }
  return std::nullopt;
}

inline std::string RlimitName(int resource) {
  for (const auto& entry : kRlimitNames) {
    if (entry.resource == resource) return entry.name;
  }
  return std::to_string(resource);
}

}  // namespace berth

#endif  // BERTH_RUNTIME_SPEC_RLIMIT_NAMES_H_
