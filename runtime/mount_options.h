// The options of a mount as OCI (and mount(8)) spell them, sorted by what they concern.
#ifndef BERTH_RUNTIME_MOUNT_OPTIONS_H_
#define BERTH_RUNTIME_MOUNT_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace berth {

// The mount type of a pod's shared /dev/shm, which its keeper holds.
inline constexpr char kPodShmType[] = "berth.pod-shm";
// The mount type of a volume that an image declares: a directory of the root file system, bound onto
// itself. It has what the image has there, stays writable in a read-only root, and ends with the
// container. It comes before every other mount.
inline constexpr char kVolumeType[] = "berth.volume";

// The mount type of an image volume: a read-only overlay of the image's layers (CompileInput::layers), or of
// what stands at the option's path in it.
inline constexpr char kLayersType[] = "berth.layers";
inline constexpr char kSubPathOption[] = "berth.subpath=";

struct MountOptions {
  bool bind = false;
  bool idmap = false;
  uint64_t attr_set = 0;     // MOUNT_ATTR_*
  uint64_t attr_clear = 0;   // what "rw", "suid", "exec" … undo
  uint32_t propagation = 0;  // MS_PRIVATE, MS_SLAVE, MS_SHARED; 0: not said
  uint32_t flags = 0;        // MountFlag of runtime/plan.h
  std::string data;          // the file system's own, by commas
};

// A later option overrides an earlier one. Unimplemented for unbindable, InvalidArgument for one with a
// comma.
absl::StatusOr<MountOptions> ParseMountOptions(const std::vector<std::string>& options);

}  // namespace berth

#endif  // BERTH_RUNTIME_MOUNT_OPTIONS_H_
