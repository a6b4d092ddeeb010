// Making a file system with the new mount API. Internal to executor*.cc.
#ifndef BERTH_RUNTIME_EXECUTOR_NEW_MOUNT_H_
#define BERTH_RUNTIME_EXECUTOR_NEW_MOUNT_H_

#include <stddef.h>
#include <stdint.h>

namespace berth {

inline constexpr uint64_t kMountPrivate = 1u << 18;  // MS_PRIVATE
inline constexpr size_t kFsConfigMax = 255;          // an fsconfig string, without its NUL

// Hands `key=value,flag,...` to an fsopen descriptor; false with errno.
bool ConfigureOptions(int fs, const char* options);

// A detached mount of a new (or the namespace's) instance of `type`; -1 with errno. `pidns`: for proc, a PID
// namespace other than ours (6.17).
int NewMount(const char* type, const char* options, uint64_t attributes, int pidns = -1);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_NEW_MOUNT_H_
