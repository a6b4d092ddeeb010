// Opens logs and makes directories in a process of its own.
//
// A path may lead to a disk that does not answer: FUSE, NFS, a frozen file system. Whoever asks there
// sleeps, uninterruptibly, and a thread of the daemon could neither give up nor end with the daemon, which
// would keep its sockets and locks. A process is left behind instead, and ends when the disk answers.
// One that has answered waits for the next request, so that a start does not wait for a process to be made; it
// ends with the daemon. The program is the keeper's (60 KiB of private memory).
#ifndef BERTH_RUNTIME_PATH_PROCESS_H_
#define BERTH_RUNTIME_PATH_PROCESS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace berth {

// Costs nothing to make; any thread may call. A call returns at its deadline at the latest: DeadlineExceeded names the path.
class PathProcess {
 public:
  // `program`: KeeperLauncher::binary(); borrowed.
  explicit PathProcess(int program) : program_(program) {}

  // For appending; the file (0640) and directories above it (0755) are made if they are missing.
  absl::StatusOr<UniqueFd> OpenLog(const std::string& path, absl::Time deadline) const;
  // Those that do not exist, whatever they are, with the directories above them.
  absl::Status MakeMissing(const std::vector<std::string>& paths, absl::Time deadline) const;

 private:
  const int program_;
};

}  // namespace berth

#endif  // BERTH_RUNTIME_PATH_PROCESS_H_
