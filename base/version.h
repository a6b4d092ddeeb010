// The version of this build: what Version answers, metrics carry, and a migration of the store names.
#ifndef BERTH_BASE_VERSION_H_
#define BERTH_BASE_VERSION_H_

namespace berth {

// Semantic version (semver.org, 2.0.0).
inline constexpr char kBerthVersion[] = "0.1.0";

}  // namespace berth

#endif  // BERTH_BASE_VERSION_H_
