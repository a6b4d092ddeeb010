// StopPodSandbox, RemovePodSandbox, UpdatePodSandboxResources, and the death of a keeper.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "server/pods/attachment.h"
#include "server/pods/sandboxes.h"
#include "server/pods/spec_builder.h"

namespace berth {
namespace {

constexpr absl::Duration kStopDeadline = absl::Minutes(4);
constexpr absl::Duration kKeeperDeadline = absl::Seconds(10);
// What is killed and has not ended by then is in uninterruptible sleep: nobody waits for it.
constexpr absl::Duration kOrphanDeadline = absl::Seconds(1);
// For what is being made in the pod to see that it ends. Then its keeper is ended below it.
constexpr absl::Duration kLeavePatience = absl::Seconds(5);

// A little before the caller's own deadline, which would tell it less.
absl::Time Deadline(const CallContext& context) {
  const absl::Time own = absl::Now() + kStopDeadline;
  if (context.deadline() > own) return own;
  return context.deadline() -
         std::min(absl::Milliseconds(100), (context.deadline() - absl::Now()) / 10);
}

}  // namespace

Sandboxes::Sandboxes(const Node& node, Containers* containers)
    : node_(node), containers_(containers), claims_(node.timers, [this](const std::string& id) {
        const PodRecordPtr record = node_.store->Pod(PodId(id));
        if (record == nullptr) return;
        LogInfo("pod ", id, ": nobody asked for it since its creation, removing it");
        if (absl::Status status = RemoveRecord(record, absl::Now() + kStopDeadline); !status.ok()) {
          LogWarning("pod ", id, ": remove: ", status.message(), ", ignoring");
        }
      }) {}

absl::Status Sandboxes::Stop(const CallContext& context, const std::string& id) {
  const auto record = node_.store->FindPod(id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  RETURN_IF_ERROR(record.status());
  return StopRecord(*record, Deadline(context));
}

absl::Status Sandboxes::Remove(const CallContext& context, const std::string& id) {
  const auto record = node_.store->FindPod(id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  RETURN_IF_ERROR(record.status());
  return RemoveRecord(*record, Deadline(context));
}

absl::Status Sandboxes::UpdateResources(const CallContext& context,
                                        const cri::UpdatePodSandboxResourcesRequest& request) {
  RETURN_IF_ERROR(ResourcesFromCri(request.overhead(), "overhead").status());
  RETURN_IF_ERROR(ResourcesFromCri(request.resources(), "resources").status());
  ASSIGN_OR_RETURN(const PodRecordPtr record, node_.store->FindPod(request.pod_sandbox_id()));
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(record->id(), "update", context.deadline()));
  bool ready = false;
  const auto update = [&](store::v1::PodRecord* pod) {
    ready = pod->state() == store::v1::POD_STATE_READY;
    if (!ready) return false;
    if (request.has_overhead()) *pod->mutable_overhead() = request.overhead();
    if (request.has_resources()) *pod->mutable_resources() = request.resources();
    return true;
  };
  RETURN_IF_ERROR(node_.store->UpdatePod(PodId(record->id()), update));
  if (ready) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("pod ", request.pod_sandbox_id(), " is not ready"));
}

absl::Status Sandboxes::StopRecord(const PodRecordPtr& record, absl::Time deadline) {
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(record->id(), "stop", deadline));
  const Admissions::Closure closure = containers_->admissions().Close(PodId(record->id()));
  return StopLocked(record, deadline);
}

// Kills them all. If their keeper does not tell their ends, it goes, too.
absl::Status Sandboxes::StopContainers(const PodId& id, absl::Time deadline) {
  const absl::Status killed = containers_->KillAll(id, deadline);
  if (!absl::IsUnavailable(killed)) return killed;
  LogWarning("pod ", id.str(), ": ", killed.message(), "; ending the keeper");
  if (const auto keeper = keepers_->Find(id); keeper.ok()) (*keeper)->Kill();
  OnKeeperDeath(id);
  return absl::OkStatus();
}

// With the pod's operation held and the pod closed. Repeats whatever an earlier attempt left undone.
absl::Status Sandboxes::StopLocked(const PodRecordPtr& given, absl::Time deadline) {
  const PodId id(given->id());
  Admissions& admissions = containers_->admissions();
  const bool left = admissions.WaitEmpty(id, std::min(deadline, absl::Now() + kLeavePatience)).ok();
  RETURN_IF_ERROR(StopContainers(id, deadline));
  const PodRecordPtr record = node_.store->Pod(id);
  if (record == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(Failpoint("pods.stop.cni"));
  RETURN_IF_ERROR(Detach(*record, deadline));
  RETURN_IF_ERROR(Failpoint("pods.stop.keeper"));
  RETURN_IF_ERROR(EndKeeper(id, deadline));
  if (!left) {
    // Without a keeper nothing goes on for long; what got through has no keeper that tells its end.
    RETURN_IF_ERROR(admissions.WaitEmpty(id, deadline));
    RETURN_IF_ERROR(StopContainers(id, deadline));
  }
  if (record->namespaces().pid() == cri::POD) {
    ASSIGN_OR_RETURN(const std::string init_cgroup,
                     node_.cgroups->PathFor(record->cgroup_parent(), id.str()));
    RETURN_IF_ERROR(containers_->RemoveCgroup(id.str(), id.str(), init_cgroup, deadline));
  }
  RETURN_IF_ERROR(Failpoint("pods.stop.commit"));
  return node_.store->UpdatePod(id, [](store::v1::PodRecord* stopped) {
    const bool detached =
        stopped->cni_size() == 0 || stopped->cni(0).phase() == store::v1::CniAttachment::DELETED;
    if (stopped->state() != store::v1::POD_STATE_READY && detached) return false;
    // A half-made pod that is being undone stays unlisted.
    if (stopped->state() == store::v1::POD_STATE_READY) {
      stopped->set_state(store::v1::POD_STATE_NOTREADY);
    }
    for (store::v1::CniAttachment& cni : *stopped->mutable_cni()) {
      cni.set_phase(store::v1::CniAttachment::DELETED);
    }
    stopped->clear_ips();  // given back: another pod may have them by now
    return true;
  });
}

absl::Status Sandboxes::Detach(const store::v1::PodRecord& record, absl::Time deadline) {
  for (const store::v1::CniAttachment& cni : record.cni()) {
    if (cni.phase() == store::v1::CniAttachment::DELETED) continue;
    RETURN_IF_ERROR_WITH(node_.network->Remove(FromRecord(record, cni), deadline),
                         absl::StrCat("network of pod ", record.id()));
  }
  if (record.netns_path().empty()) return absl::OkStatus();
  return node_.netns->Unpin(PodId(record.id()));
}

absl::Status Sandboxes::EndKeeper(const PodId& id, absl::Time deadline) {
  const std::shared_ptr<Keeper> keeper = keepers_->Remove(id);
  if (keeper == nullptr) return absl::OkStatus();
  if (absl::Status status = keeper->Shutdown(std::min(deadline, absl::Now() + kKeeperDeadline));
      !status.ok()) {
    LogWarning("pod ", id.str(), ": its keeper did not end: ", status.message(), "; killing it");
    keeper->Kill();
  }
  return absl::OkStatus();
}

absl::Status Sandboxes::RemoveRecord(const PodRecordPtr& record, absl::Time deadline) {
  const PodId id(record->id());
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(id.str(), "remove", deadline));
  const Admissions::Closure closure = containers_->admissions().Close(id);
  RETURN_IF_ERROR(StopLocked(record, deadline));
  // A removal of one of them alone has ended, or waits.
  std::vector<Operations::Operation> removals;
  std::vector<ContainerRecordPtr> containers;
  for (const ContainerRecordPtr& listed : node_.store->ContainersOf(id)) {
    const ContainerId container(listed->id());
    ASSIGN_OR_RETURN(Operations::Operation removal, containers_->BeginRemoval(container, deadline));
    removals.push_back(std::move(removal));
    ContainerRecordPtr now = node_.store->Container(container);
    if (now == nullptr) continue;
    RETURN_IF_ERROR(containers_->TakeDown(*now, deadline));
    containers.push_back(std::move(now));
  }
  // Those of creations whose process did not end when they were undone; the notes go with the directory.
  RETURN_IF_ERROR(containers_->RemoveNotedCgroups(id.str(), {}, deadline));
  RETURN_IF_ERROR(Failpoint("pods.remove.commit"));
  RETURN_IF_ERROR(node_.store->RemovePod(id));
  for (const ContainerRecordPtr& container : containers) containers_->Discard(*container);
  const std::string directory = node_.PodDirectory(id.str());
  containers_->leftovers().RemoveOrRetry(directory, [directory]() -> absl::Status {
    RETURN_IF_ERROR(Failpoint("pods.remove.directory"));
    return RemoveTree(directory);
  });
  RemoveDefaultParent();
  return absl::OkStatus();
}

void Sandboxes::RemoveDefaultParent() {
  const std::string parent = node_.DefaultCgroupParent();
  for (const PodRecordPtr& pod : node_.store->Pods()) {
    if (pod->cgroup_parent() == parent) return;
  }
  const absl::StatusOr<std::string> path = node_.cgroups->ParentPath(parent);
  if (!path.ok()) return;
  const auto children = node_.cgroups->Children(*path, "");
  if (!children.ok() || !children->empty()) return;
  if (absl::Status status = node_.cgroups->Remove(*path); !status.ok()) {
    LogWarning("cgroup ", parent, ": ", status.message(), ", ignoring");
  }
}

void Sandboxes::OnKeeperDeath(const PodId& id) {
  // From here on a start that was under way sees that nobody will tell its end.
  keepers_->Remove(id);
  const PodRecordPtr record = node_.store->Pod(id);
  if (record == nullptr || record->state() != store::v1::POD_STATE_READY) return;
  LogWarning("pod ", id.str(), ": its keeper died; ending what runs in it");
  const auto exits = ReadExitRecords(node_.PodDirectory(id.str()));
  if (exits.ok()) {
    for (const auto& [container, exit] : *exits) containers_->OnExit(id, container, exit);
  }
  const std::vector<ContainerRecordPtr> containers = node_.store->ContainersOf(id);
  for (const ContainerRecordPtr& container : containers) {
    node_.cgroups->SendKill(container->cgroup_path()).IgnoreError();  // and again below
  }
  const absl::Time deadline = absl::Now() + kOrphanDeadline;
  for (const ContainerRecordPtr& container : containers) {
    absl::Status killed = node_.cgroups->Kill(container->cgroup_path(), deadline);
    if (!killed.ok()) {
      LogWarning("container ", container->id(), ": kill: ", killed.message(), ", ignoring");
    }
    containers_->MarkLost(ContainerId(container->id()), "the pod's keeper died");
  }
  const absl::Status put = node_.store->UpdatePod(id, [](store::v1::PodRecord* dead) {
    if (dead->state() != store::v1::POD_STATE_READY) return false;
    dead->set_state(store::v1::POD_STATE_NOTREADY);
    dead->set_state_reason("the keeper died");
    return true;
  });
  if (!put.ok()) {
    LogError("pod ", id.str(), ": record the death of its keeper: ", put.message());
  }
}

}  // namespace berth
