#include "server/statistics/metric_series.h"

#include <limits.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace berth {

struct SeriesDefinition {
  const char* name;
  cri::MetricType type;
  const char* help;
  const char* labels[4];  // beyond the common ones; null after the last
};

namespace {

constexpr uint64_t kNanosPerSecond = 1'000'000'000;
constexpr uint64_t kNanosPerMicro = 1000;
constexpr int64_t kDefaultShares = 1024;
constexpr int64_t kDefaultPeriodUs = 100'000;

constexpr const char* kCommonLabels[] = {"container", "id", "image", "name", "namespace", "pod"};

// clang-format off
constexpr SeriesDefinition kCpuUsage = {
    "container_cpu_usage_seconds_total", cri::COUNTER,
    "CPU time used, in seconds.", {"cpu"}};
constexpr SeriesDefinition kCpuUser = {
    "container_cpu_user_seconds_total", cri::COUNTER,
    "CPU time used in user mode, in seconds.", {}};
constexpr SeriesDefinition kCpuSystem = {
    "container_cpu_system_seconds_total", cri::COUNTER,
    "CPU time used in kernel mode, in seconds.", {}};
constexpr SeriesDefinition kCfsPeriods = {
    "container_cpu_cfs_periods_total", cri::COUNTER,
    "Enforcement periods of the CPU quota that have passed.", {}};
constexpr SeriesDefinition kCfsThrottledPeriods = {
    "container_cpu_cfs_throttled_periods_total", cri::COUNTER,
    "Enforcement periods in which tasks were throttled.", {}};
constexpr SeriesDefinition kCfsThrottled = {
    "container_cpu_cfs_throttled_seconds_total", cri::COUNTER,
    "Time that tasks were throttled, in seconds.", {}};
constexpr SeriesDefinition kMemoryUsage = {
    "container_memory_usage_bytes", cri::GAUGE,
    "Memory in use, page cache included.", {}};
constexpr SeriesDefinition kMemoryMaxUsage = {
    "container_memory_max_usage_bytes", cri::GAUGE,
    "The most memory that was ever in use.", {}};
constexpr SeriesDefinition kMemoryWorkingSet = {
    "container_memory_working_set_bytes", cri::GAUGE,
    "Memory in use without inactive page cache.", {}};
constexpr SeriesDefinition kMemoryRss = {
    "container_memory_rss", cri::GAUGE,
    "Anonymous memory in use, in bytes.", {}};
constexpr SeriesDefinition kMemoryCache = {
    "container_memory_cache", cri::GAUGE,
    "Page cache in use, in bytes.", {}};
constexpr SeriesDefinition kMemoryMapped = {
    "container_memory_mapped_file", cri::GAUGE,
    "Page cache that is mapped by processes, in bytes.", {}};
constexpr SeriesDefinition kMemoryActiveFile = {
    "container_memory_total_active_file_bytes", cri::GAUGE,
    "Page cache that was used lately.", {}};
constexpr SeriesDefinition kMemoryInactiveFile = {
    "container_memory_total_inactive_file_bytes", cri::GAUGE,
    "Page cache that was not used lately.", {}};
constexpr SeriesDefinition kMemoryKernel = {
    "container_memory_kernel_usage", cri::GAUGE,
    "Kernel memory in use, in bytes.", {}};
constexpr SeriesDefinition kMemorySwap = {
    "container_memory_swap", cri::GAUGE,
    "Swap space in use, in bytes.", {}};
constexpr SeriesDefinition kMemoryFailcnt = {
    "container_memory_failcnt", cri::COUNTER,
    "How often memory use hit its limit.", {}};
constexpr SeriesDefinition kMemoryFailures = {
    "container_memory_failures_total", cri::COUNTER,
    "Page faults.", {"failure_type", "scope"}};
constexpr SeriesDefinition kOomEvents = {
    "container_oom_events_total", cri::COUNTER,
    "Processes that the OOM killer ended.", {}};
constexpr SeriesDefinition kHugetlbUsage = {
    "container_hugetlb_usage_bytes", cri::GAUGE,
    "Huge pages in use, in bytes.", {"pagesize"}};
constexpr SeriesDefinition kHugetlbMaxUsage = {
    "container_hugetlb_max_usage_bytes", cri::GAUGE,
    "The most huge pages that were ever in use, in bytes.", {"pagesize"}};
constexpr SeriesDefinition kPressureCpuWaiting = {
    "container_pressure_cpu_waiting_seconds_total", cri::COUNTER,
    "Time in which a task waited for a CPU, in seconds.", {}};
constexpr SeriesDefinition kPressureCpuStalled = {
    "container_pressure_cpu_stalled_seconds_total", cri::COUNTER,
    "Time in which all tasks waited for a CPU, in seconds.", {}};
constexpr SeriesDefinition kPressureMemoryWaiting = {
    "container_pressure_memory_waiting_seconds_total", cri::COUNTER,
    "Time in which a task waited for memory, in seconds.", {}};
constexpr SeriesDefinition kPressureMemoryStalled = {
    "container_pressure_memory_stalled_seconds_total", cri::COUNTER,
    "Time in which all tasks waited for memory, in seconds.", {}};
constexpr SeriesDefinition kPressureIoWaiting = {
    "container_pressure_io_waiting_seconds_total", cri::COUNTER,
    "Time in which a task waited for I/O, in seconds.", {}};
constexpr SeriesDefinition kPressureIoStalled = {
    "container_pressure_io_stalled_seconds_total", cri::COUNTER,
    "Time in which all tasks waited for I/O, in seconds.", {}};
constexpr SeriesDefinition kFsReadBytes = {
    "container_fs_reads_bytes_total", cri::COUNTER,
    "Bytes read from a block device.", {"device"}};
constexpr SeriesDefinition kFsReads = {
    "container_fs_reads_total", cri::COUNTER,
    "Reads from a block device.", {"device"}};
constexpr SeriesDefinition kFsWrittenBytes = {
    "container_fs_writes_bytes_total", cri::COUNTER,
    "Bytes written to a block device.", {"device"}};
constexpr SeriesDefinition kFsWrites = {
    "container_fs_writes_total", cri::COUNTER,
    "Writes to a block device.", {"device"}};
constexpr SeriesDefinition kBlkio = {
    "container_blkio_device_usage_total", cri::COUNTER,
    "Bytes moved from and to a block device.", {"device", "major", "minor", "operation"}};
constexpr SeriesDefinition kFsUsage = {
    "container_fs_usage_bytes", cri::GAUGE,
    "What the container has written to its own layer, in bytes.", {"device"}};
constexpr SeriesDefinition kFsLimit = {
    "container_fs_limit_bytes", cri::GAUGE,
    "The size of the file system of that layer.", {"device"}};
constexpr SeriesDefinition kFsInodes = {
    "container_fs_inodes_total", cri::GAUGE,
    "The inodes of that file system.", {"device"}};
constexpr SeriesDefinition kFsInodesFree = {
    "container_fs_inodes_free", cri::GAUGE,
    "The free inodes of that file system.", {"device"}};
constexpr SeriesDefinition kRxBytes = {
    "container_network_receive_bytes_total", cri::COUNTER,
    "Bytes received.", {"interface"}};
constexpr SeriesDefinition kRxPackets = {
    "container_network_receive_packets_total", cri::COUNTER,
    "Packets received.", {"interface"}};
constexpr SeriesDefinition kRxDropped = {
    "container_network_receive_packets_dropped_total", cri::COUNTER,
    "Packets dropped while receiving.", {"interface"}};
constexpr SeriesDefinition kRxErrors = {
    "container_network_receive_errors_total", cri::COUNTER,
    "Errors while receiving.", {"interface"}};
constexpr SeriesDefinition kTxBytes = {
    "container_network_transmit_bytes_total", cri::COUNTER,
    "Bytes sent.", {"interface"}};
constexpr SeriesDefinition kTxPackets = {
    "container_network_transmit_packets_total", cri::COUNTER,
    "Packets sent.", {"interface"}};
constexpr SeriesDefinition kTxDropped = {
    "container_network_transmit_packets_dropped_total", cri::COUNTER,
    "Packets dropped while sending.", {"interface"}};
constexpr SeriesDefinition kTxErrors = {
    "container_network_transmit_errors_total", cri::COUNTER,
    "Errors while sending.", {"interface"}};
constexpr SeriesDefinition kProcesses = {
    "container_processes", cri::GAUGE,
    "Processes.", {}};
constexpr SeriesDefinition kThreads = {
    "container_threads", cri::GAUGE,
    "Tasks: processes and their threads.", {}};
constexpr SeriesDefinition kThreadsMax = {
    "container_threads_max", cri::GAUGE,
    "The limit of tasks; 0 for none.", {}};
constexpr SeriesDefinition kFileDescriptors = {
    "container_file_descriptors", cri::GAUGE,
    "Open file descriptors of all processes.", {}};
constexpr SeriesDefinition kSockets = {
    "container_sockets", cri::GAUGE,
    "Those of them that are sockets.", {}};
constexpr SeriesDefinition kUlimits = {
    "container_ulimits_soft", cri::GAUGE,
    "The soft limits of the main process.", {"ulimit"}};
constexpr SeriesDefinition kLastSeen = {
    "container_last_seen", cri::GAUGE,
    "When the series were made, in seconds since 1970.", {}};
constexpr SeriesDefinition kStartTime = {
    "container_start_time_seconds", cri::GAUGE,
    "When the container was started, in seconds since 1970.", {}};
constexpr SeriesDefinition kSpecCpuPeriod = {
    "container_spec_cpu_period", cri::GAUGE,
    "The period of the CPU quota, in microseconds.", {}};
constexpr SeriesDefinition kSpecCpuQuota = {
    "container_spec_cpu_quota", cri::GAUGE,
    "The CPU quota, in microseconds.", {}};
constexpr SeriesDefinition kSpecCpuShares = {
    "container_spec_cpu_shares", cri::GAUGE,
    "The CPU shares.", {}};
constexpr SeriesDefinition kSpecMemoryLimit = {
    "container_spec_memory_limit_bytes", cri::GAUGE,
    "The memory limit; 0 for none.", {}};
constexpr SeriesDefinition kSpecMemoryReservation = {
    "container_spec_memory_reservation_limit_bytes", cri::GAUGE,
    "The memory that is protected; 0 for none.", {}};
constexpr SeriesDefinition kSpecMemorySwap = {
    "container_spec_memory_swap_limit_bytes", cri::GAUGE,
    "The limit of memory and swap together; 0 for none.", {}};
// clang-format on

constexpr const SeriesDefinition* kAll[] = {
    &kCpuUsage,
    &kCpuUser,
    &kCpuSystem,
    &kCfsPeriods,
    &kCfsThrottledPeriods,
    &kCfsThrottled,
    &kMemoryUsage,
    &kMemoryMaxUsage,
    &kMemoryWorkingSet,
    &kMemoryRss,
    &kMemoryCache,
    &kMemoryMapped,
    &kMemoryActiveFile,
    &kMemoryInactiveFile,
    &kMemoryKernel,
    &kMemorySwap,
    &kMemoryFailcnt,
    &kMemoryFailures,
    &kOomEvents,
    &kHugetlbUsage,
    &kHugetlbMaxUsage,
    &kPressureCpuWaiting,
    &kPressureCpuStalled,
    &kPressureMemoryWaiting,
    &kPressureMemoryStalled,
    &kPressureIoWaiting,
    &kPressureIoStalled,
    &kFsReadBytes,
    &kFsReads,
    &kFsWrittenBytes,
    &kFsWrites,
    &kBlkio,
    &kFsUsage,
    &kFsLimit,
    &kFsInodes,
    &kFsInodesFree,
    &kRxBytes,
    &kRxPackets,
    &kRxDropped,
    &kRxErrors,
    &kTxBytes,
    &kTxPackets,
    &kTxDropped,
    &kTxErrors,
    &kProcesses,
    &kThreads,
    &kThreadsMax,
    &kFileDescriptors,
    &kSockets,
    &kUlimits,
    &kLastSeen,
    &kStartTime,
    &kSpecCpuPeriod,
    &kSpecCpuQuota,
    &kSpecCpuShares,
    &kSpecMemoryLimit,
    &kSpecMemoryReservation,
    &kSpecMemorySwap,
};

// A limit as the CRI has it, where what is not positive is none.
Count LimitOf(int64_t value) { return value > 0 ? static_cast<uint64_t>(value) : 0; }

}  // namespace

std::vector<cri::MetricDescriptor> MetricDescriptors() {
  std::vector<cri::MetricDescriptor> descriptors;
  for (const SeriesDefinition* series : kAll) {
    cri::MetricDescriptor& descriptor = descriptors.emplace_back();
    descriptor.set_name(series->name);
    descriptor.set_help(series->help);
    for (const char* label : kCommonLabels) descriptor.add_label_keys(label);
    for (const char* label : series->labels) {
      if (label != nullptr) descriptor.add_label_keys(label);
    }
  }
  return descriptors;
}

MetricSeries::MetricSeries(std::vector<std::string> labels, Metrics* out)
    : labels_(std::move(labels)), timestamp_(absl::GetCurrentTimeNanos()), out_(out) {}

MetricSeries MetricSeries::OfPod(const store::v1::PodRecord& pod, const std::string& cgroup,
                                 Metrics* out) {
  const cri::PodSandboxMetadata& metadata = pod.config().metadata();
  return MetricSeries({"", cgroup, "", pod.id(), metadata.namespace_(), metadata.name()}, out);
}

MetricSeries MetricSeries::OfContainer(const store::v1::PodRecord& pod,
                                       const store::v1::ContainerRecord& container, Metrics* out) {
  const cri::PodSandboxMetadata& metadata = pod.config().metadata();
  return MetricSeries(
      {container.config().metadata().name(), container.cgroup_path(), container.user_image(),
       container.id(), metadata.namespace_(), metadata.name()},
      out);
}

void MetricSeries::Add(const SeriesDefinition& series, Count value,
                       const std::vector<std::string>& labels) {
  if (!value.has_value()) return;
  cri::Metric* metric = out_->Add();
  metric->set_name(series.name);
  metric->set_timestamp(timestamp_);
  metric->set_metric_type(series.type);
  metric->mutable_label_values()->Assign(labels_.begin(), labels_.end());
  metric->mutable_label_values()->Add(labels.begin(), labels.end());
  metric->mutable_value()->set_value(*value);
}

void MetricSeries::AddSeconds(const SeriesDefinition& series, Count nanoseconds,
                              const std::vector<std::string>& labels) {
  if (nanoseconds.has_value()) Add(series, *nanoseconds / kNanosPerSecond, labels);
}

void MetricSeries::AddCgroup(const CgroupStats& stats) {
  Add(kLastSeen, static_cast<uint64_t>(timestamp_) / kNanosPerSecond);
  AddCpu(stats.cpu);
  AddMemory(stats.memory);
  AddIo(stats.io);
  for (const HugetlbUse& hugetlb : stats.hugetlb) {
    Add(kHugetlbUsage, hugetlb.usage, {hugetlb.page_size});
    Add(kHugetlbMaxUsage, hugetlb.max_usage, {hugetlb.page_size});
  }
  AddPressure(kPressureCpuWaiting, kPressureCpuStalled, stats.cpu.pressure);
  AddPressure(kPressureMemoryWaiting, kPressureMemoryStalled, stats.memory.pressure);
  AddPressure(kPressureIoWaiting, kPressureIoStalled, stats.io.pressure);
  Add(kThreads, stats.pids.current);
  if (stats.pids.current.has_value()) Add(kThreadsMax, stats.pids.limit.value_or(0));
}

void MetricSeries::AddCpu(const CpuUse& cpu) {
  AddSeconds(kCpuUsage, cpu.usage_ns, {"total"});
  AddSeconds(kCpuUser, cpu.user_ns);
  AddSeconds(kCpuSystem, cpu.system_ns);
  Add(kCfsPeriods, cpu.periods);
  Add(kCfsThrottledPeriods, cpu.throttled_periods);
  AddSeconds(kCfsThrottled, cpu.throttled_ns);
}

void MetricSeries::AddMemory(const MemoryUse& memory) {
  Add(kMemoryUsage, memory.usage);
  Add(kMemoryMaxUsage, memory.max_usage);
  Add(kMemoryWorkingSet, memory.WorkingSet());
  Add(kMemoryRss, memory.rss);
  Add(kMemoryCache, memory.cache);
  Add(kMemoryMapped, memory.mapped_file);
  Add(kMemoryActiveFile, memory.active_file);
  Add(kMemoryInactiveFile, memory.inactive_file);
  Add(kMemoryKernel, memory.kernel);
  Add(kMemorySwap, memory.swap);
  Add(kMemoryFailcnt, memory.limit_hits);
  // Ours count sub-cgroups, so a container is its own hierarchy.
  for (const char* scope : {"container", "hierarchy"}) {
    Add(kMemoryFailures, memory.page_faults, {"pgfault", scope});
    Add(kMemoryFailures, memory.major_page_faults, {"pgmajfault", scope});
  }
  Add(kOomEvents, memory.oom_kills);
}

void MetricSeries::AddIo(const IoUse& io) {
  for (const DeviceUse& use : io.devices) {
    const std::string device = DeviceName(use.major, use.minor);
    Add(kFsReadBytes, use.read_bytes, {device});
    Add(kFsReads, use.reads, {device});
    Add(kFsWrittenBytes, use.written_bytes, {device});
    Add(kFsWrites, use.writes, {device});
    for (const auto& [operation, bytes] :
         {std::make_pair("Read", use.read_bytes), std::make_pair("Write", use.written_bytes),
          std::make_pair("Discard", use.discarded_bytes)}) {
      Add(kBlkio, bytes, {device, absl::StrCat(use.major), absl::StrCat(use.minor), operation});
    }
  }
}

void MetricSeries::AddPressure(const SeriesDefinition& waiting, const SeriesDefinition& stalled,
                               const std::optional<Pressure>& pressure) {
  if (!pressure.has_value()) return;
  AddSeconds(waiting, pressure->some.total_us * kNanosPerMicro);
  AddSeconds(stalled, pressure->full.total_us * kNanosPerMicro);
}

void MetricSeries::AddNetwork(const std::vector<InterfaceCounters>& interfaces) {
  for (const InterfaceCounters& counters : interfaces) {
    Add(kRxBytes, counters.rx_bytes, {counters.name});
    Add(kRxPackets, counters.rx_packets, {counters.name});
    Add(kRxDropped, counters.rx_dropped, {counters.name});
    Add(kRxErrors, counters.rx_errors, {counters.name});
    Add(kTxBytes, counters.tx_bytes, {counters.name});
    Add(kTxPackets, counters.tx_packets, {counters.name});
    Add(kTxDropped, counters.tx_dropped, {counters.name});
    Add(kTxErrors, counters.tx_errors, {counters.name});
  }
}

void MetricSeries::AddProcesses(const ProcessFacts& facts) {
  Add(kProcesses, facts.processes);
  Add(kFileDescriptors, facts.descriptors);
  Add(kSockets, facts.sockets);
  Add(kUlimits, facts.open_files_limit, {"max_open_files"});
}

void MetricSeries::AddFilesystem(const FilesystemFacts& facts) {
  Add(kFsUsage, facts.used_bytes, {facts.device});
  Add(kFsLimit, facts.bytes, {facts.device});
  Add(kFsInodes, facts.inodes, {facts.device});
  Add(kFsInodesFree, facts.free_inodes, {facts.device});
}

void MetricSeries::AddSpec(const store::v1::ContainerRecord& container) {
  const cri::LinuxContainerResources& resources = container.resources();
  Add(kStartTime, static_cast<uint64_t>(container.started_at_ns()) / kNanosPerSecond);
  Add(kSpecCpuPeriod,
      LimitOf(resources.cpu_period() > 0 ? resources.cpu_period() : kDefaultPeriodUs));
  if (resources.cpu_quota() > 0) Add(kSpecCpuQuota, LimitOf(resources.cpu_quota()));
  Add(kSpecCpuShares,
      LimitOf(resources.cpu_shares() > 0 ? resources.cpu_shares() : kDefaultShares));
  Add(kSpecMemoryLimit, LimitOf(resources.memory_limit_in_bytes()));
  Add(kSpecMemorySwap, LimitOf(resources.memory_swap_limit_in_bytes()));
  int64_t protected_bytes = 0;
  if (const auto found = resources.unified().find("memory.min");
      found != resources.unified().end() && !absl::SimpleAtoi(found->second, &protected_bytes)) {
    protected_bytes = 0;
  }
  Add(kSpecMemoryReservation, LimitOf(protected_bytes));
}

std::string DeviceName(uint32_t major, uint32_t minor) {
  const std::string numbers = absl::StrCat(major, ":", minor);
  char target[PATH_MAX];
  const ssize_t size =
      readlink(absl::StrCat("/sys/dev/block/", numbers).c_str(), target, sizeof target);
  if (size <= 0) return numbers;
  const absl::string_view link(target, static_cast<size_t>(size));
  return absl::StrCat("/dev/", link.substr(link.rfind('/') + 1));
}

}  // namespace berth
