// A file whose lock says that its owner lives: flock(2), gone with the process however it ends.
#ifndef BERTH_BASE_LOCK_FILE_H_
#define BERTH_BASE_LOCK_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace berth {

// Makes `path` (mode 0600) if need be, locks it, and writes the process's id into it, for people.
// The lock lasts while the descriptor is open; children must not inherit it (it is close-on-exec).
// The file stays when the lock ends: removing it would let two owners lock two files of one name.
//
// AlreadyExists, with the owner's pid, if another process, or another LockFile of this one, has it.
absl::StatusOr<UniqueFd> LockFile(const std::string& path);

}  // namespace berth

#endif  // BERTH_BASE_LOCK_FILE_H_
