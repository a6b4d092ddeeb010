// What is left of pods' networks: attachments whose undo failed, and CNI GC.
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "server/pods/attachment.h"
#include "server/pods/sandboxes.h"

namespace berth {
namespace {

constexpr absl::Duration kUndoDeadline = absl::Seconds(60);

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
  if (node_.store->Pod(id) == nullptr) {  // there was no intent, so no plugin ran
    containers_->leftovers().RetryLater(
        absl::StrCat("network of pod ", id.str()),
        [this, record = *record] { return Detach(record, absl::Now() + kUndoDeadline); });
    return;
  }
  // With the result, if there is one: it helps some plugins' DEL. Nobody else puts a pod that is being made.
  record->set_state(store::v1::POD_STATE_REMOVING);
  if (absl::Status put = node_.store->PutPod(*record, Durability::kNormal); !put.ok()) {
    LogWarning("undo of pod ", record->id(), ": ", put.message(), ", ignoring");
  }
  UndoLater(id);
}

void Sandboxes::UndoLater(const PodId& id) {
  containers_->leftovers().RetryLater(
      absl::StrCat("pod ", id.str(), ", which came to nothing"), [this, id]() -> absl::Status {
        const PodRecordPtr record = node_.store->Pod(id);
        if (record == nullptr) return absl::OkStatus();
        RETURN_IF_ERROR(RemoveRecord(record, absl::Now() + kUndoDeadline));
        LogInfo("undo of pod ", id.str(), ": done");
        return absl::OkStatus();
      });
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
