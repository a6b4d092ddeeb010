// Whole files and directories: reading with a bound, and writing that survives a power cut.
#ifndef BERTH_BASE_FILES_H_
#define BERTH_BASE_FILES_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace berth {

// Opens with O_CLOEXEC added to `flags`.
absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0);

// The whole file; ResourceExhausted if it is larger than `limit` bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit = 16u << 20);
// What is left in `fd`, with the same bound.
absl::StatusOr<std::string> ReadFd(int fd, size_t limit = 16u << 20);

// Writes all of `data` to `fd`, resuming after short writes.
absl::Status WriteFd(int fd, absl::string_view data);

// Writes into an existing file by one write(2), as kernel interfaces (/proc, /sys, cgroups) want it.
absl::Status WriteKernelFile(const std::string& path, absl::string_view value);

// Replaces `path` as a whole: temporary file in the same directory, write, fsync, rename, fsync of the
// directory. After a crash the file holds the old or the new content.
absl::Status WriteFileDurably(const std::string& path, absl::string_view data, mode_t mode);
// The same without the two fsyncs: whole for readers, not against a power cut. For files below STATE.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view data, mode_t mode);

// mkdir -p; directories that are made get `mode`.
absl::Status MakeDirectories(const std::string& path, mode_t mode);

// Removes a tree without following links and without leaving the file system it is on; a missing
// path is OK.
absl::Status RemoveTree(const std::string& path);

// The names in a directory, sorted, without . and ..
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

absl::Status FsyncPath(const std::string& path);

}  // namespace berth

#endif  // BERTH_BASE_FILES_H_
