#include "server/pods/container_log.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "runtime/path_process.h"

namespace berth {

absl::StatusOr<UniqueFd> OpenLog(const KeeperLauncher& launcher, const std::string& path,
                                 absl::Time deadline) {
  constexpr absl::Duration kPatience = absl::Seconds(10);
  if (path.empty()) return UniqueFd();
  return PathProcess(launcher.binary()).OpenLog(path, std::min(deadline, absl::Now() + kPatience));
}

}  // namespace berth
