// What the flows work with: the layers below, opened, and who this daemon is.
#ifndef BERTH_SERVER_PODS_NODE_H_
#define BERTH_SERVER_PODS_NODE_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "runtime/cgroup.h"
#include "runtime/host_features.h"
#include "runtime/keeper_client.h"
#include "runtime/oom_log.h"
#include "server/cdi/cdi_registry.h"
#include "server/config/config.h"
#include "server/images/image_service.h"
#include "server/metrics/metrics.h"
#include "server/network/netns.h"
#include "server/network/network.h"
#include "server/pods/timers.h"
#include "server/store/store.h"
#include "snapshotter/layer_store.h"
#include "snapshotter/snapshotter.h"

namespace berth {

class Handlers;

// Borrowed; everything outlives the flows. Immutable, so any thread may read it.
struct Node {
  const Config* config = nullptr;
  InstanceId instance;
  std::string boot_id;
  Store* store = nullptr;
  ImageService* images = nullptr;
  Snapshotter* snapshotter = nullptr;
  Network* network = nullptr;
  NetnsDirectory* netns = nullptr;
  KeeperLauncher* launcher = nullptr;
  CgroupHost* cgroups = nullptr;
  Metrics* metrics = nullptr;
  Timers* timers = nullptr;  // their work runs on threads of its own: it may wait
  HostFeatures features;
  OomLog* oom_log = nullptr;
  CdiRegistry* cdi = nullptr;
  const Handlers* handlers = nullptr;

  std::string PodDirectory(const std::string& pod) const {
    return absl::StrCat(config->state, "/pods/", pod);
  }
  // Files named by a container's ID that hold its cgroup's path: written before the cgroup is made,
  // removed after it, so that a crash leaves no cgroup that nobody knows of.
  std::string CgroupIntents(const std::string& pod) const {
    return absl::StrCat(PodDirectory(pod), "/cgroups");
  }
  // What an external runtime has for a container: server/pods/external_runtime.h.
  std::string BundleDirectory(const std::string& pod, const std::string& container) const {
    return absl::StrCat(PodDirectory(pod), "/oci/", container);
  }
  // Where containers go whose pod names no cgroup parent.
  std::string DefaultCgroupParent() const {
    const std::string of_driver = cgroups->DefaultParent();
    return of_driver.empty() ? absl::StrCat("/berth-", instance.str()) : of_driver;
  }
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_NODE_H_
