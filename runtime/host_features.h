// What of the newer things this kernel and the disk of the layers can do, tried rather than guessed.
#ifndef BERTH_RUNTIME_HOST_FEATURES_H_
#define BERTH_RUNTIME_HOST_FEATURES_H_

#include <string>

#include "absl/status/status.h"

namespace berth {

// Each is OK, or FailedPrecondition with the reason.
struct HostFeatures {
  // Pods with a user namespace: overlayfs over id-mapped layers (5.19) on the file system of the layers, and
  // user namespaces that are not switched off (user.max_user_namespaces).
  absl::Status user_namespaces = absl::FailedPreconditionError("not tried");
  // Read-only mounts with all that is mounted below them (mount_setattr, 5.12).
  absl::Status recursive_readonly = absl::FailedPreconditionError("not tried");
};

// `layers`: an existing directory on the file system that layers are on. Blocks for a fork or so.
HostFeatures TryHostFeatures(const std::string& layers);

}  // namespace berth

#endif  // BERTH_RUNTIME_HOST_FEATURES_H_
