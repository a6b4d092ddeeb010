// StopContainer, RemoveContainer, and what follows an exit.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "server/pods/containers.h"
#include "server/pods/oom_message.h"
#include "server/pods/signals.h"

namespace berth {
namespace {

// After SIGKILL a process is gone at once, unless it is in uninterruptible sleep.
constexpr absl::Duration kKillDeadline = absl::Seconds(10);
constexpr absl::Duration kKeeperDeadline = absl::Seconds(5);
// A killed process has ended by then, as a rule.
constexpr absl::Duration kPromptEnd = absl::Milliseconds(250);
// What a stop gives a start in progress before it kills it.
constexpr absl::Duration kStartPatience = absl::Seconds(2);
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(10);
// Nobody stops a container for longer; a larger grace period is an error of units.
constexpr int64_t kLongestGraceSeconds = int64_t{366} * 24 * 3600;

// A little before the caller's own deadline, which would tell it less.
absl::Time AnswerBy(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return deadline;
  return deadline - std::min(absl::Milliseconds(100), (deadline - absl::Now()) / 10);
}

}  // namespace

Containers::Containers(const Node& node)
    : node_(node),
      claims_(node.timers,
              [this](const std::string& id) {
                const ContainerRecordPtr record = node_.store->Container(ContainerId(id));
                if (record == nullptr || record->state() != store::v1::CONTAINER_STATE_CREATED)
                  return;
                LogInfo("container ", id, ": nobody asked for it since its creation, removing it");
                if (absl::Status status = RemoveRecord(record, absl::Now() + kKillDeadline);
                    !status.ok()) {
                  LogWarning("container ", id, ": remove: ", status.message(), ", ignoring");
                }
              }),
      leftovers_(node.timers) {}

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
  return StopRecord(*record, &context, grace, AnswerBy(context.deadline()));
}

absl::Status Containers::StopRecord(const ContainerRecordPtr& record, const CallContext* caller,
                                    absl::Duration grace, absl::Time deadline) {
  const ContainerId id(record->id());
  if (record->state() == store::v1::CONTAINER_STATE_CREATED) {
    ASSIGN_OR_RETURN(const bool stopped, StopGated(*record, deadline));
    if (stopped) return absl::OkStatus();
  }
  if (Ended(id)) return absl::OkStatus();
  RETURN_IF_ERROR(Failpoint("containers.stop.signal"));
  live_.ShrinkKillTime(id, WallNow() + grace);
  if (grace > absl::ZeroDuration()) {
    SendStopSignal(*record);
    const auto ended = [this, &id] { return Ended(id); };
    if (live_.WaitUntilKillTime(id, deadline, caller, ended)) return absl::OkStatus();
    // As it is now: another stop may have shrunk it, the clock may have been set.
    const absl::Time kill_at = live_.ShrinkKillTime(id, absl::InfiniteFuture());
    if (Ended(id)) return absl::OkStatus();
    if (caller != nullptr && caller->cancelled()) {
      GoOn(id, kill_at);
      return absl::CancelledError(
          absl::StrCat("stop of container ", id.str(),
                       ": the caller left during the grace period; it goes on in the background"));
    }
    if (WallNow() < kill_at) {
      GoOn(id, kill_at);
      return absl::DeadlineExceededError(absl::StrCat(
          "stop of container ", id.str(),
          ": the call ends before the grace period does; it goes on in the background"));
    }
  }
  return KillAndWait(record, std::min(deadline, absl::Now() + kKillDeadline));
}

absl::StatusOr<bool> Containers::StopGated(const store::v1::ContainerRecord& record,
                                           absl::Time deadline) {
  const ContainerId id(record.id());
  if (!operations_.WaitUntilFree(id.str(), std::min(deadline, absl::Now() + kStartPatience))) {
    // A start that hangs in a volume ends with its process.
    node_.cgroups->SendKill(record.cgroup_path()).IgnoreError();
  }
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(id.str(), "stop", deadline));
  const ContainerRecordPtr now = node_.store->Container(id);
  if (now == nullptr) return true;
  if (now->state() != store::v1::CONTAINER_STATE_CREATED) return false;
  live_.SetGated(id, false);
  ForgetInKeeper(PodId(record.pod_id()), id);
  RETURN_IF_ERROR(RemoveCgroup(record.pod_id(), id.str(), record.cgroup_path(),
                               std::min(deadline, absl::Now() + kKillDeadline)));
  return true;
}

void Containers::SendStopSignal(const store::v1::ContainerRecord& record) {
  const ContainerId id(record.id());
  const auto keeper = keepers_->Find(PodId(record.pod_id()));
  const auto signal = ParseSignal(record.stop_signal());
  if (!keeper.ok() || !signal.ok()) return;
  Thaw(record);  // what is frozen handles no signal
  absl::Status sent = (*keeper)->Signal(id, *signal, absl::Now() + kKeeperDeadline);
  if (!sent.ok() && !Ended(id)) {
    LogWarning("container ", id.str(), ": stop signal: ", sent.message(), ", ignoring");
  }
}

void Containers::Thaw(const store::v1::ContainerRecord& record) {
  const std::string& path = record.cgroup_path();
  const std::string parent = path.substr(0, path.rfind('/'));
  for (const std::string& cgroup : {path, parent}) {
    // What several pods share is not ours to thaw.
    if (cgroup.empty() || cgroup == node_.DefaultCgroupParent()) continue;
    if (absl::Status thawed = node_.cgroups->Thaw(cgroup); !thawed.ok()) {
      LogWarning("container ", record.id(), ": ", thawed.message(), ", ignoring");
    }
  }
}

absl::Status Containers::KillAndWait(const ContainerRecordPtr& record, absl::Time deadline) {
  const ContainerId id(record->id());
  const auto ended = [this, &id] { return Ended(id); };
  RETURN_IF_ERROR(Failpoint("containers.stop.kill"));
  RETURN_IF_ERROR_WITH(node_.cgroups->SendKill(record->cgroup_path()),
                       absl::StrCat("kill container ", id.str()));
  if (live_.WaitForEnd(std::min(deadline, absl::Now() + kPromptEnd), ended)) {
    return absl::OkStatus();
  }
  Thaw(*record);
  const absl::Status killed = node_.cgroups->Kill(record->cgroup_path(), deadline);
  if (killed.ok()) {
    const auto keeper = keepers_->Find(PodId(record->pod_id()));
    if (!keeper.ok()) {
      MarkLost(id, "its pod had no keeper any more when it was stopped");
      return absl::OkStatus();
    }
    if (live_.WaitForEnd(std::min(deadline, absl::Now() + kPromptEnd), ended))
      return absl::OkStatus();
    // Nothing is left of it, so the keeper is what doesn't answer: perhaps somebody has stopped it.
    (*keeper)->Continue();
    if (live_.WaitForEnd(deadline, ended)) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(
        "container ", id.str(), ": its processes were killed, but its keeper reports no end"));
  }
  if (Ended(id)) return absl::OkStatus();
  GoOn(id, WallNow());
  return absl::Status(killed.code(),
                      absl::StrCat("container ", id.str(), " does not end: ", killed.message(),
                                   "; the stop goes on in the background"));
}

void Containers::GoOn(const ContainerId& id, absl::Time at) {
  const auto note = [at_ns = absl::ToUnixNanos(at)](store::v1::ContainerRecord* stopping) {
    if (stopping->state() != store::v1::CONTAINER_STATE_RUNNING) return false;
    const bool earlier = stopping->kill_at_ns() == 0 || at_ns < stopping->kill_at_ns();
    if (earlier) stopping->set_kill_at_ns(at_ns);
    return earlier;
  };
  if (absl::Status put = node_.store->UpdateContainer(id, note); !put.ok()) {
    LogWarning("container ", id.str(), ": record its stop: ", put.message(), ", ignoring");
  }
  KillLater(id, at);
}

void Containers::ResumeStop(const store::v1::ContainerRecord& record) {
  if (record.kill_at_ns() == 0) return;
  const ContainerId id(record.id());
  const absl::Time at = absl::FromUnixNanos(record.kill_at_ns());
  live_.ShrinkKillTime(id, at);
  KillLater(id, at);
}

void Containers::KillLater(const ContainerId& id, absl::Time at) {
  node_.timers->At(at, [this, id] {
    if (!Ended(id) && live_.TakePursuit(id)) Pursue(id, kFirstPause);
  });
}

void Containers::Pursue(const ContainerId& id, absl::Duration pause) {
  const ContainerRecordPtr record = node_.store->Container(id);
  if (record == nullptr || record->state() != store::v1::CONTAINER_STATE_RUNNING) return;
  if (absl::Status sent = node_.cgroups->SendKill(record->cgroup_path()); !sent.ok()) {
    LogWarning("container ", id.str(), ": ", sent.message(), ", trying again");
  }
  node_.timers->At(WallNow() + pause,
                   [this, id, pause] { Pursue(id, std::min(pause * 2, kLongestPause)); });
}

absl::Status Containers::KillAll(const PodId& pod, absl::Time deadline) {
  const std::vector<ContainerRecordPtr> records = node_.store->ContainersOf(pod);
  for (const ContainerRecordPtr& record : records) {
    if (records.size() == 1 || Ended(ContainerId(record->id()))) continue;
    live_.ShrinkKillTime(ContainerId(record->id()), WallNow());
    node_.cgroups->SendKill(record->cgroup_path()).IgnoreError();  // and again below
  }
  deadline = std::min(deadline, absl::Now() + kKillDeadline);
  absl::Status result;
  for (const ContainerRecordPtr& record : records) {
    result.Update(StopRecord(record, nullptr, absl::ZeroDuration(), deadline));
  }
  return result;
}

absl::Status Containers::Remove(const CallContext& context, const std::string& id) {
  const auto record = node_.store->FindContainer(id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  RETURN_IF_ERROR(record.status());
  return RemoveRecord(*record, AnswerBy(context.deadline()));
}

absl::Status Containers::RemoveRecord(const ContainerRecordPtr& record, absl::Time deadline) {
  RETURN_IF_ERROR(StopRecord(record, nullptr, absl::ZeroDuration(), deadline));
  const ContainerId id(record->id());
  ASSIGN_OR_RETURN(const Operations::Operation operation, BeginRemoval(id, deadline));
  const ContainerRecordPtr now = node_.store->Container(id);
  if (now == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(Failpoint("containers.remove.process"));
  RETURN_IF_ERROR(TakeDown(*now, deadline));
  RETURN_IF_ERROR(Failpoint("containers.remove.commit"));
  RETURN_IF_ERROR(node_.store->RemoveContainer(id));
  Discard(*now);
  return absl::OkStatus();
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

void Containers::Discard(const store::v1::ContainerRecord& record) {
  live_.Erase(ContainerId(record.id()));
  leftovers_.RemoveOrRetry(
      absl::StrCat("snapshots of container ", record.id()), [this, record]() -> absl::Status {
        RETURN_IF_ERROR(Failpoint("containers.remove.snapshot"));
        RETURN_IF_ERROR(RemoveVolumes(record));
        RETURN_IF_ERROR(node_.snapshotter->Remove(SnapshotId(record.snapshot_id())));
        // Its image may be gone, and have left it the layers.
        return node_.images->CollectGarbage();
      });
}

void Containers::OnExit(const PodId& pod, const ContainerId& id, const ExitRecord& exit) {
  if (live_.HoldExit(id, exit)) return;
  const ContainerRecordPtr record = node_.store->Container(id);
  if (record != nullptr && record->state() == store::v1::CONTAINER_STATE_RUNNING) {
    RecordExit(id, exit);
  } else {
    live_.SetGated(id, false);  // a gated process died: the container stays CREATED
    // Nothing to forget, and a retry of the start may be making the next one by now.
    if (record != nullptr && !exit.started) return;
  }
  // The record is committed: the keeper may drop its own. On another thread, since this one hears
  // all keepers.
  node_.timers->At(WallNow(), [this, pod, id] {
    Failpoint("containers.exit.forget").IgnoreError();  // for crashes
    ForgetInKeeper(pod, id);
  });
}

std::string Containers::ExplainOom(const store::v1::ContainerRecord& record) const {
  // The directory's name has more than the ID in it with the systemd driver.
  const std::string& path = record.cgroup_path();
  const std::string directory = path.substr(path.rfind('/') + 1);
  return OomMessage(record, *node_.cgroups, node_.oom_log->Find(directory),
                    node_.DefaultCgroupParent());
}

void Containers::RecordExit(const ContainerId& id, const ExitRecord& exit) {
  Failpoint("containers.exit.commit").IgnoreError();  // for crashes: an exit is a fact
  std::string reason;                                 // none: it had ended already
  const auto end = [&](store::v1::ContainerRecord* exited) {
    reason.clear();
    if (exited->state() != store::v1::CONTAINER_STATE_RUNNING) return false;
    reason = exit.exit_code == 0 ? "Completed" : exit.oom_killed ? "OOMKilled" : "Error";
    exited->set_state(store::v1::CONTAINER_STATE_EXITED);
    exited->set_exit_code(exit.exit_code);
    exited->set_reason(reason);
    if (exit.oom_killed) {
      exited->set_message(ExplainOom(*exited));
    }
    if (exit.log_lost) {
      exited->set_log_lost(true);
      exited->set_message(absl::StrCat(exited->message(), exited->message().empty() ? "" : "; ",
                                       "some of its output is not in its log"));
    }
    exited->set_finished_at_ns(
        std::max(absl::ToUnixNanos(exit.finished_at), exited->started_at_ns()));
    return true;
  };
  if (absl::Status put = node_.store->UpdateContainer(id, end); !put.ok()) {
    LogError("container ", id.str(), ": record its exit: ", put.message());
  }
  if (!reason.empty()) node_.metrics->AddExit(reason, exit.log_lost);
  live_.NotifyEnd(id);
}

void Containers::MarkLost(const ContainerId& id, const std::string& message) {
  live_.SetGated(id, false);
  const absl::Status put =
      node_.store->UpdateContainer(id, [&message](store::v1::ContainerRecord* lost) {
        if (lost->state() != store::v1::CONTAINER_STATE_RUNNING) return false;
        lost->set_state(store::v1::CONTAINER_STATE_EXITED);
        lost->set_exit_code(255);
        lost->set_reason("Unknown");
        lost->set_message(message);
        lost->set_finished_at_ns(std::max(absl::ToUnixNanos(WallNow()), lost->started_at_ns()));
        return true;
      });
  if (!put.ok()) LogError("container ", id.str(), ": record its loss: ", put.message());
  live_.NotifyEnd(id);
}

}  // namespace berth
