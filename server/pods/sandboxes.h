// The flows of pod sandboxes.
//
//   RunPodSandbox     claim → keeper → netns → [intent] CNI ADD → store.Put(ready) COMMIT
//   StopPodSandbox    containers end → CNI DEL → keeper ends → netns unpinned → Put(not ready) COMMIT
//   RemovePodSandbox  stop → containers removed → [record removed] COMMIT → directory removed
//
// A crash leaves a record in PREPARING (a DEL is owed), or a state directory without a record (a
// keeper and a namespace may live): recovery takes both away. A RunPodSandbox whose network can't be
// taken down again leaves one in REMOVING, for the background.
//
// Threads: every method may be called from any thread, and blocks.
#ifndef BERTH_SERVER_PODS_SANDBOXES_H_
#define BERTH_SERVER_PODS_SANDBOXES_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/cri/api.h"
#include "server/cri/call_context.h"
#include "server/pods/claims.h"
#include "server/pods/containers.h"
#include "server/pods/keepers.h"
#include "server/pods/node.h"
#include "server/pods/operations.h"

namespace berth {

class Sandboxes {
 public:
  Sandboxes(const Node& node, Containers* containers);
  void SetKeepers(Keepers* keepers) { keepers_ = keepers; }

  // RunPodSandbox. InvalidArgument names the field; AlreadyExists with the id: the name is taken by
  // another configuration or by a pod that was stopped.
  absl::StatusOr<PodId> Run(const CallContext& context, const cri::RunPodSandboxRequest& request);
  // StopPodSandbox; an unknown or stopped pod is OK.
  absl::Status Stop(const CallContext& context, const std::string& id);
  // RemovePodSandbox, by force; an unknown one is OK.
  absl::Status Remove(const CallContext& context, const std::string& id);
  // UpdatePodSandboxResources. Recorded and shown, nothing else: the pod's cgroup is kubelet's.
  // FailedPrecondition if the pod is not ready.
  absl::Status UpdateResources(const CallContext& context,
                               const cri::UpdatePodSandboxResourcesRequest& request);

  // By record, for recovery and for what nobody claimed.
  absl::Status StopRecord(const PodRecordPtr& record, absl::Time deadline);
  absl::Status RemoveRecord(const PodRecordPtr& record, absl::Time deadline);
  // Removes a half-made pod in the background, again and again until its network is taken down: a
  // plugin that fails or hangs keeps nobody waiting. Its name is free meanwhile.
  void UndoLater(const PodId& id);

  // CNI GC: the network's plugins forget all but the recorded attachments. Once all of them are
  // known, and only if nobody else uses the network.
  absl::Status CollectNetworkGarbage(absl::Time deadline);

  // Its keeper is gone, unasked: what runs is killed, and pod and containers say so.
  void OnKeeperDeath(const PodId& id);

 private:
  absl::StatusOr<std::string> Make(const Creation& creation,
                                   const cri::RunPodSandboxRequest& request);
  absl::StatusOr<PodRecordPtr> Existing(const cri::RunPodSandboxRequest& request) const;
  absl::Status FindPodInit(store::v1::PodRecord* record);
  absl::Status Attach(store::v1::PodRecord* record, absl::Time deadline);
  absl::Status Detach(const store::v1::PodRecord& record, absl::Time deadline);
  void UndoAttach(store::v1::PodRecord* record);
  absl::Status StopContainers(const PodId& id, absl::Time deadline);
  absl::Status EndKeeper(const PodId& id, absl::Time deadline);
  absl::Status StopLocked(const PodRecordPtr& record, absl::Time deadline);
  void RemoveDefaultParent();

  const Node& node_;
  Containers* const containers_;
  Keepers* keepers_ = nullptr;
  Claims claims_;
  Operations operations_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_SANDBOXES_H_
