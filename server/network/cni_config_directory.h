// The directory of CNI configurations, watched.
#ifndef BERTH_SERVER_NETWORK_CNI_CONFIG_DIRECTORY_H_
#define BERTH_SERVER_NETWORK_CNI_CONFIG_DIRECTORY_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "server/network/cni_config.h"

namespace berth {

// Thread-safe. There is no thread and no timer behind it: a change is noticed when the
// configuration is asked for, by one inotify descriptor that is read then. Where inotify is
// exhausted, the names, sizes and times of the files are compared instead.
class CniConfigDirectory {
 public:
  explicit CniConfigDirectory(std::string directory) : directory_(std::move(directory)) {}

  // The first configuration in lexical order of the *.conflist, *.conf and *.json files, as with
  // containerd: the others are not looked at, and if the first is not valid there is none. To go on
  // with the second would put pods into a network that nobody meant. Directories are passed over.
  // FailedPrecondition with the reason: `cni config uninitialized: no network configuration in DIR`,
  // or what is wrong with the file.
  absl::StatusOr<std::shared_ptr<const CniConfigList>> Current();

 private:
  using Loaded = absl::StatusOr<std::shared_ptr<const CniConfigList>>;

  // Device and inode: another directory may take the place of the one that is watched.
  using Identity = std::pair<dev_t, ino_t>;

  // True if the files may have changed since the last call. Sets the watch up where there is none.
  bool MayHaveChanged(Identity identity) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Watch(Identity identity) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string directory_;
  Mutex mu_;
  UniqueFd inotify_ ABSL_GUARDED_BY(mu_);
  // The directory under watch, {0, 0} for none.
  Identity watched_ ABSL_GUARDED_BY(mu_) = {0, 0};
  // What the files looked like, while there is no watch.
  std::string signature_ ABSL_GUARDED_BY(mu_);
  Loaded loaded_ ABSL_GUARDED_BY(mu_) = absl::UnknownError("not loaded");
  // False before the first load, and after one that a passing error (no descriptor left) spoiled.
  bool settled_ ABSL_GUARDED_BY(mu_) = false;
  // Loads are numbered, so that a slow one never replaces a later one.
  uint64_t loads_begun_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t loads_stored_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_CONFIG_DIRECTORY_H_
