// A container's log file, as the daemon opens it for the keeper.
#ifndef BERTH_SERVER_PODS_CONTAINER_LOG_H_
#define BERTH_SERVER_PODS_CONTAINER_LOG_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace berth {

// For appending, made if it is missing, with its directories. An invalid descriptor if `path` is empty:
// the container has no log.
absl::StatusOr<UniqueFd> OpenLog(const std::string& path);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_CONTAINER_LOG_H_
