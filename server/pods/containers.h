// The flows of containers: create, start, stop, remove, exec, update, and what an exit sets off.
//
//   Create   claim → image → snapshot → specification → cgroup → plan → keeper → store COMMIT
//   Start    log → keeper opens the gate → store COMMIT
//   exit     keeper's record → store COMMIT → keeper forgets
//   Remove   kill → keeper forgets → cgroup → store COMMIT → snapshot
//
// CREATED means that a gated process exists or can be made again; a gated process that died is made
// again by Start. A crash leaves a snapshot, a cgroup (named in STATE) or a gated process without a
// record: recovery takes them away.
//
// Threads: every method may be called from any thread; those that return a Status block.
#ifndef BERTH_SERVER_PODS_CONTAINERS_H_
#define BERTH_SERVER_PODS_CONTAINERS_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/cri/api.h"
#include "server/cri/call_context.h"
#include "server/pods/admissions.h"
#include "server/pods/claims.h"
#include "server/pods/keepers.h"
#include "server/pods/leftovers.h"
#include "server/pods/live_containers.h"
#include "server/pods/node.h"
#include "server/pods/operations.h"

namespace berth {

// FailedPrecondition: `container ID is exited, not running`.
absl::Status NotInState(const store::v1::ContainerRecord& record, absl::string_view wanted);

class Containers {
 public:
  // `keepers` may still be null: set it before the first call (its observer is made from this).
  explicit Containers(const Node& node);
  void SetKeepers(Keepers* keepers) { keepers_ = keepers; }

  // CreateContainer. NotFound: pod or image; FailedPrecondition: the pod is not ready; AlreadyExists
  // with the id: the name is taken by another configuration or by a container that was started.
  absl::StatusOr<ContainerId> Create(const CallContext& context,
                                     const cri::CreateContainerRequest& request);
  // StartContainer. A program that can't be executed leaves the container EXITED (128, StartError).
  absl::Status Start(const CallContext& context, const std::string& id);
  // StopContainer: signal, wait, kill. An unknown or ended container is OK. DeadlineExceeded names what
  // does not end; the stop goes on without its caller, also if that leaves.
  absl::Status Stop(const CallContext& context, const std::string& id, absl::Duration grace);
  // RemoveContainer, by force. An unknown one is OK.
  absl::Status Remove(const CallContext& context, const std::string& id);
  absl::Status ExecSync(const CallContext& context, const cri::ExecSyncRequest& request,
                        cri::ExecSyncResponse* response);
  absl::Status UpdateResources(const CallContext& context,
                               const cri::UpdateContainerResourcesRequest& request);
  absl::Status ReopenLog(const CallContext& context, const std::string& id);

  // For the pods' flows and recovery: the same by record.
  absl::Status StopRecord(const ContainerRecordPtr& record, const CallContext* caller,
                          absl::Duration grace, absl::Time deadline);
  // Kills all of a pod's containers at once. The first error, after trying each.
  absl::Status KillAll(const PodId& pod, absl::Time deadline);
  absl::Status RemoveRecord(const ContainerRecordPtr& record, absl::Time deadline);
  // Its halves, for a pod that removes the records of all its containers in one commit: what lies
  // before the commit (the container has ended), and what lies after it.
  absl::Status TakeDown(const store::v1::ContainerRecord& record, absl::Time deadline);
  void Discard(const store::v1::ContainerRecord& record);
  // Between its halves no other operation on the container begins.
  absl::StatusOr<Operations::Operation> BeginRemoval(const ContainerId& id, absl::Time deadline) {
    return operations_.Begin(id.str(), "remove", deadline);
  }

  // An exit as a keeper reported it: recorded, and the keeper forgets it. Not for the watcher alone:
  // recovery brings what it finds in exit records.
  void OnExit(const PodId& pod, const ContainerId& id, const ExitRecord& exit);
  // Its process is gone and nobody knows how it ended: EXITED, 255, Unknown.
  // One that doesn't run stays as it is.
  void MarkLost(const ContainerId& id, const std::string& message);
  // Removes the cgroup of a container and the note of it.
  absl::Status RemoveCgroup(const std::string& pod, const std::string& container,
                            const std::string& cgroup_path, absl::Time deadline);
  // Of everything in the pod that a note names, but for those in `kept`; all are killed before the first is
  // waited for. The first failure, after trying each: its note stays, so what the notes are in goes later.
  absl::Status RemoveNotedCgroups(const std::string& pod, const std::set<std::string>& kept,
                                  absl::Time deadline);

  // Goes on with a stop that its record tells of, at a daemon's start.
  void ResumeStop(const store::v1::ContainerRecord& record);

  // The plan of another process in a running container.
  absl::StatusOr<std::string> CompileExec(const store::v1::ContainerRecord& record,
                                          const std::vector<std::string>& command, bool tty);
  // The specification that its process was or would be made from.
  absl::StatusOr<std::shared_ptr<const BuiltSpec>> SpecOf(const store::v1::ContainerRecord& record);
  LiveContainers::Cgroups CgroupsOf(const store::v1::ContainerRecord& record);

  // The snapshots that belong to a container: its own, and the views that its image volumes are.
  static std::vector<std::string> SnapshotsOf(const store::v1::ContainerRecord& record);

  // Whether RemoveContainer is at work on it.
  bool Removing(const ContainerId& id) { return operations_.IsInFlight(id.str(), "remove"); }

  LiveContainers& live() { return live_; }
  Admissions& admissions() { return admissions_; }
  Leftovers& leftovers() { return leftovers_; }

 private:
  absl::StatusOr<std::string> Make(const Creation& creation, const PodId& pod,
                                   const cri::CreateContainerRequest& request);
  // Null if the name is free.
  absl::StatusOr<ContainerRecordPtr> Existing(const store::v1::PodRecord& pod,
                                              const cri::ContainerConfig& config) const;
  absl::StatusOr<BuiltSpec> BuildSpecOf(const store::v1::ContainerRecord& record,
                                        const store::v1::PodRecord& pod,
                                        const std::vector<CdiEdits>& cdi_edits) const;
  // That the container whose PID namespace the record's one joins, if so, is there to be joined.
  absl::Status CheckPidTarget(const store::v1::ContainerRecord& record) const;
  // Makes the cgroup and the gated process of a record and fills in what comes out of it.
  absl::Status MakeProcess(store::v1::ContainerRecord* record, const store::v1::PodRecord& pod,
                           absl::Time deadline);
  // `failure` of a creation, or what it was if a memory limit killed the process.
  absl::Status ExplainDeath(const store::v1::ContainerRecord& record,
                            const absl::Status& failure) const;
  // What the OOM killer did in its cgroup, which is still there.
  std::string ExplainOom(const store::v1::ContainerRecord& record) const;
  // Views of the images of image volumes: as long as the record is there.
  absl::Status MakeVolumes(const store::v1::ContainerRecord& record);
  absl::Status RemoveVolumes(const store::v1::ContainerRecord& record);
  // Their layers, by where they are mounted.
  absl::StatusOr<std::map<std::string, std::vector<std::string>>> VolumeLayers(
      const store::v1::ContainerRecord& record) const;
  // Makes and limits it. The hold has to live until a process is in it.
  absl::StatusOr<std::unique_ptr<CgroupHold>> MakeCgroup(const store::v1::ContainerRecord& record,
                                                         const CgroupResources& limits);
  // OK: the program runs. What it returns otherwise has been recorded if it is final.
  absl::Status OpenGate(const ContainerRecordPtr& record, absl::Time deadline);
  void ShowLimits(const store::v1::ContainerRecord& record, CgroupResources limits);
  void RecordExit(const ContainerId& id, const ExitRecord& exit);
  void ForgetInKeeper(const PodId& pod, const ContainerId& id);
  // The undo of MakeCgroup.
  void DropCgroup(const store::v1::ContainerRecord& record);
  // A CREATED container. False: it has been started meanwhile.
  absl::StatusOr<bool> StopGated(const store::v1::ContainerRecord& record, absl::Time deadline);
  void SendStopSignal(const store::v1::ContainerRecord& record);
  // Undoes a freeze of the container or of its pod's own cgroup by somebody else.
  void Thaw(const store::v1::ContainerRecord& record);
  absl::Status KillAndWait(const ContainerRecordPtr& record, absl::Time deadline);
  // Without a caller: kills at `at`, and again until the container has ended. Recorded, for a daemon that
  // starts meanwhile.
  void GoOn(const ContainerId& id, absl::Time at);
  void KillLater(const ContainerId& id, absl::Time at);
  void Pursue(const ContainerId& id, absl::Duration pause);
  bool Ended(const ContainerId& id) const;

  const Node& node_;
  Keepers* keepers_ = nullptr;
  Claims claims_;
  Operations operations_;
  Admissions admissions_;
  Leftovers leftovers_;
  LiveContainers live_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_CONTAINERS_H_
