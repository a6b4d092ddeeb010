// StopContainer, RemoveContainer, and what follows an exit.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "server/pods/containers.h"
#include "server/pods/signals.h"

namespace berth {
namespace {

// After SIGKILL a process is gone at once, unless it is in uninterruptible sleep.
constexpr absl::Duration kKillDeadline = absl::Seconds(10);
constexpr absl::Duration kKeeperDeadline = absl::Seconds(5);
// Nobody stops a container for longer; a larger grace period is an error of units.
constexpr int64_t kLongestGraceSeconds = int64_t{366} * 24 * 3600;

}  // namespace

Containers::Containers(const Node& node)
    : node_(node), claims_(node.timers, [this](const std::string& id) {
        const ContainerRecordPtr record = node_.store->Container(ContainerId(id));
        if (record == nullptr || record->state() != store::v1::CONTAINER_STATE_CREATED) return;
        LogInfo("container ", id, ": nobody asked for it since its creation, removing it");
        if (absl::Status status = RemoveRecord(record, absl::Now() + kKillDeadline); !status.ok()) {
          LogWarning("container ", id, ": remove: ", status.message(), ", ignoring");
        }
      }) {}

bool Containers::Ended(const ContainerId& id) const {
  const ContainerRecordPtr record = node_.store->Container(id);
  return record == nullptr || record->state() != store::v1::CONTAINER_STATE_RUNNING;
}

void Containers::ForgetInKeeper(const PodId& pod, const ContainerId& id) {
  const auto keeper = keepers_->Find(pod);
  if (!keeper.ok()) return;
  if (absl::Status status = (*keeper)->Forget(id, absl::Now() + kKeeperDeadline); !status.ok()) {
    LogWarning("container ", id.str(), ": forget in its keeper: ", status.message(), ", ignoring");
  }
}

absl::Status Containers::Stop(const CallContext& context, const std::string& id,
                              absl::Duration grace) {
  const auto record = node_.store->FindContainer(id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  RETURN_IF_ERROR(record.status());
  grace = std::clamp(grace, absl::ZeroDuration(), absl::Seconds(kLongestGraceSeconds));
  return StopRecord(*record, &context, grace, context.deadline());
}

absl::Status Containers::StopRecord(const ContainerRecordPtr& record, const CallContext* caller,
                                    absl::Duration grace, absl::Time deadline) {
  const ContainerId id(record->id());
  if (record->state() == store::v1::CONTAINER_STATE_CREATED) {
    ASSIGN_OR_RETURN(const Operations::Operation operation,
                     operations_.Begin(id.str(), "stop", deadline));
    const ContainerRecordPtr now = node_.store->Container(id);
    if (now != nullptr && now->state() == store::v1::CONTAINER_STATE_CREATED) {
      live_.SetGated(id, false);
      ForgetInKeeper(PodId(record->pod_id()), id);
      return RemoveCgroup(record->pod_id(), id.str(), record->cgroup_path(),
                          std::min(deadline, absl::Now() + kKillDeadline));
    }
    if (now == nullptr) return absl::OkStatus();
  }
  if (Ended(id)) return absl::OkStatus();
  RETURN_IF_ERROR(Failpoint("containers.stop.signal"));
  const absl::Time kill_at = live_.ShrinkKillTime(id, absl::Now() + grace);
  if (grace > absl::ZeroDuration()) {
    const auto keeper = keepers_->Find(PodId(record->pod_id()));
    const auto signal = ParseSignal(record->stop_signal());
    if (keeper.ok() && signal.ok()) {
      absl::Status sent = (*keeper)->Signal(id, *signal, absl::Now() + kKeeperDeadline);
      if (!sent.ok() && !Ended(id)) {
        LogWarning("container ", id.str(), ": stop signal: ", sent.message(), ", ignoring");
      }
    }
    const auto ended = [this, &id] { return Ended(id); };
    if (live_.WaitUntilKillTime(id, std::min(kill_at, deadline), caller, ended))
      return absl::OkStatus();
    if (caller != nullptr && caller->cancelled()) {
      return absl::CancelledError(absl::StrCat("stop of container ", id.str(),
                                               ": the caller left during the grace period"));
    }
    if (absl::Now() >= deadline && deadline < kill_at) {
      return absl::DeadlineExceededError(absl::StrCat(
          "stop of container ", id.str(), ": the call ended before the grace period did"));
    }
  }
  return KillAndWait(record, std::min(deadline, absl::Now() + kKillDeadline));
}

absl::Status Containers::KillAndWait(const ContainerRecordPtr& record, absl::Time deadline) {
  const ContainerId id(record->id());
  RETURN_IF_ERROR(Failpoint("containers.stop.kill"));
  RETURN_IF_ERROR_WITH(node_.cgroups->Kill(record->cgroup_path(), deadline),
                       absl::StrCat("kill container ", id.str()));
  if (!live_.WaitForEnd(deadline, [this, &id] { return Ended(id); })) {
    return absl::DeadlineExceededError(absl::StrCat(
        "container ", id.str(), ": its processes were killed, but its keeper reports no end"));
  }
  return absl::OkStatus();
}

absl::Status Containers::Remove(const CallContext& context, const std::string& id) {
  const auto record = node_.store->FindContainer(id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  RETURN_IF_ERROR(record.status());
  return RemoveRecord(*record, context.deadline());
}

absl::Status Containers::RemoveRecord(const ContainerRecordPtr& record, absl::Time deadline) {
  RETURN_IF_ERROR(StopRecord(record, nullptr, absl::ZeroDuration(), deadline));
  const ContainerId id(record->id());
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(id.str(), "remove", deadline));
  const ContainerRecordPtr now = node_.store->Container(id);
  if (now == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(TakeDown(*now, deadline));
  RETURN_IF_ERROR(Failpoint("containers.remove.commit"));
  RETURN_IF_ERROR(node_.store->RemoveContainer(id));
  return Discard(*now);
}

absl::Status Containers::TakeDown(const store::v1::ContainerRecord& record, absl::Time deadline) {
  if (record.state() == store::v1::CONTAINER_STATE_RUNNING) {
    return absl::UnavailableError(
        absl::StrCat("container ", record.id(), " was started while it was being removed"));
  }
  ForgetInKeeper(PodId(record.pod_id()), ContainerId(record.id()));
  return RemoveCgroup(record.pod_id(), record.id(), record.cgroup_path(),
                      std::min(deadline, absl::Now() + kKillDeadline));
}

absl::Status Containers::Discard(const store::v1::ContainerRecord& record) {
  RETURN_IF_ERROR(Failpoint("containers.remove.snapshot"));
  live_.Erase(ContainerId(record.id()));
  absl::Status result = RemoveVolumes(record);
  result.Update(node_.snapshotter->Remove(SnapshotId(record.snapshot_id())));
  return result;
}

void Containers::OnExit(const PodId& pod, const ContainerId& id, const ExitRecord& exit) {
  if (live_.HoldExit(id, exit)) return;
  const ContainerRecordPtr record = node_.store->Container(id);
  if (record != nullptr && record->state() == store::v1::CONTAINER_STATE_RUNNING) {
    RecordExit(record, exit);
  } else {
    live_.SetGated(id, false);  // a gated process died: the container stays CREATED
    // Nothing to forget, and a retry of the start may be making the next one by now.
    if (record != nullptr && !exit.started) return;
  }
  // The record is committed: the keeper may drop its own. On another thread, since this one hears
  // all keepers.
  node_.timers->At(absl::Now(), [this, pod, id] { ForgetInKeeper(pod, id); });
}

void Containers::RecordExit(const ContainerRecordPtr& record, const ExitRecord& exit) {
  store::v1::ContainerRecord exited = *record;
  exited.set_state(store::v1::CONTAINER_STATE_EXITED);
  exited.set_exit_code(exit.exit_code);
  if (exit.oom_killed) {
    exited.set_reason("OOMKilled");
    if (record->resources().memory_limit_in_bytes() > 0) {
      exited.set_message(absl::StrCat("the container reached its memory limit of ",
                                      record->resources().memory_limit_in_bytes(), " bytes"));
    }
  } else {
    exited.set_reason(exit.exit_code == 0 ? "Completed" : "Error");
  }
  exited.set_finished_at_ns(std::max(absl::ToUnixNanos(exit.finished_at), record->started_at_ns()));
  if (absl::Status put = node_.store->PutContainer(std::move(exited), Durability::kNormal);
      !put.ok()) {
    LogError("container ", record->id(), ": record its exit: ", put.message());
  }
  live_.NotifyEnd(ContainerId(record->id()));
}

void Containers::MarkLost(const ContainerRecordPtr& record, const std::string& message) {
  const ContainerId id(record->id());
  live_.SetGated(id, false);
  if (record->state() != store::v1::CONTAINER_STATE_RUNNING) return;
  store::v1::ContainerRecord lost = *record;
  lost.set_state(store::v1::CONTAINER_STATE_EXITED);
  lost.set_exit_code(255);
  lost.set_reason("Unknown");
  lost.set_message(message);
  lost.set_finished_at_ns(std::max(absl::ToUnixNanos(absl::Now()), record->started_at_ns()));
  if (absl::Status put = node_.store->PutContainer(std::move(lost), Durability::kNormal);
      !put.ok()) {
    LogError("container ", record->id(), ": record its loss: ", put.message());
  }
  live_.NotifyEnd(id);
}

}  // namespace berth
