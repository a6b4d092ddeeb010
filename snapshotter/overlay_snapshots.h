// Snapshots over directories and SQLite; snapshotter.h is the contract.
#ifndef BERTH_SNAPSHOTTER_OVERLAY_SNAPSHOTS_H_
#define BERTH_SNAPSHOTTER_OVERLAY_SNAPSHOTS_H_

#include <memory>
#include <vector>

#include "absl/container/btree_map.h"
#include "base/mutex.h"
#include "base/sqlite.h"
#include "snapshotter/layer_index.h"
#include "snapshotter/snapshotter.h"
#include "snapshotter/store_paths.h"
#include "snapshotter/trash.h"

namespace berth {

class OverlaySnapshots : public Snapshotter {
 public:
  // `loaded` are the records; the generations below them are pinned already.
  OverlaySnapshots(Database& database, StorePaths paths, LayerIndex& index,
                   std::shared_ptr<Trash> trash, const std::vector<SnapshotInfo>& loaded);

  using Snapshotter::Prepare;
  absl::StatusOr<OverlayMount> Prepare(const SnapshotId& id, absl::Span<const DiffId> layers,
                                       const SnapshotOwner& owner) override;
  absl::StatusOr<OverlayMount> View(const SnapshotId& id, absl::Span<const DiffId> layers) override;
  absl::Status Remove(const SnapshotId& id) override ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<OverlayMount> Mounts(const SnapshotId& id) const override ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<DiskUsage> Usage(const SnapshotId& id,
                                  const Cancellation& cancellation) const override
      ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<SnapshotInfo> Walk() const override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  enum class State { kMaking, kLive, kRemoving };
  struct Entry {
    SnapshotInfo info;
    State state = State::kMaking;
  };

  absl::StatusOr<OverlayMount> Make(const SnapshotId& id, absl::Span<const DiffId> layers,
                                    bool writable, const SnapshotOwner& owner)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status MakeDirectory(const SnapshotInfo& info, const SnapshotOwner& owner);
  OverlayMount MountOf(const SnapshotInfo& info) const;
  absl::StatusOr<SnapshotInfo> Find(const SnapshotId& id) const ABSL_LOCKS_EXCLUDED(mu_);

  Database& database_;
  const StorePaths paths_;
  LayerIndex& index_;
  const std::shared_ptr<Trash> trash_;

  mutable Mutex mu_;
  absl::btree_map<SnapshotId, Entry> snapshots_ ABSL_GUARDED_BY(mu_);
};

// [A-Za-z0-9_-]{1,100}: it becomes a directory's name and part of a mount option.
bool IsSnapshotId(absl::string_view text);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_OVERLAY_SNAPSHOTS_H_
