// CNI plugins built from their Go module (tests/network/plugins): Debian's speak no 1.1.0.
#ifndef BERTH_TESTS_NETWORK_BUILT_PLUGINS_H_
#define BERTH_TESTS_NETWORK_BUILT_PLUGINS_H_

#include <string>

#include "absl/status/statusor.h"

namespace berth {

// The directory that they are in: $BERTH_CNI_PLUGINS, which `./dev root` sets, else what
// tests/network/plugins/build says. A private machine has no network: there it must have run before.
absl::StatusOr<std::string> BuiltCniPlugins();

}  // namespace berth

#endif  // BERTH_TESTS_NETWORK_BUILT_PLUGINS_H_
