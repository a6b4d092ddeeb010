#include "server/pods/keepers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {

absl::StatusOr<std::unique_ptr<Keepers>> Keepers::Start(KeeperObserver* observer) {
  ASSIGN_OR_RETURN(std::unique_ptr<KeeperWatcher> watcher, KeeperWatcher::Start(observer));
  return std::unique_ptr<Keepers>(new Keepers(std::move(watcher)));
}

absl::Status Keepers::Add(std::shared_ptr<Keeper> keeper) {
  {
    MutexLock lock(&mu_);
    keepers_[keeper->pod()] = keeper;
  }
  return watcher_->Watch(std::move(keeper));
}

absl::StatusOr<std::shared_ptr<Keeper>> Keepers::Find(const PodId& pod) const {
  MutexLock lock(&mu_);
  const auto found = keepers_.find(pod);
  if (found == keepers_.end()) {
    return absl::UnavailableError(absl::StrCat("pod ", pod.str(), " has no keeper"));
  }
  return found->second;
}

std::shared_ptr<Keeper> Keepers::Remove(const PodId& pod) {
  std::shared_ptr<Keeper> keeper;
  {
    MutexLock lock(&mu_);
    const auto found = keepers_.find(pod);
    if (found == keepers_.end()) return nullptr;
    keeper = std::move(found->second);
    keepers_.erase(found);
  }
  watcher_->Unwatch(pod);
  return keeper;
}

size_t Keepers::size() const {
  MutexLock lock(&mu_);
  return keepers_.size();
}

}  // namespace berth
