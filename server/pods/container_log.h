// A container's log file, as the daemon opens it for the keeper.
#ifndef BERTH_SERVER_PODS_CONTAINER_LOG_H_
#define BERTH_SERVER_PODS_CONTAINER_LOG_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "runtime/keeper_client.h"

namespace berth {

// For appending, made if it is missing, with its directories; by a process of its own, since a thread of ours
// never waits for that disk: DeadlineExceeded at `deadline` or after 10 s. An invalid descriptor if `path` is
// empty: the container has no log.
absl::StatusOr<UniqueFd> OpenLog(const KeeperLauncher& launcher, const std::string& path,
                                 absl::Time deadline);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_CONTAINER_LOG_H_
