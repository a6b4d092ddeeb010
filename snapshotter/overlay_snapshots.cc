#include "snapshotter/overlay_snapshots.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/status.h"
#include "snapshotter/disk_usage.h"
#include "snapshotter/layer_table.h"

namespace berth {
namespace {

constexpr size_t kMaxLowers = 500;  // OVL_MAX_STACK in the kernel's fs/overlayfs/params.h

absl::Status Missing(const SnapshotId& id) {
  return absl::NotFoundError(absl::StrCat("snapshot ", id.str(), " does not exist"));
}

}  // namespace

bool IsSnapshotId(absl::string_view text) {
  if (text.empty() || text.size() > 100) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_') return false;
  }
  return true;
}

OverlaySnapshots::OverlaySnapshots(Database& database, StorePaths paths, LayerIndex& index,
                                   std::shared_ptr<Trash> trash,
                                   const std::vector<SnapshotInfo>& loaded)
    : database_(database), paths_(std::move(paths)), index_(index), trash_(std::move(trash)) {
  for (const SnapshotInfo& info : loaded) snapshots_[info.id] = {info, State::kLive};
}

absl::StatusOr<OverlayMount> OverlaySnapshots::Prepare(const SnapshotId& id,
                                                       absl::Span<const DiffId> layers,
                                                       const SnapshotOwner& owner) {
  return Make(id, layers, /*writable=*/true, owner);
}

absl::StatusOr<OverlayMount> OverlaySnapshots::View(const SnapshotId& id,
                                                    absl::Span<const DiffId> layers) {
  return Make(id, layers, /*writable=*/false, SnapshotOwner());
}

absl::StatusOr<OverlayMount> OverlaySnapshots::Make(const SnapshotId& id,
                                                    absl::Span<const DiffId> layers, bool writable,
                                                    const SnapshotOwner& owner) {
  if (!IsSnapshotId(id.str())) {
    return absl::InvalidArgumentError(
        absl::StrCat("snapshot id ", absl::CHexEscape(id.str()), " is malformed"));
  }
  const std::vector<DiffId> kept = TopmostOnly(layers);
  if (kept.size() > kMaxLowers) {
    return absl::InvalidArgumentError(
        absl::StrCat("snapshot ", id.str(), ": overlayfs stacks at most ", kMaxLowers, " layers"));
  }
  SnapshotInfo info = {.id = id, .writable = writable, .layers = {}, .created = absl::Now()};
  {
    MutexLock lock(&mu_);
    if (!snapshots_.try_emplace(id, Entry{info, State::kMaking}).second) {
      return absl::AlreadyExistsError(absl::StrCat("snapshot ", id.str(), " exists"));
    }
  }
  absl::Cleanup forget = [this, &id] {
    MutexLock lock(&mu_);
    snapshots_.erase(id);
  };
  ASSIGN_OR_RETURN_WITH(const std::vector<LayerRecord> records, index_.Pin(kept),
                        absl::StrCat("snapshot ", id.str()));
  for (const LayerRecord& record : records) info.layers.push_back(record.info.generation);
  absl::Cleanup unpin = [this, &info] { index_.Unpin(info.layers); };

  absl::Cleanup discard = [this, &id] { trash_->Discard(paths_.snapshot(id)).IgnoreError(); };
  RETURN_IF_ERROR_WITH(MakeDirectory(info, owner), absl::StrCat("snapshot ", id.str()));
  RETURN_IF_ERROR(Failpoint("snapshotter.prepare.directory"));
  {
    ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kNormal));
    RETURN_IF_ERROR(InsertSnapshot(transaction, info));
    RETURN_IF_ERROR(transaction.Commit());  // the commit point
  }
  std::move(discard).Cancel();
  std::move(unpin).Cancel();
  std::move(forget).Cancel();
  Failpoint("snapshotter.prepare.committed").IgnoreError();
  MutexLock lock(&mu_);
  snapshots_[id] = {info, State::kLive};
  return MountOf(info);
}

absl::Status OverlaySnapshots::MakeDirectory(const SnapshotInfo& info, const SnapshotOwner& owner) {
  const std::string directory = paths_.snapshot(info.id);
  if (mkdir(directory.c_str(), 0700) != 0) return ErrnoStatus("mkdir", directory);
  // What a rebuilt state.db needs: the generations below it must not be collected while it is mounted.
  const std::string generations =
      absl::StrCat(info.writable ? "rw:" : "ro:", FormatGenerations(info.layers));
  if (generations.size() < 4096 &&
      symlink(generations.c_str(), (directory + "/layers").c_str()) != 0) {
    return ErrnoStatus("symlink", directory + "/layers");
  }
  if (!info.writable) return absl::OkStatus();
  const std::string upper = directory + "/fs";
  const std::string work = directory + "/work";
  // The umask is the daemon's; the upper's mode is that of the container's /.
  if (mkdir(upper.c_str(), 0755) != 0 || chmod(upper.c_str(), 0755) != 0) {
    return ErrnoStatus("mkdir", upper);
  }
  if ((owner.uid | owner.gid) != 0 && chown(upper.c_str(), owner.uid, owner.gid) != 0) {
    return ErrnoStatus("chown", upper);
  }
  if (mkdir(work.c_str(), 0700) != 0) return ErrnoStatus("mkdir", work);
  return absl::OkStatus();
}

OverlayMount OverlaySnapshots::MountOf(const SnapshotInfo& info) const {
  OverlayMount mount;
  for (auto layer = info.layers.rbegin(); layer != info.layers.rend(); ++layer) {
    mount.lowers.push_back(paths_.layer_tree(*layer));
    const absl::StatusOr<LayerRecord> record = index_.Get(*layer);
    if (record.ok() && record->opaque_root) break;  // overlayfs looks at no layer's root for that
  }
  if (info.writable) {
    mount.upper = paths_.snapshot(info.id) + "/fs";
    mount.work = paths_.snapshot(info.id) + "/work";
  }
  // overlayfs wants one lower with an upper, two without.
  if (mount.lowers.size() < (info.writable ? 1u : 2u)) mount.lowers.push_back(paths_.empty());
  if (mount.lowers.size() < (info.writable ? 1u : 2u)) mount.lowers.push_back(paths_.empty2());
  return mount;
}

absl::Status OverlaySnapshots::Remove(const SnapshotId& id) {
  SnapshotInfo info;
  {
    MutexLock lock(&mu_);
    const auto found = snapshots_.find(id);
    if (found == snapshots_.end()) return absl::OkStatus();
    if (found->second.state != State::kLive) {
      return absl::UnavailableError(absl::StrCat("snapshot ", id.str(), " is being changed"));
    }
    found->second.state = State::kRemoving;
    info = found->second.info;
  }
  absl::Cleanup revive = [this, &id] {
    MutexLock lock(&mu_);
    snapshots_[id].state = State::kLive;
  };
  {
    // Not synced here: the trash is emptied only after a synced commit.
    ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kNormal));
    RETURN_IF_ERROR(transaction.Prepare("DELETE FROM snapshots WHERE id = ?").Text(id.str()).Run());
    RETURN_IF_ERROR(Failpoint("snapshotter.remove.record"));
    RETURN_IF_ERROR(transaction.Commit());  // the commit point
  }
  std::move(revive).Cancel();
  Failpoint("snapshotter.remove.committed").IgnoreError();
  const absl::Status discarded = trash_->Discard(paths_.snapshot(id));
  if (!discarded.ok()) LogWarning("remove a snapshot: ", discarded.message(), ", ignoring");
  index_.Unpin(info.layers);
  MutexLock lock(&mu_);
  snapshots_.erase(id);
  return absl::OkStatus();
}

absl::StatusOr<SnapshotInfo> OverlaySnapshots::Find(const SnapshotId& id) const {
  MutexLock lock(&mu_);
  const auto found = snapshots_.find(id);
  if (found == snapshots_.end() || found->second.state != State::kLive) return Missing(id);
  return found->second.info;
}

absl::StatusOr<OverlayMount> OverlaySnapshots::Mounts(const SnapshotId& id) const {
  ASSIGN_OR_RETURN(const SnapshotInfo info, Find(id));
  return MountOf(info);
}

absl::StatusOr<DiskUsage> OverlaySnapshots::Usage(const SnapshotId& id,
                                                  const Cancellation& cancellation) const {
  ASSIGN_OR_RETURN(const SnapshotInfo info, Find(id));
  if (!info.writable) return DiskUsage();
  return MeasureDiskUsage(paths_.snapshot(id) + "/fs", cancellation);
}

std::vector<SnapshotInfo> OverlaySnapshots::Walk() const {
  MutexLock lock(&mu_);
  std::vector<SnapshotInfo> snapshots;
  for (const auto& [id, entry] : snapshots_) {
    if (entry.state == State::kLive) snapshots.push_back(entry.info);
  }
  return snapshots;
}

}  // namespace berth
