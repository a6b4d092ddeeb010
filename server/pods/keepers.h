// The keepers of the pods that are ready, and the one thread that hears them.
#ifndef BERTH_SERVER_PODS_KEEPERS_H_
#define BERTH_SERVER_PODS_KEEPERS_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "runtime/keeper_client.h"

namespace berth {

// Thread-safe.
class Keepers {
 public:
  // `observer` outlives the result.
  static absl::StatusOr<std::unique_ptr<Keepers>> Start(KeeperObserver* observer);

  // From here on its exits and its death are heard.
  absl::Status Add(std::shared_ptr<Keeper> keeper);
  // Unavailable if the pod has none (it is stopped, or its keeper died).
  absl::StatusOr<std::shared_ptr<Keeper>> Find(const PodId& pod) const;
  // Forgets it without ending it, and hears it no more. Null if there is none.
  std::shared_ptr<Keeper> Remove(const PodId& pod);
  size_t size() const;

 private:
  explicit Keepers(std::unique_ptr<KeeperWatcher> watcher) : watcher_(std::move(watcher)) {}

  const std::unique_ptr<KeeperWatcher> watcher_;
  mutable Mutex mu_;
  absl::flat_hash_map<PodId, std::shared_ptr<Keeper>> keepers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_KEEPERS_H_
