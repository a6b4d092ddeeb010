// A seccomp profile as OCI's runtime-spec has it (config-linux.md, "Seccomp"), and the default one.
//
// Names of system calls that this build doesn't know are kept and skipped when compiled, as every
// runtime does: profiles are written for newer kernels. Unknown actions, architectures, operators and
// flags are errors that name the field.
#ifndef BERTH_RUNTIME_SECCOMP_PROFILE_H_
#define BERTH_RUNTIME_SECCOMP_PROFILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"
#include "runtime/capabilities.h"

namespace berth {

enum class SeccompAction {
  kKillThread,
  kKillProcess,
  kTrap,
  kErrno,
  kTrace,
  kAllow,
  kLog,
  kNotify,
};

enum class SeccompOp { kNe, kLt, kLe, kEq, kGe, kGt, kMaskedEq };

struct SeccompArg {
  unsigned index = 0;  // 0..5
  SeccompOp op = SeccompOp::kEq;
  uint64_t value = 0;      // for kMaskedEq the mask
  uint64_t value_two = 0;  // for kMaskedEq what is compared
};

struct SeccompRule {
  std::vector<std::string> names;
  SeccompAction action = SeccompAction::kAllow;
  std::optional<uint32_t> errno_ret;  // for kErrno (EPERM if unset) and kTrace
  std::vector<SeccompArg> args;       // all must hold; two of one index: either (as runc)
};

struct SeccompProfile {
  SeccompAction default_action = SeccompAction::kErrno;
  std::optional<uint32_t> default_errno_ret;
  // AUDIT_ARCH_* values with the x32 ABI as kArchX32; empty: the native one only.
  std::vector<uint32_t> architectures;
  uint32_t filter_flags = 0;  // SECCOMP_FILTER_FLAG_* for seccomp(2)
  std::vector<SeccompRule> rules;
};

// x32 has no audit value of its own: AUDIT_ARCH_X86_64 with bit 30 in the call's number.
constexpr uint32_t kArchX32 = 0x4000'0000u | 62u;
// AUDIT_ARCH_* of this build.
uint32_t NativeSeccompArch();
// "SCMP_ARCH_X86_64" for the two above and the rest that the specification lists; "" if unknown.
std::string SeccompArchName(uint32_t arch);

// From OCI JSON; `field` is the path that messages start with (`linux.seccomp`).
absl::StatusOr<SeccompProfile> SeccompProfileFromJson(const nlohmann::json& value,
                                                      absl::string_view field);
// The same from the text of a file, as kubelet's Localhost profiles are.
absl::StatusOr<SeccompProfile> ParseSeccompProfile(absl::string_view text, absl::string_view field);
nlohmann::json SeccompProfileToJson(const SeccompProfile& profile);

// RuntimeDefault: what containerd and Docker allow by default, for a container with this bounding set.
// One object for each set of capabilities that matters; lives as long as the process.
std::shared_ptr<const SeccompProfile> DefaultSeccompProfile(CapabilityMask bounding);

}  // namespace berth

#endif  // BERTH_RUNTIME_SECCOMP_PROFILE_H_
