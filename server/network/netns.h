// Network namespaces pinned by name below /run/netns, as `ip netns` and CNI plugins expect them.
//
// A pod's namespace is made by its keeper; the daemon pins it by a bind mount, so that CNI DEL
// still finds it after the keeper's death. Names are `berth-INSTANCE-POD16`, POD16 the first 16
// digits of the pod's ID: a daemon sweeps the names of its own instance only.
//
//   NetnsDirectory netns(instance);
//   UniqueFd fd = OpenFile(StrCat("/proc/", pid, "/ns/net"), O_RDONLY);
//   netns.Pin(pod, fd.get()) -> "/run/netns/berth-0123456789abcdef-89abcdef01234567"
//   BringLoopbackUp(fd.get());
//   ...
//   netns.Unpin(pod);
//
// A crash leaves at most a pinned namespace or an empty file; List() shows both, Unpin() removes
// both.
#ifndef BERTH_SERVER_NETWORK_NETNS_H_
#define BERTH_SERVER_NETWORK_NETNS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "base/mutex.h"

namespace berth {

// Thread-safe; calls for different pods run side by side.
class NetnsDirectory {
 public:
  explicit NetnsDirectory(InstanceId instance, std::string directory = "/run/netns")
      : instance_(std::move(instance)), directory_(std::move(directory)) {}

  // Where the pod's namespace is or would be pinned. Pure.
  std::string PathOf(const PodId& pod) const;

  // Pins the namespace behind `netns_fd` and returns its path. Replaces what has the name already
  // (a crash left it). Makes the directory, and makes it a shared mount, on first use.
  absl::StatusOr<std::string> Pin(const PodId& pod, int netns_fd);

  // Unmounts and removes the name; a missing one is OK. The namespace lives on while a process or
  // descriptor holds it.
  absl::Status Unpin(const PodId& pod);
  // The same by the name that List gave; refuses names of other instances.
  absl::Status UnpinName(const std::string& name);

  // The names (not paths) of this instance, sorted; empty if there is no directory.
  absl::StatusOr<std::vector<std::string>> List() const;

 private:
  std::string NameOf(const PodId& pod) const;
  // Makes the directory a shared mount point, once.
  absl::Status Prepare();

  const InstanceId instance_;
  const std::string directory_;
  Mutex mu_;
  bool prepared_ ABSL_GUARDED_BY(mu_) = false;
};

// True if `path` is a network namespace now (pinned, not an empty file).
bool IsNetns(const std::string& path);

// Sets the interface `lo` of the namespace up by netlink. Works in a short-lived thread that joins
// the namespace; the caller's thread stays where it is.
absl::Status BringLoopbackUp(int netns_fd);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_NETNS_H_
