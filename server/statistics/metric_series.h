// The series of ListPodSandboxMetrics: what cAdvisor gives for a pod and a container, under cAdvisor's
// names, so that dashboards and rules made for it go on working. docs/statistics.md lists them.
//
// Labels. Every series begins with `container`, `id`, `image`, `name`, `namespace` and `pod` (the order
// in which cAdvisor's series show them); what a series has besides follows. `id` is the cgroup's path,
// `name` the container's or the sandbox's id. A pod's own series have an empty `container` and `image`.
//
// The CRI carries whole numbers only: seconds are rounded down.
//
// A value that the kernel doesn't give has no series.
#ifndef BERTH_SERVER_STATISTICS_METRIC_SERIES_H_
#define BERTH_SERVER_STATISTICS_METRIC_SERIES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/cgroup_stats.h"
#include "server/cri/api.h"
#include "server/statistics/interface_counters.h"
#include "server/store/store.h"

namespace berth {

struct SeriesDefinition;

// Every series that there may be.
std::vector<cri::MetricDescriptor> MetricDescriptors();

struct ProcessFacts {
  Count processes;
  Count descriptors;
  Count sockets;
  Count open_files_limit;  // of the main process, soft
};

// The file system that the writable layer is on.
struct FilesystemFacts {
  std::string device;
  Count used_bytes;  // of the container
  Count bytes, inodes, free_inodes;
};

// Appends the series of one container or pod. Their timestamp is when it was made.
class MetricSeries {
 public:
  using Metrics = google::protobuf::RepeatedPtrField<cri::Metric>;
  static MetricSeries OfPod(const store::v1::PodRecord& pod, const std::string& cgroup,
                            Metrics* out);
  static MetricSeries OfContainer(const store::v1::PodRecord& pod,
                                  const store::v1::ContainerRecord& container, Metrics* out);

  void AddCgroup(const CgroupStats& stats);
  void AddNetwork(const std::vector<InterfaceCounters>& interfaces);
  void AddProcesses(const ProcessFacts& facts);
  void AddFilesystem(const FilesystemFacts& facts);
  void AddSpec(const store::v1::ContainerRecord& container);

 private:
  MetricSeries(std::vector<std::string> labels, Metrics* out);

  void Add(const SeriesDefinition& series, Count value,
           const std::vector<std::string>& labels = {});
  void AddSeconds(const SeriesDefinition& series, Count nanoseconds,
                  const std::vector<std::string>& labels = {});
  void AddCpu(const CpuUse& cpu);
  void AddMemory(const MemoryUse& memory);
  void AddIo(const IoUse& io);
  void AddPressure(const SeriesDefinition& waiting, const SeriesDefinition& stalled,
                   const std::optional<Pressure>& pressure);

  const std::vector<std::string> labels_;
  const int64_t timestamp_;
  Metrics* const out_;
};

// `/dev/sda` for 8:0; the numbers themselves if the kernel names no such device.
std::string DeviceName(uint32_t major, uint32_t minor);

}  // namespace berth

#endif  // BERTH_SERVER_STATISTICS_METRIC_SERIES_H_
