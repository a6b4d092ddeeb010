// What is left of pods' networks: attachments whose undo failed, and CNI GC.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "server/pods/attachment.h"
#include "server/pods/sandboxes.h"

namespace berth {
namespace {

constexpr absl::Duration kUndoDeadline = absl::Seconds(60);
constexpr absl::Duration kFirstRetry = absl::Seconds(5);
constexpr absl::Duration kLongestPause = absl::Minutes(5);

}  // namespace

// The undo of Attach, for a pod that comes to nothing. The caller is not kept waiting for plugins
// that have failed or hung already: what is left then goes in the background.
void Sandboxes::UndoAttach(store::v1::PodRecord* record) {
  const PodId id(record->id());
  if (record->state() != store::v1::POD_STATE_REMOVING) {
    const absl::Status status = Detach(*record, absl::Now() + kUndoDeadline);
    if (status.ok()) {
      if (node_.store->Pod(id) != nullptr) (void)node_.store->RemovePod(id);
      return;
    }
    LogWarning("undo of pod ", record->id(), ": ", status.message(),
               "; going on in the background");
  }
  if (node_.store->Pod(id) == nullptr) return;  // there was no intent, so no plugin ran
  // With the result, if there is one: it helps some plugins' DEL.
  record->set_state(store::v1::POD_STATE_REMOVING);
  if (absl::Status put = node_.store->PutPod(*record, Durability::kNormal); !put.ok()) {
    LogWarning("undo of pod ", record->id(), ": ", put.message(), ", ignoring");
  }
  UndoLater(id);
}

void Sandboxes::UndoLater(const PodId& id) { UndoAfter(kFirstRetry, id); }

void Sandboxes::UndoAfter(absl::Duration pause, const PodId& id) {
  const auto undo = [this, pause, id] {
    const PodRecordPtr record = node_.store->Pod(id);
    if (record == nullptr) return;
    const absl::Status status = RemoveRecord(record, absl::Now() + kUndoDeadline);
    if (status.ok()) {
      LogInfo("undo of pod ", id.str(), ": done");
      return;
    }
    LogWarning("undo of pod ", id.str(), ": ", status.message(), "; trying again");
    UndoAfter(std::min(pause * 2, kLongestPause), id);
  };
  MutexLock lock(&undos_mu_);
  if (undos_stopped_) return;
  if (undos_ == nullptr) undos_ = std::make_unique<Timers>();
  undos_->At(absl::Now() + pause, undo);
}

void Sandboxes::StopUndos() {
  std::unique_ptr<Timers> undos;
  {
    MutexLock lock(&undos_mu_);
    undos_stopped_ = true;
    undos = std::move(undos_);
  }
  if (undos != nullptr) undos->Stop();
}

absl::Status Sandboxes::CollectNetworkGarbage(absl::Time deadline) {
  std::vector<Attachment> valid;
  for (const PodRecordPtr& pod : node_.store->Pods()) {
    for (const store::v1::CniAttachment& cni : pod->cni()) {
      if (cni.phase() != store::v1::CniAttachment::DELETED) valid.push_back(FromRecord(*pod, cni));
    }
  }
  return node_.network->CollectGarbage(valid, deadline);
}

}  // namespace berth
