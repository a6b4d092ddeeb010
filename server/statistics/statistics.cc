#include "server/statistics/statistics.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "server/cri/filters.h"
#include "server/statistics/cri_usage.h"

namespace berth {
namespace {

// Descriptors that are looked at for one container's metrics. Where there are more, they are not told.
constexpr uint64_t kMostDescriptors = 20'000;

bool Running(const ContainerRecordPtr& record) {
  return record != nullptr && record->state() == store::v1::CONTAINER_STATE_RUNNING;
}
bool Ready(const PodRecordPtr& record) {
  return record != nullptr && record->state() == store::v1::POD_STATE_READY;
}

template <typename Record, typename Attributes>
void SetAttributes(const Record& record, Attributes* attributes) {
  attributes->set_id(record.id());
  *attributes->mutable_metadata() = record.config().metadata();
  *attributes->mutable_labels() = record.config().labels();
  *attributes->mutable_annotations() = record.config().annotations();
}

// Adds what process `pid` has open. False when there is more than anybody wants to count.
bool CountDescriptors(pid_t pid, uint64_t* descriptors, uint64_t* sockets) {
  DIR* directory = opendir(absl::StrCat("/proc/", pid, "/fd").c_str());
  if (directory == nullptr) return true;  // it has ended
  absl::Cleanup closer = [directory] { closedir(directory); };
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    if (++*descriptors > kMostDescriptors) return false;
    char target[16];
    const ssize_t size = readlinkat(dirfd(directory), entry->d_name, target, sizeof target);
    if (size > 0 &&
        absl::StartsWith(absl::string_view(target, static_cast<size_t>(size)), "socket:")) {
      ++*sockets;
    }
  }
  return true;
}

}  // namespace

Statistics::Statistics(Store* store, const CgroupHost* cgroups, const Snapshotter* snapshotter,
                       std::string filesystem)
    : store_(store),
      cgroups_(cgroups),
      filesystem_(std::move(filesystem)),
      layers_([snapshotter](const SnapshotId& id, const Cancellation& cancellation) {
        return snapshotter->Usage(id, cancellation);
      }) {
  store->AddListener(this);
}

void Statistics::OnPod(const PodRecordPtr& before, const PodRecordPtr& after) {
  if (Ready(after) || before == nullptr) return;
  MutexLock lock(&mu_);
  pods_.erase(before->id());
}

void Statistics::OnContainer(const ContainerRecordPtr& before, const ContainerRecordPtr& after) {
  if (Running(after) || before == nullptr) return;
  {
    MutexLock lock(&mu_);
    containers_.erase(before->id());
  }
  layers_.Forget(SnapshotId(before->snapshot_id()));
}

std::shared_ptr<Statistics::Source> Statistics::SourceOf(
    const store::v1::ContainerRecord& container) {
  {
    MutexLock lock(&mu_);
    const auto found = containers_.find(container.id());
    if (found != containers_.end()) return found->second;
  }
  auto source = std::make_shared<Source>();
  source->cgroup = cgroups_->NewReader(container.cgroup_path());
  // The store is asked before it is kept: what has ended since is not, as nobody would drop it.
  const bool keep = Running(store_->Container(ContainerId(container.id())));
  MutexLock lock(&mu_);
  return keep ? containers_.try_emplace(container.id(), source).first->second : source;
}

std::shared_ptr<Statistics::Source> Statistics::SourceOf(const store::v1::PodRecord& pod,
                                                         const std::string& cgroup) {
  {
    MutexLock lock(&mu_);
    const auto found = pods_.find(pod.id());
    if (found != pods_.end() && (found->second->cgroup != nullptr) == !cgroup.empty()) {
      return found->second;
    }
  }
  auto source = std::make_shared<Source>();
  if (!cgroup.empty()) source->cgroup = cgroups_->NewReader(cgroup);
  if (pod.namespaces().network() == cri::POD) {
    source->network = std::make_unique<NetworkReader>(pod.keeper().pid());
  }
  const bool keep = Ready(store_->Pod(PodId(pod.id())));
  MutexLock lock(&mu_);
  if (keep) pods_[pod.id()] = source;
  return source;
}

Statistics::View Statistics::Look() const {
  View view;
  for (PodRecordPtr& pod : store_->Pods()) {
    if (Ready(pod)) view.pods.push_back(std::move(pod));
  }
  for (ContainerRecordPtr& container : store_->Containers()) {
    if (Running(container)) view.running[container->pod_id()].push_back(std::move(container));
  }
  view.own_cgroups = FindOwnCgroups(view.pods);
  return view;
}

Statistics::OwnCgroups Statistics::FindOwnCgroups(const std::vector<PodRecordPtr>& pods) const {
  absl::flat_hash_map<std::string, std::vector<std::string>> pods_of;  // by their parent
  for (const PodRecordPtr& pod : pods) pods_of[pod->cgroup_parent()].push_back(pod->id());
  OwnCgroups own;
  for (const auto& [parent, ids] : pods_of) {
    if (ids.size() != 1) continue;
    // The parent as a path, however the driver spells it.
    const auto below = cgroups_->PathFor(parent, ids.front());
    if (!below.ok()) continue;
    const std::string path = below->substr(0, below->rfind('/'));
    if (!path.empty()) own[ids.front()] = path;
  }
  return own;
}

cri::ContainerStats Statistics::ContainerStatsOf(const store::v1::ContainerRecord& container,
                                                 CgroupStats* stats) {
  const std::shared_ptr<Source> source = SourceOf(container);
  *stats = source->cgroup->ReadMain();
  const int64_t now = absl::GetCurrentTimeNanos();
  Count rate;
  if (stats->cpu.usage_ns.has_value()) {
    MutexLock lock(&source->mu);
    rate = source->rate.Sample(now, *stats->cpu.usage_ns);
  }
  cri::ContainerStats result;
  SetAttributes(container, result.mutable_attributes());
  *result.mutable_cpu() = CpuUsageOf(stats->cpu, rate, now);
  *result.mutable_memory() = MemoryUsageOf(stats->memory, now);
  *result.mutable_swap() = SwapUsageOf(stats->memory, now);
  if (stats->io.pressure.has_value()) *result.mutable_io() = IoUsageOf(stats->io, now);

  cri::FilesystemUsage* layer = result.mutable_writable_layer();
  layer->mutable_fs_id()->set_mountpoint(filesystem_);
  layer->set_timestamp(now);
  if (const auto known = layers_.Get(SnapshotId(container.snapshot_id())); known.has_value()) {
    layer->set_timestamp(absl::ToUnixNanos(known->at));
    layer->mutable_used_bytes()->set_value(known->usage.bytes);
    layer->mutable_inodes_used()->set_value(known->usage.inodes);
  }
  return result;
}

cri::PodSandboxStats Statistics::PodStatsOf(const store::v1::PodRecord& pod, const View& view) {
  cri::PodSandboxStats result;
  SetAttributes(pod, result.mutable_attributes());
  cri::LinuxPodSandboxStats* linux_stats = result.mutable_linux();
  CgroupStats sum;
  if (const auto running = view.running.find(pod.id()); running != view.running.end()) {
    for (const ContainerRecordPtr& container : running->second) {
      CgroupStats stats;
      *linux_stats->add_containers() = ContainerStatsOf(*container, &stats);
      AddUp(stats, &sum);
    }
  }
  const auto cgroup = view.own_cgroups.find(pod.id());
  const std::shared_ptr<Source> source =
      SourceOf(pod, cgroup == view.own_cgroups.end() ? "" : cgroup->second);
  CgroupStats stats = sum;
  if (source->cgroup != nullptr) {
    stats = source->cgroup->ReadMain();
    // Not there yet: it is made with the first container.
    if (!stats.cpu.usage_ns.has_value()) stats = sum;
  }
  const int64_t now = absl::GetCurrentTimeNanos();
  Count rate;
  if (stats.cpu.usage_ns.has_value()) {
    MutexLock lock(&source->mu);
    rate = source->rate.Sample(now, *stats.cpu.usage_ns);
  }
  *linux_stats->mutable_cpu() = CpuUsageOf(stats.cpu, rate, now);
  *linux_stats->mutable_memory() = MemoryUsageOf(stats.memory, now);
  if (stats.io.pressure.has_value()) *linux_stats->mutable_io() = IoUsageOf(stats.io, now);
  linux_stats->mutable_process()->set_timestamp(now);
  linux_stats->mutable_process()->mutable_process_count()->set_value(
      stats.pids.current.value_or(0));
  if (source->network != nullptr) {
    *linux_stats->mutable_network() = NetworkUsageOf(source->network->Read(), now);
  }
  return result;
}

absl::StatusOr<cri::ContainerStats> Statistics::OfContainer(const ContainerId& id) {
  const ContainerRecordPtr container = store_->Container(id);
  if (container == nullptr) {
    return absl::NotFoundError(absl::StrCat("container ", id.str(), " not found"));
  }
  if (!Running(container)) {
    return absl::FailedPreconditionError(absl::StrCat("container ", id.str(), " is ",
                                                      ContainerStateName(container->state()),
                                                      ": only a running one has statistics"));
  }
  CgroupStats stats;
  return ContainerStatsOf(*container, &stats);
}

absl::StatusOr<cri::PodSandboxStats> Statistics::OfPod(const PodId& id) {
  const PodRecordPtr pod = store_->Pod(id);
  if (pod == nullptr) return absl::NotFoundError(absl::StrCat("pod ", id.str(), " not found"));
  if (!Ready(pod)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "pod ", id.str(), " is ", PodStateName(pod->state()), ": only a ready one has statistics"));
  }
  return PodStatsOf(*pod, Look());
}

void Statistics::ForEachContainer(const cri::ContainerStatsFilter& filter,
                                  absl::FunctionRef<bool(cri::ContainerStats)> take) {
  for (const ContainerRecordPtr& container : store_->Containers()) {
    if (!Running(container) ||
        !Matches(filter, container->id(), container->pod_id(), container->config().labels())) {
      continue;
    }
    CgroupStats stats;
    if (!take(ContainerStatsOf(*container, &stats))) return;
  }
}

void Statistics::ForEachPod(const cri::PodSandboxStatsFilter& filter,
                            absl::FunctionRef<bool(cri::PodSandboxStats)> take) {
  const View view = Look();
  for (const PodRecordPtr& pod : view.pods) {
    if (!Matches(filter, pod->id(), pod->config().labels())) continue;
    if (!take(PodStatsOf(*pod, view))) return;
  }
}

void Statistics::ForEachPodMetrics(absl::FunctionRef<bool(cri::PodSandboxMetrics)> take) {
  const View view = Look();
  for (const PodRecordPtr& pod : view.pods) {
    if (!take(MetricsOf(*pod, view))) return;
  }
}

cri::PodSandboxMetrics Statistics::MetricsOf(const store::v1::PodRecord& pod, const View& view) {
  cri::PodSandboxMetrics result;
  result.set_pod_sandbox_id(pod.id());
  const auto cgroup = view.own_cgroups.find(pod.id());
  const std::string path = cgroup == view.own_cgroups.end() ? "" : cgroup->second;
  const std::shared_ptr<Source> source = SourceOf(pod, path);
  MetricSeries series = MetricSeries::OfPod(pod, path, result.mutable_metrics());
  if (source->cgroup != nullptr) {
    CgroupStats stats = source->cgroup->ReadMain();
    source->cgroup->AddRest(&stats);
    if (stats.cpu.usage_ns.has_value()) series.AddCgroup(stats);
  }
  if (source->network != nullptr) series.AddNetwork(source->network->Read());
  if (const auto running = view.running.find(pod.id()); running != view.running.end()) {
    for (const ContainerRecordPtr& container : running->second) {
      *result.add_container_metrics() = MetricsOf(pod, *container);
    }
  }
  return result;
}

cri::ContainerMetrics Statistics::MetricsOf(const store::v1::PodRecord& pod,
                                            const store::v1::ContainerRecord& container) {
  const std::shared_ptr<Source> source = SourceOf(container);
  CgroupStats stats = source->cgroup->ReadMain();
  source->cgroup->AddRest(&stats);
  cri::ContainerMetrics metrics;
  metrics.set_container_id(container.id());
  MetricSeries series = MetricSeries::OfContainer(pod, container, metrics.mutable_metrics());
  series.AddCgroup(stats);
  series.AddProcesses(ProcessesOf(container));
  series.AddFilesystem(FilesystemOf(container));
  series.AddSpec(container);
  return metrics;
}

ProcessFacts Statistics::ProcessesOf(const store::v1::ContainerRecord& container) const {
  ProcessFacts facts;
  const auto pids = cgroups_->Processes(container.cgroup_path());
  if (!pids.ok()) return facts;
  facts.processes = pids->size();
  uint64_t descriptors = 0;
  uint64_t sockets = 0;
  bool all = true;
  for (const pid_t pid : *pids) all = all && CountDescriptors(pid, &descriptors, &sockets);
  if (all) {
    facts.descriptors = descriptors;
    facts.sockets = sockets;
  }
  rlimit limit;
  if (container.init().pid() > 0 &&
      prlimit(container.init().pid(), RLIMIT_NOFILE, nullptr, &limit) == 0 &&
      limit.rlim_cur != RLIM_INFINITY) {
    facts.open_files_limit = limit.rlim_cur;
  }
  return facts;
}

FilesystemFacts Statistics::FilesystemOf(const store::v1::ContainerRecord& container) {
  FilesystemFacts facts;
  struct stat info;
  if (stat(filesystem_.c_str(), &info) == 0) {
    facts.device = DeviceName(major(info.st_dev), minor(info.st_dev));
  }
  struct statvfs space;
  if (statvfs(filesystem_.c_str(), &space) == 0) {
    facts.bytes = static_cast<uint64_t>(space.f_blocks) * space.f_frsize;
    facts.inodes = space.f_files;
    facts.free_inodes = space.f_ffree;
  }
  if (const auto known = layers_.Get(SnapshotId(container.snapshot_id())); known.has_value()) {
    facts.used_bytes = known->usage.bytes;
  }
  return facts;
}

}  // namespace berth
