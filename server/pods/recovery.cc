#include "server/pods/recovery.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "server/network/leftover_plugins.h"

namespace berth {
namespace {

constexpr absl::Duration kKeeperDeadline = absl::Seconds(5);
// What is killed and has not ended by then is in uninterruptible sleep: the start waits no longer for it.
constexpr absl::Duration kOrphanDeadline = absl::Seconds(1);
// For all half-made pods together; then they go on in the background.
constexpr absl::Duration kUndoPatience = absl::Seconds(5);
// A plugin that the crash interrupted would do something else after its DEL.
constexpr absl::Duration kPluginGrace = absl::Seconds(2);
constexpr absl::Duration kPluginDeadline = absl::Seconds(4);

void LogIgnored(const absl::Status& status, const std::string& what) {
  if (!status.ok()) LogWarning("recovery: ", what, ": ", status.message(), ", ignoring");
}

}  // namespace

void Recovery::Run() {
  EndInterruptedPlugins();
  undo_deadline_ = absl::Now() + kUndoPatience;
  for (const PodRecordPtr& pod : node_.store->Pods()) {
    if (pod->state() == store::v1::POD_STATE_PREPARING ||
        pod->state() == store::v1::POD_STATE_REMOVING) {
      UndoHalfMade(pod);
    } else if (pod->boot_id() != node_.boot_id) {
      SettleOtherBoot(pod);
    } else if (pod->state() == store::v1::POD_STATE_READY) {
      Adopt(pod);
    } else {
      SettleEnded(pod);
    }
  }
  SweepStateDirectories();
  SweepCgroups();
  SweepNamespaces();
  SweepSnapshots();
}

void Recovery::SettleOtherBoot(const PodRecordPtr& pod) {
  for (const ContainerRecordPtr& container : node_.store->ContainersOf(PodId(pod->id()))) {
    containers_->MarkLost(ContainerId(container->id()), "the node was restarted");
  }
  if (pod->state() != store::v1::POD_STATE_READY) return;
  store::v1::PodRecord ended = *pod;
  ended.set_state(store::v1::POD_STATE_NOTREADY);
  ended.set_state_reason("the node was restarted");
  LogIgnored(node_.store->PutPod(std::move(ended), Durability::kNormal),
             absl::StrCat("pod ", pod->id()));
}

// A stopped pod's containers have ended, unless the daemon died while it stopped one whose keeper was
// dead.
void Recovery::SettleEnded(const PodRecordPtr& pod) {
  for (const ContainerRecordPtr& container : node_.store->ContainersOf(PodId(pod->id()))) {
    if (container->state() != store::v1::CONTAINER_STATE_RUNNING) continue;
    EndOrphan(PodId(pod->id()));
    containers_->MarkLost(ContainerId(container->id()), "its pod was stopped");
  }
}

void Recovery::Adopt(const PodRecordPtr& pod) {
  const PodId id(pod->id());
  absl::StatusOr<std::shared_ptr<Keeper>> keeper =
      node_.launcher->Adopt(id, node_.PodDirectory(pod->id()), absl::Now() + kKeeperDeadline);
  if (!keeper.ok()) {
    LogWarning("recovery: pod ", pod->id(), ": its keeper is gone: ", keeper.status().message());
    sandboxes_->OnKeeperDeath(id);
    return;
  }
  LogIgnored(node_.launcher->Refresh(**keeper, absl::Now() + kKeeperDeadline),
             absl::StrCat("bring the keeper of pod ", pod->id(), " up to date"));
  // What the watcher hears of them waits until it is known which starts were missed.
  std::vector<ContainerId> created;
  for (const ContainerRecordPtr& container : node_.store->ContainersOf(id)) {
    if (container->state() != store::v1::CONTAINER_STATE_CREATED) continue;
    created.emplace_back(container->id());
    containers_->live().BeginStart(created.back());
  }
  if (absl::Status added = keepers_->Add(*keeper); !added.ok()) {
    LogIgnored(added, absl::StrCat("watch the keeper of pod ", pod->id()));
  }
  SettleContainers(pod, **keeper);
  for (const ContainerId& container : created) {
    const auto exit = containers_->live().EndStart(container);
    if (!exit.has_value()) continue;
    if (exit->started) RecordMissedStart(container, exit->started_at);
    containers_->OnExit(id, container, *exit);
  }
}

void Recovery::RecordMissedExits(const PodId& pod) {
  const auto exits = ReadExitRecords(node_.PodDirectory(pod.str()));
  LogIgnored(exits.status(), absl::StrCat("exit records of pod ", pod.str()));
  if (!exits.ok()) return;
  for (const auto& [container, exit] : *exits) {
    if (exit.started) RecordMissedStart(container, exit.started_at);
    containers_->live().EndStart(container);  // nothing more to be heard of it
    containers_->OnExit(pod, container, exit);
  }
}

// The gate was opened, and the record of it is what the crash took.
void Recovery::RecordMissedStart(const ContainerId& id, absl::Time started_at) {
  const ContainerRecordPtr record = node_.store->Container(id);
  if (record == nullptr || record->state() != store::v1::CONTAINER_STATE_CREATED) return;
  store::v1::ContainerRecord running = *record;
  running.set_state(store::v1::CONTAINER_STATE_RUNNING);
  running.set_started_at_ns(absl::ToUnixNanos(started_at));
  LogIgnored(node_.store->PutContainer(std::move(running), Durability::kNormal),
             absl::StrCat("container ", id.str()));
}

void Recovery::SettleContainers(const PodRecordPtr& pod, Keeper& keeper) {
  const PodId id(pod->id());
  const auto kept = keeper.List(absl::Now() + kKeeperDeadline);
  // Later than the list, so that what is not alive in it has its record.
  RecordMissedExits(id);
  if (!kept.ok()) {
    LogIgnored(kept.status(), absl::StrCat("containers of pod ", pod->id()));
    return;
  }
  std::set<std::string> alive;  // with a process, gated or running
  std::set<std::string> recorded;
  for (const KeptContainer& container : *kept) {
    const ContainerRecordPtr record = node_.store->Container(container.id);
    if (record == nullptr) {
      LogInfo("recovery: container ", container.id.str(), " of pod ", pod->id(),
              " was never recorded, ending it");
      continue;  // its cgroup's intent below takes it down
    }
    if (container.state == KeptState::kExited) continue;
    alive.insert(container.id.str());
    if (container.state == KeptState::kCreated) containers_->live().SetGated(container.id, true);
    if (container.state == KeptState::kRunning) {
      RecordMissedStart(container.id, container.started_at);
    }
  }
  for (const ContainerRecordPtr& record : node_.store->ContainersOf(id)) {
    recorded.insert(record->id());
    if (record->state() == store::v1::CONTAINER_STATE_RUNNING && !alive.contains(record->id())) {
      containers_->MarkLost(ContainerId(record->id()),
                            "its process ended while no daemon ran, without a record");
    }
    const ContainerRecordPtr now = node_.store->Container(ContainerId(record->id()));
    if (now != nullptr && now->state() == store::v1::CONTAINER_STATE_RUNNING) {
      containers_->ResumeStop(*now);
    }
  }
  recorded.insert(pod->id());
  RemoveIntents(pod->id(), recorded);
  // The keeper answers when it has: one that sleeps uninterruptibly is forgotten when it ends.
  const absl::Time deadline = absl::Now() + kOrphanDeadline;
  for (const KeptContainer& container : *kept) {
    if (node_.store->Container(container.id) != nullptr) continue;
    LogIgnored(keeper.Forget(container.id, deadline),
               absl::StrCat("forget container ", container.id.str()));
  }
}

// Kills and removes the cgroups that creations noted and that belong to no record in `kept`. A note stays
// if that fails.
void Recovery::RemoveIntents(const std::string& pod, const std::set<std::string>& kept) {
  LogIgnored(containers_->RemoveNotedCgroups(pod, kept, absl::Now() + kOrphanDeadline),
             absl::StrCat("pod ", pod));
}

void Recovery::UndoHalfMade(const PodRecordPtr& pod) {
  LogInfo("recovery: pod ", pod->id(), " was half made or half removed, undoing it");
  EndOrphan(PodId(pod->id()));
  const absl::Status undone = sandboxes_->RemoveRecord(pod, undo_deadline_);
  if (undone.ok()) return;
  LogWarning("recovery: pod ", pod->id(), ": ", undone.message(), "; going on in the background");
  sandboxes_->UndoLater(PodId(pod->id()));
}

// Those of pods that were being made or undone when the last daemon ended.
void Recovery::EndInterruptedPlugins() {
  KillStoppedPlugins(node_.instance.str());
  std::set<std::string> ids;
  for (const PodRecordPtr& pod : node_.store->Pods()) {
    const bool half_made = pod->state() == store::v1::POD_STATE_PREPARING ||
                           pod->state() == store::v1::POD_STATE_REMOVING;
    if (half_made && pod->cni_size() > 0) ids.insert(pod->id());
  }
  if (ids.empty()) return;
  LogIgnored(EndLeftoverPlugins(ids, kPluginGrace, absl::Now() + kPluginDeadline),
             "plugins of an earlier daemon");
}

// Ends a keeper that belongs to no ready pod, with all that runs in its containers.
void Recovery::EndOrphan(const PodId& pod) {
  RemoveIntents(pod.str(), {});
  const auto keeper =
      node_.launcher->Adopt(pod, node_.PodDirectory(pod.str()), absl::Now() + kKeeperDeadline);
  if (!keeper.ok()) return;
  if (!(*keeper)->Shutdown(absl::Now() + kKeeperDeadline).ok()) (*keeper)->Kill();
}

void Recovery::SweepStateDirectories() {
  const std::string pods = absl::StrCat(node_.config->state, "/pods");
  const auto names = ListDirectory(pods);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const PodId id(name);
    if (node_.store->Pod(id) != nullptr) continue;
    LogInfo("recovery: pod ", name, " was never recorded, ending it");
    EndOrphan(id);
    LogIgnored(node_.netns->Unpin(id), absl::StrCat("namespace of pod ", name));
    const auto notes = ListDirectory(node_.CgroupIntents(name));
    if (notes.ok() && !notes->empty()) continue;  // the next start tries again
    LogIgnored(RemoveTree(node_.PodDirectory(name)), absl::StrCat("directory of pod ", name));
  }
}

// What the notes in STATE did not lead to, where cgroups carry a mark of ours.
void Recovery::SweepCgroups() {
  const auto left = node_.cgroups->Leftovers();
  if (!left.ok()) {
    LogIgnored(left.status(), "cgroups");
    return;
  }
  for (const OwnedCgroup& cgroup : *left) {
    const ContainerRecordPtr container = node_.store->Container(ContainerId(cgroup.name));
    const bool wanted = container != nullptr
                            ? container->state() != store::v1::CONTAINER_STATE_EXITED
                            : node_.store->Pod(PodId(cgroup.name)) != nullptr;
    if (wanted) continue;
    LogInfo("recovery: cgroup ", cgroup.path, " belongs to nothing, removing it");
    LogIgnored(node_.cgroups->Kill(cgroup.path, absl::Now() + kKeeperDeadline),
               absl::StrCat("kill cgroup ", cgroup.path));
    LogIgnored(node_.cgroups->Remove(cgroup.path), absl::StrCat("cgroup ", cgroup.path));
  }
}

void Recovery::SweepNamespaces() {
  const auto names = node_.netns->List();
  if (!names.ok()) {
    LogIgnored(names.status(), "namespaces");
    return;
  }
  std::set<std::string> kept;
  for (const PodRecordPtr& pod : node_.store->Pods()) kept.insert(pod->netns_path());
  for (const std::string& name : *names) {
    if (kept.contains(absl::StrCat("/run/netns/", name))) continue;
    LogIgnored(node_.netns->UnpinName(name), absl::StrCat("namespace ", name));
  }
}

void Recovery::SweepSnapshots() {
  std::set<std::string> kept;
  for (const ContainerRecordPtr& container : node_.store->Containers()) {
    for (std::string& id : Containers::SnapshotsOf(*container)) kept.insert(std::move(id));
  }
  for (const SnapshotInfo& snapshot : node_.snapshotter->Walk()) {
    if (kept.contains(snapshot.id.str())) continue;
    LogIgnored(node_.snapshotter->Remove(snapshot.id),
               absl::StrCat("snapshot ", snapshot.id.str()));
  }
}

}  // namespace berth
