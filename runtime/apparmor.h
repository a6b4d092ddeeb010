// AppArmor: whether the kernel has it, which profiles are loaded, and our own default profile.
//
// A container's process asks for its profile just before it enters the container (executor.cc); the kernel applies
// it at execve. An exec gets the container's.
#ifndef BERTH_RUNTIME_APPARMOR_H_
#define BERTH_RUNTIME_APPARMOR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace berth {

// What RuntimeDefault means. One for all daemons of a host.
inline constexpr char kDefaultAppArmorProfile[] = "berth-default";

// Whether AppArmor is compiled in and switched on, and securityfs tells of it.
bool AppArmorIsEnabled();

// OK if a profile of this name is loaded; NotFound otherwise.
absl::Status CheckAppArmorProfile(absl::string_view name);

// The text of the default profile, in apparmor.d(5)'s language.
std::string DefaultAppArmorProfileText();

// Loads the default profile by apparmor_parser, in the place of an older one. NotFound if there is no parser,
// FailedPrecondition with what it says. What an earlier daemon has loaded stays in force either way.
absl::Status LoadDefaultAppArmorProfile(absl::Time deadline);

}  // namespace berth

#endif  // BERTH_RUNTIME_APPARMOR_H_
