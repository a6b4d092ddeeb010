#include "server/pods/container_log.h"

#include <fcntl.h>

#include "base/files.h"
#include "base/status.h"

namespace berth {

absl::StatusOr<UniqueFd> OpenLog(const std::string& path) {
  if (path.empty()) return UniqueFd();
  auto log = OpenFile(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0640);
  if (log.ok() || !absl::IsNotFound(log.status())) return log;
  RETURN_IF_ERROR(MakeDirectories(path.substr(0, path.rfind('/')), 0755));
  return OpenFile(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0640);
}

}  // namespace berth
