// StartContainer, ExecSync.
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "runtime/compiler.h"
#include "server/pods/container_log.h"
#include "server/pods/containers.h"
#include "server/pods/external_runtime.h"

namespace berth {
namespace {

constexpr absl::Duration kStartDeadline = absl::Minutes(2);
// What is killed and has not ended by then is in uninterruptible sleep: nobody waits for it.
constexpr absl::Duration kOrphanDeadline = absl::Seconds(1);
// kubelet refuses messages of more than 16 MiB: two full streams and their frame stay below.
constexpr size_t kExecOutputLimit = (8u << 20) - (8u << 10);
constexpr int kStartErrorCode = 128;

// True for failures that say nothing about the program: the keeper was out of reach, not execve.
bool MayBeTriedAgain(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

absl::Status Containers::Start(const CallContext& context, const std::string& given_id) {
  ASSIGN_OR_RETURN(ContainerRecordPtr record, node_.store->FindContainer(given_id));
  const ContainerId id(record->id());
  ASSIGN_OR_RETURN(const Operations::Operation operation,
                   operations_.Begin(id.str(), "start", context.deadline()));
  ASSIGN_OR_RETURN(const Admissions::Admission admission,
                   admissions_.Enter(PodId(record->pod_id())));
  record = node_.store->Container(id);
  if (record == nullptr)
    return absl::NotFoundError(absl::StrCat("container ", id.str(), " not found"));
  if (record->state() == store::v1::CONTAINER_STATE_RUNNING) return absl::OkStatus();
  if (record->state() != store::v1::CONTAINER_STATE_CREATED) return NotInState(*record, "created");
  const PodRecordPtr pod = node_.store->Pod(PodId(record->pod_id()));
  if (pod == nullptr || pod->state() != store::v1::POD_STATE_READY) {
    return absl::FailedPreconditionError(absl::StrCat("pod ", record->pod_id(), " is not ready"));
  }
  const absl::Time deadline = absl::Now() + kStartDeadline;
  if (!live_.Gated(id)) {
    ForgetInKeeper(PodId(pod->id()), id);
    // Not in its old cgroup: in one that was killed once, what is cloned into it dies at once (seen with
    // cgroup.kill and CLONE_INTO_CGROUP on Linux 6.18).
    RETURN_IF_ERROR(RemoveCgroup(pod->id(), id.str(), record->cgroup_path(), deadline));
    store::v1::ContainerRecord remade = *record;
    RETURN_IF_ERROR(MakeProcess(&remade, *pod, deadline));
    if (absl::Status put = node_.store->PutContainer(std::move(remade), Durability::kNormal);
        !put.ok()) {
      live_.SetGated(id,
                     false);  // another process than the record's: the next start makes it again
      return put;
    }
    record = node_.store->Container(id);
  }
  return OpenGate(record, deadline);
}

absl::Status Containers::OpenGate(const ContainerRecordPtr& record, absl::Time deadline) {
  const ContainerId id(record->id());
  ASSIGN_OR_RETURN(const std::shared_ptr<Keeper> keeper, keepers_->Find(PodId(record->pod_id())));
  PhaseTimer start_phase(node_.metrics, ContainerPhase::kStart);
  RETURN_IF_ERROR(Failpoint("containers.start.log"));
  ASSIGN_OR_RETURN_WITH(UniqueFd log, OpenLog(*node_.launcher, record->log_path(), deadline),
                        "log");

  RETURN_IF_ERROR(Failpoint("containers.start.gate"));
  const absl::Time started_at = WallNow();
  live_.BeginStart(id);
  pid_t pid = 0;
  absl::Status started = keeper->Start(id, std::move(log), deadline, &pid);
  start_phase.Done();
  if (!started.ok()) {
    started = ExplainRuntime(node_.BundleDirectory(record->pod_id(), id.str()), started);
    live_.EndStart(id);
    live_.SetGated(id, false);
    if (MayBeTriedAgain(started)) return ExplainDeath(*record, started);
    const auto fail = [&](store::v1::ContainerRecord* failed) {
      failed->set_state(store::v1::CONTAINER_STATE_EXITED);
      failed->set_reason("StartError");
      failed->set_message(std::string(started.message()));
      failed->set_exit_code(kStartErrorCode);
      failed->set_finished_at_ns(std::max(absl::ToUnixNanos(WallNow()), record->created_at_ns()));
      return true;
    };
    if (absl::Status put = node_.store->UpdateContainer(id, fail); !put.ok()) {
      LogWarning("container ", id.str(), ": record its failed start: ", put.message(),
                 ", ignoring");
    }
    ForgetInKeeper(PodId(record->pod_id()), id);
    live_.NotifyEnd(id);
    return started;
  }

  PhaseTimer commit_phase(node_.metrics, ContainerPhase::kCommit);
  store::v1::ContainerRecord running = *record;
  running.set_state(store::v1::CONTAINER_STATE_RUNNING);
  running.set_started_at_ns(absl::ToUnixNanos(started_at));
  if (pid > 0) running.mutable_init()->set_pid(pid);  // another one than at the gate after a hop
  absl::Status committed = Failpoint("containers.start.commit");
  if (committed.ok()) {
    committed = node_.store->PutContainer(std::move(running), Durability::kNormal);
  }
  live_.SetGated(id, false);
  const std::optional<ExitRecord> exit = live_.EndStart(id);
  if (!committed.ok()) {
    // What can't be recorded as running must not run: end it, so that a retry makes it again.
    (void)node_.cgroups->Kill(record->cgroup_path(), deadline);
    ForgetInKeeper(PodId(record->pod_id()), id);
    return committed;
  }
  if (exit.has_value()) OnExit(PodId(record->pod_id()), id, *exit);
  // Who handled the death of the keeper saw a container that was not running yet.
  if (!keepers_->Find(PodId(record->pod_id())).ok()) {
    (void)node_.cgroups->Kill(record->cgroup_path(), absl::Now() + kOrphanDeadline);
    MarkLost(id, "the pod's keeper died");
  }
  return absl::OkStatus();
}

// They don't change while the container lives, and an exec shouldn't look for them one by one.
LiveContainers::Cgroups Containers::CgroupsOf(const store::v1::ContainerRecord& record) {
  const ContainerId id(record.id());
  LiveContainers::Cgroups cgroups = live_.FindCgroups(id);
  if (cgroups != nullptr) return cgroups;
  cgroups = std::make_shared<const std::vector<CgroupDirectory>>(
      node_.cgroups->Directories(record.cgroup_path()));
  live_.SetCgroups(id, cgroups);
  return cgroups;
}

absl::StatusOr<std::string> Containers::CompileExec(const store::v1::ContainerRecord& record,
                                                    const std::vector<std::string>& command,
                                                    bool tty) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const BuiltSpec> built, SpecOf(record));

  CompileInput input;
  input.cgroups = *CgroupsOf(record);
  // The user as the container's process got it, without another look into the image.
  input.user = UserReference{.uid = static_cast<uint32_t>(record.user().uid()),
                             .gid = static_cast<uint32_t>(record.user().gid()),
                             .user = "",
                             .group = "",
                             .strict_groups = true};
  input.joined_pid = built->joined_pid;
  input.pid_target = built->pid_target;
  SpecProcess process = BuildExecProcess(built->spec, command, tty);
  process.user.additional_gids.assign(record.user().supplemental_groups().begin(),
                                      record.user().supplemental_groups().end());
  const absl::StatusOr<ExternalRuntime> runtime =
      OpenBundle(node_.BundleDirectory(record.pod_id(), record.id()), record.id());
  if (!absl::IsNotFound(runtime.status())) {
    RETURN_IF_ERROR(runtime.status());
    process.user.uid = static_cast<uint32_t>(record.user().uid());
    process.user.gid = static_cast<uint32_t>(record.user().gid());
    return MakeExec(*runtime, built->spec, std::move(process));
  }
  return CompileExecPlan(built->spec, process, input);
}

absl::Status Containers::ExecSync(const CallContext& context, const cri::ExecSyncRequest& request,
                                  cri::ExecSyncResponse* response) {
  if (request.cmd().empty()) return absl::InvalidArgumentError("cmd is empty");
  if (request.timeout() < 0) return absl::InvalidArgumentError("timeout is negative");
  ASSIGN_OR_RETURN(const ContainerRecordPtr record,
                   node_.store->FindContainer(request.container_id()));
  if (record->state() != store::v1::CONTAINER_STATE_RUNNING) return NotInState(*record, "running");
  ASSIGN_OR_RETURN(const std::shared_ptr<Keeper> keeper, keepers_->Find(PodId(record->pod_id())));
  ASSIGN_OR_RETURN(
      const std::string plan,
      CompileExec(*record, {request.cmd().begin(), request.cmd().end()}, /*tty=*/false));

  absl::Time deadline = context.deadline();
  if (request.timeout() > 0) {
    deadline = std::min(deadline, absl::Now() + absl::Seconds(request.timeout()));
  }
  const absl::Time begin = absl::Now();
  absl::StatusOr<ExecResult> result =
      keeper->ExecSync(ContainerId(record->id()), plan, kExecOutputLimit, deadline);
  if (!result.ok()) result = FinishExec(plan, result.status());
  node_.metrics->ObserveExec(absl::Now() - begin, absl::IsDeadlineExceeded(result.status()));
  const bool timed_out = request.timeout() > 0 && deadline < context.deadline();
  if (absl::IsDeadlineExceeded(result.status()) && timed_out) {
    return absl::DeadlineExceededError(absl::StrCat("exec in container ", record->id(),
                                                    " timed out after ", request.timeout(),
                                                    " s; its processes were killed"));
  }
  RETURN_IF_ERROR_WITH(result.status(), "exec");
  response->set_stdout(std::move(result->out));
  response->set_stderr(std::move(result->err));
  response->set_exit_code(result->exit_code);
  return absl::OkStatus();
}

}  // namespace berth
