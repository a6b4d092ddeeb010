// The start of a daemon: what is recorded and what is there are made to agree, both ways, before the
// first call is served.
//
//   1. a pod of another boot is NOTREADY, whatever pids and files say; its containers that ran are lost
//   2. a READY pod's keeper is adopted; without one the pod is NOTREADY and what ran is killed
//   3. exits that came while nobody listened are taken from the exit records; a stop that went on without
//      its caller goes on
//   4. what a keeper holds that has no record is ended; what should run there and doesn't is lost
//   5. a container of a stopped pod that is said to run is killed and lost
//   6. a pod that was being made is undone: its plugins are ended, CNI DEL, keeper, namespace, record;
//      in the background if that takes long
//   7. state directories, namespaces, cgroups and snapshots that no record names are removed
#ifndef BERTH_SERVER_PODS_RECOVERY_H_
#define BERTH_SERVER_PODS_RECOVERY_H_

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/pods/containers.h"
#include "server/pods/keepers.h"
#include "server/pods/node.h"
#include "server/pods/sandboxes.h"

namespace berth {

class Recovery {
 public:
  Recovery(const Node& node, Containers* containers, Sandboxes* sandboxes, Keepers* keepers)
      : node_(node), containers_(containers), sandboxes_(sandboxes), keepers_(keepers) {}

  // Once, before any call. What can't be mended is logged and tried again at the next start, a CNI
  // plugin that fails in the background; the daemon always starts.
  void Run();

 private:
  void SettleOtherBoot(const PodRecordPtr& pod);
  void SettleEnded(const PodRecordPtr& pod);
  void Adopt(const PodRecordPtr& pod);
  void RecordMissedExits(const PodId& pod);
  void RecordMissedStart(const ContainerId& id, absl::Time started_at);
  void SettleContainers(const PodRecordPtr& pod, Keeper& keeper);
  void UndoHalfMade(const PodRecordPtr& pod);
  void EndInterruptedPlugins();
  void SweepStateDirectories();
  void SweepCgroups();
  void SweepNamespaces();
  void SweepSnapshots();
  void EndOrphan(const PodId& pod);
  void RemoveIntents(const std::string& pod, const std::set<std::string>& kept);

  const Node& node_;
  Containers* const containers_;
  Sandboxes* const sandboxes_;
  Keepers* const keepers_;
  absl::Time undo_deadline_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_RECOVERY_H_
