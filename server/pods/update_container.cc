// UpdateContainerResources, ReopenContainerLog.
#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "server/pods/container_log.h"
#include "server/pods/containers.h"

namespace berth {
namespace {

// `update` over `resources`, as CRI means it: what is zero or empty is not said. The OOM score is of the
// process that was started, and stays.
void Merge(cri::LinuxContainerResources update, cri::LinuxContainerResources* resources) {
  update.clear_oom_score_adj();
  for (const cri::HugepageLimit& limit : update.hugepage_limits()) {
    auto& all = *resources->mutable_hugepage_limits();
    const auto same = [&](const cri::HugepageLimit& old) {
      return old.page_size() == limit.page_size();
    };
    all.erase(std::remove_if(all.begin(), all.end(), same), all.end());
    *all.Add() = limit;
  }
  update.clear_hugepage_limits();
  resources->MergeFrom(update);
}

// What an update writes: what it says, and with half of a pair the other half as it is in force, since
// the kernel judges them together.
CgroupResources Pairs(CgroupResources asked, const CgroupResources& merged) {
  if (asked.memory_limit.has_value() || asked.memory_swap.has_value()) {
    asked.memory_limit = merged.memory_limit;
    asked.memory_swap = merged.memory_swap;
  }
  if (asked.cpu_quota.has_value() || asked.cpu_period.has_value()) {
    asked.cpu_quota = merged.cpu_quota;
    asked.cpu_period = merged.cpu_period;
  }
  return asked;
}

// The limits of before an update, for those that it writes.
CgroupResources Before(const CgroupResources& written, CgroupResources old) {
  constexpr int64_t kNone = -1;
  if (written.memory_limit.has_value() && !old.memory_limit.has_value()) old.memory_limit = kNone;
  if (written.memory_swap.has_value() && !old.memory_swap.has_value()) old.memory_swap = kNone;
  if (written.cpu_quota.has_value() && !old.cpu_quota.has_value()) old.cpu_quota = kNone;
  return old;
}

}  // namespace

absl::Status NotInState(const store::v1::ContainerRecord& record, absl::string_view wanted) {
  return absl::FailedPreconditionError(absl::StrCat(
      "container ", record.id(), " is ", ContainerStateName(record.state()), ", not ", wanted));
}

absl::Status Containers::UpdateResources(const CallContext& context,
                                         const cri::UpdateContainerResourcesRequest& request) {
  ASSIGN_OR_RETURN(ContainerRecordPtr record, node_.store->FindContainer(request.container_id()));
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(record->id(), "update", context.deadline()));
  record = node_.store->Container(ContainerId(record->id()));
  if (record == nullptr) {
    return absl::NotFoundError(absl::StrCat("container ", request.container_id(), " not found"));
  }
  if (record->state() == store::v1::CONTAINER_STATE_EXITED) {
    return NotInState(*record, "created or running");
  }
  ASSIGN_OR_RETURN(const CgroupResources old, ResourcesFromCri(record->resources(), "resources"));
  ASSIGN_OR_RETURN(const CgroupResources asked, ResourcesFromCri(request.linux(), "linux"));
  cri::LinuxContainerResources resources = record->resources();
  Merge(request.linux(), &resources);
  ASSIGN_OR_RETURN(const CgroupResources merged, ResourcesFromCri(resources, "linux"));

  const CgroupResources limits = Pairs(asked, merged);
  const std::string& cgroup = record->cgroup_path();
  absl::Cleanup restore = [&] {
    if (!node_.cgroups->Exists(cgroup)) return;
    if (absl::Status status = node_.cgroups->Apply(cgroup, Before(limits, old)); !status.ok()) {
      LogWarning("undo of an update of container ", record->id(), ": ", status.message(),
                 ", ignoring");
    }
  };
  if (node_.cgroups->Exists(cgroup)) RETURN_IF_ERROR(node_.cgroups->Apply(cgroup, limits));
  // Only updates change the resources, but the container may have ended meanwhile.
  const auto update = [&resources](store::v1::ContainerRecord* updated) {
    *updated->mutable_resources() = resources;
    return true;
  };
  RETURN_IF_ERROR(node_.store->UpdateContainer(ContainerId(record->id()), update));
  std::move(restore).Cancel();
  ShowLimits(*record, merged);
  return absl::OkStatus();
}

// In the specification that verbose status shows; devices and the number of processes are not CRI's.
void Containers::ShowLimits(const store::v1::ContainerRecord& record, CgroupResources limits) {
  const ContainerId id(record.id());
  const std::shared_ptr<const BuiltSpec> now = live_.Spec(id);
  if (now == nullptr) return;  // built from the record when it is asked for
  BuiltSpec built = *now;
  CgroupResources& shown = built.spec.linux_.resources;
  limits.devices = std::move(shown.devices);
  limits.pids_limit = shown.pids_limit;
  shown = std::move(limits);
  live_.SetSpec(id, std::make_shared<const BuiltSpec>(std::move(built)));
}

absl::Status Containers::ReopenLog(const CallContext& context, const std::string& given_id) {
  ASSIGN_OR_RETURN(const ContainerRecordPtr record, node_.store->FindContainer(given_id));
  if (record->state() != store::v1::CONTAINER_STATE_RUNNING) return NotInState(*record, "running");
  if (record->log_path().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::shared_ptr<Keeper> keeper, keepers_->Find(PodId(record->pod_id())));
  ASSIGN_OR_RETURN_WITH(UniqueFd log,
                        OpenLog(*node_.launcher, record->log_path(), context.deadline()), "log");
  return keeper->ReopenLog(ContainerId(record->id()), std::move(log), context.deadline());
}

}  // namespace berth
