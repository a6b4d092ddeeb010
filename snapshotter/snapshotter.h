// Snapshots: root filesystems for containers, made of layers without copying them.
//
// Vocabulary
//   layer       an unpacked layer tar, read only, kept once per diff ID (layer_store.h)
//   generation  one unpacked copy of a layer; a mounted one is never replaced, a repair is a new one
//   snapshot    a list of layers with a writable directory on top, or a view without one
//   mount       what overlayfs is asked for. A snapshotter returns mounts, and mounts nothing
//
// Life cycle
//   Prepare or View ──▶ live ──▶ Remove
//   A live snapshot pins the generations below it, whatever happens to the image that named them.
//
// Example
//   ASSIGN_OR_RETURN(OverlayMount mount, snapshotter.Prepare(SnapshotId(container), image.layers));
//   ... the container's init mounts lowers, upper and work in its own mount namespace ...
//   RETURN_IF_ERROR(snapshotter.Remove(SnapshotId(container)));  // after the last process is gone
//
// A directory is made before its record, and the record is removed before the directory, so a crash
// at any instant leaves at most a directory without a record: garbage, swept when the store opens.
#ifndef BERTH_SNAPSHOTTER_SNAPSHOTTER_H_
#define BERTH_SNAPSHOTTER_SNAPSHOTTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/cancellation.h"
#include "base/ids.h"

namespace berth {

// The arguments of an overlay mount. Every path is absolute, real, shorter than 256 bytes (the limit
// of a string in fsconfig(2), so `lowerdir+` takes it) and free of ',', ':' and '\'.
struct OverlayMount {
  // Topmost first, as overlayfs wants them. Never empty, no path twice; at least two without `upper`
  // (an empty directory fills up), so an overlay mount of it is always valid.
  std::vector<std::string> lowers;
  // Both empty for a view: mount it read only.
  std::string upper;
  std::string work;
};

// Who the root directory of a writable snapshot belongs to: a user namespace's root on the host. Its layers
// stay as they are, and are id-mapped by whoever mounts them.
struct SnapshotOwner {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct DiskUsage {
  uint64_t bytes = 0;  // allocated, not apparent; a hard-linked file counts once
  uint64_t inodes = 0;
};

struct SnapshotInfo {
  SnapshotId id;
  bool writable = false;
  std::vector<LayerGeneration> layers;  // bottom first
  absl::Time created;
};

// All methods may be called from any thread at any time. None holds a lock while it waits for a disk.
class Snapshotter {
 public:
  virtual ~Snapshotter() = default;

  // Makes a writable snapshot over `layers`, bottom first, as CompleteLayers() of the layer store
  // returned them. A diff ID that occurs twice is mounted once, at its topmost place.
  // NotFound names a layer that isn't there; AlreadyExists: the id is in use; InvalidArgument: an id
  // with other characters than [A-Za-z0-9_-], or more layers than overlayfs stacks (500).
  // Costs a few mkdirs and one commit that is not synced: after a power cut the snapshot may be gone.
  virtual absl::StatusOr<OverlayMount> Prepare(const SnapshotId& id,
                                               absl::Span<const DiffId> layers,
                                               const SnapshotOwner& owner) = 0;
  absl::StatusOr<OverlayMount> Prepare(const SnapshotId& id, absl::Span<const DiffId> layers) {
    return Prepare(id, layers, SnapshotOwner());
  }

  // The same without a writable directory.
  virtual absl::StatusOr<OverlayMount> View(const SnapshotId& id,
                                            absl::Span<const DiffId> layers) = 0;

  // Forgets a snapshot and discards what was written to it; a missing one is OK, so it may be
  // repeated. The caller has unmounted it. The files go later, in the background. Layers that nothing
  // needs any more go at the next LayerStore::Collect().
  virtual absl::Status Remove(const SnapshotId& id) = 0;

  // What Prepare() or View() returned. NotFound. Reads memory only.
  virtual absl::StatusOr<OverlayMount> Mounts(const SnapshotId& id) const = 0;

  // What the writable directory takes on disk; zero for a view. NotFound. Walks the directory: call it
  // where that may take seconds. Files that vanish meanwhile are not an error.
  // A cancelled walk ends between two files.
  virtual absl::StatusOr<DiskUsage> Usage(const SnapshotId& id,
                                          const Cancellation& cancellation) const = 0;

  // All snapshots, sorted by id. Reads memory only.
  virtual std::vector<SnapshotInfo> Walk() const = 0;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_SNAPSHOTTER_H_
