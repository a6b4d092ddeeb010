// Reading and writing the small files of a cgroup below a directory fd.
#ifndef BERTH_RUNTIME_CGROUP_FILES_H_
#define BERTH_RUNTIME_CGROUP_FILES_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace berth {

// `path` of a cgroup and a file in it, relative to the hierarchy's root: "" + "/a/b" + "x" → "a/b/x".
std::string CgroupFile(absl::string_view path, absl::string_view file);

// One open, one write(2), one close. Returns 0 or the errno.
int WriteCgroupFile(int root, const std::string& file, absl::string_view value);
// The file without its last newline. NotFound if it or its cgroup is missing.
absl::StatusOr<std::string> ReadCgroupFile(int root, const std::string& file);
// "max" and v1's page-rounded maximum are -1.
absl::StatusOr<int64_t> ReadCgroupNumber(int root, const std::string& file);
// The value of `key` in a file of `key value` lines.
std::optional<uint64_t> CgroupKeyedValue(absl::string_view text, absl::string_view key);

// The pids in `path` and below, appended; a missing cgroup has none. ResourceExhausted if it is nested
// deeper than 64.
absl::Status AppendProcesses(int root, const std::string& path, std::vector<pid_t>* pids,
                             int depth = 0);
// The names of the sub-cgroups. NotFound if `path` is missing.
absl::StatusOr<std::vector<std::string>> SubCgroups(int root, const std::string& path);

}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_FILES_H_
