// What running containers and ready pods use, for the CRI's statistics and metrics.
//
// docs/statistics.md says where each number comes from. In short: containers by their cgroups; a pod
// by the cgroup that kubelet gave it, if it is this pod's alone, else by the sum of its containers;
// networks by the pod's namespace; disks by WritableLayers. Cgroup files and /proc/PID/net/dev stay
// open from the first reading on, until the container has ended or the pod is not ready any more.
//
// Nothing is sampled while nobody asks. A reading waits for no disk, no keeper and no CNI plugin.
//
// What has ended meanwhile is left out of a list; of one thing asked for by its id it is an error.
#ifndef BERTH_SERVER_STATISTICS_STATISTICS_H_
#define BERTH_SERVER_STATISTICS_STATISTICS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "runtime/cgroup.h"
#include "server/cri/api.h"
#include "server/statistics/cpu_rate.h"
#include "server/statistics/interface_counters.h"
#include "server/statistics/metric_series.h"
#include "server/statistics/writable_layers.h"
#include "server/store/store.h"
#include "snapshotter/snapshotter.h"

namespace berth {

// Thread-safe. It outlives the store's last change.
class Statistics : public StoreListener {
 public:
  // Borrowed. `filesystem` is the directory that ImageFsInfo names: what writable layers are on.
  Statistics(Store* store, const CgroupHost* cgroups, const Snapshotter* snapshotter,
             std::string filesystem);

  // By full id. NotFound; FailedPrecondition if it doesn't run.
  absl::StatusOr<cri::ContainerStats> OfContainer(const ContainerId& id);
  absl::StatusOr<cri::PodSandboxStats> OfPod(const PodId& id);

  // Each running container and each ready pod that matches, one at a time, until `take` returns
  // false. Ids in filters are full ones.
  void ForEachContainer(const cri::ContainerStatsFilter& filter,
                        absl::FunctionRef<bool(cri::ContainerStats)> take);
  void ForEachPod(const cri::PodSandboxStatsFilter& filter,
                  absl::FunctionRef<bool(cri::PodSandboxStats)> take);
  // The series of each ready pod and its running containers.
  void ForEachPodMetrics(absl::FunctionRef<bool(cri::PodSandboxMetrics)> take);

  void OnPod(const PodRecordPtr& before, const PodRecordPtr& after) override;
  void OnContainer(const ContainerRecordPtr& before, const ContainerRecordPtr& after) override;

 private:
  // What is kept of a cgroup between readings.
  struct Source {
    std::unique_ptr<CgroupReader> cgroup;    // of a pod: null if it has none of its own
    std::unique_ptr<NetworkReader> network;  // of a pod with a network of its own
    Mutex mu;
    CpuRate rate ABSL_GUARDED_BY(mu);
  };
  using Sources = absl::flat_hash_map<std::string, std::shared_ptr<Source>>;
  // The pods' own cgroups: those that one ready pod alone has named as its parent.
  using OwnCgroups = absl::flat_hash_map<std::string, std::string>;  // pod id → path

  std::shared_ptr<Source> SourceOf(const store::v1::ContainerRecord& container);
  std::shared_ptr<Source> SourceOf(const store::v1::PodRecord& pod, const std::string& cgroup);
  // The records of one list, looked up once.
  struct View {
    std::vector<PodRecordPtr> pods;                                             // the ready ones
    absl::flat_hash_map<std::string, std::vector<ContainerRecordPtr>> running;  // by pod id
    OwnCgroups own_cgroups;
  };
  View Look() const;
  OwnCgroups FindOwnCgroups(const std::vector<PodRecordPtr>& pods) const;

  cri::ContainerStats ContainerStatsOf(const store::v1::ContainerRecord& container,
                                       CgroupStats* stats);
  cri::PodSandboxStats PodStatsOf(const store::v1::PodRecord& pod, const View& view);
  cri::PodSandboxMetrics MetricsOf(const store::v1::PodRecord& pod, const View& view);
  cri::ContainerMetrics MetricsOf(const store::v1::PodRecord& pod,
                                  const store::v1::ContainerRecord& container);
  ProcessFacts ProcessesOf(const store::v1::ContainerRecord& container) const;
  FilesystemFacts FilesystemOf(const store::v1::ContainerRecord& container);

  Store* const store_;
  const CgroupHost* const cgroups_;
  const std::string filesystem_;
  WritableLayers layers_;

  Mutex mu_;  // after the store's
  Sources containers_ ABSL_GUARDED_BY(mu_);
  Sources pods_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_STATISTICS_STATISTICS_H_
