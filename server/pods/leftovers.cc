#include "server/pods/leftovers.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace berth {

void Leftovers::Try(const std::string& what, Remove remove, absl::Duration delay) {
  const absl::Status status = remove();
  if (status.ok()) return;
  LogWarning("take away ", what, ": ", status.message(), "; trying again in ",
             absl::FormatDuration(delay));
  TryAfter(delay, what, std::move(remove));
}

void Leftovers::TryAfter(absl::Duration delay, const std::string& what, Remove remove) {
  static constexpr absl::Duration kLongestDelay = absl::Minutes(5);
  timers_->At(WallNow() + delay, [this, what, remove = std::move(remove), delay] {
    Try(what, remove, std::min(2 * delay, kLongestDelay));
  });
}

}  // namespace berth
