// Layers: unpacked once per diff ID, whatever image they belong to and whatever lies under them.
//
// Vocabulary
//   diff ID     the digest of a layer's uncompressed tar: the key
//   generation  one unpacked copy of a layer below ROOT/layers
//   ingest      a layer on its way in: compressed bytes are written, a confined process unpacks them
//   lease       keeps layers from collection while an image is being pulled; lives in memory, since a
//               pull doesn't outlive the daemon
//   reference   keeps layers for an owner (an image); it is a record
//   complete    an image's list of layers, ready to be mounted: without repetitions, and with a small
//               layer of bare directories on top where a tar left out a directory's own entry
//
// Life cycle
//   BeginIngest ──Write…──▶ Commit ──▶ leased ──▶ referenced ──▶ unreferenced ──Collect──▶ gone
//        └── destroyed or crashed: gone
//
// Example: a pull
//   std::unique_ptr<LayerLease> lease = store.NewLease();
//   for (each layer) {                                    // any order, side by side
//     if (store.Acquire(diff, *lease).ok()) continue;     // already there, and now it stays
//     ASSIGN_OR_RETURN(auto ingest, store.BeginIngest({.expected = diff}));
//     for (each piece of the compressed blob) RETURN_IF_ERROR(ingest->Write(piece));
//     ... check the blob's own digest ...
//     RETURN_IF_ERROR(ingest->Commit(*lease).status());
//   }
//   ASSIGN_OR_RETURN(std::vector<DiffId> complete, store.CompleteLayers(diffs, *lease));
//   RETURN_IF_ERROR(store.Reference(image.str(), complete));
//   ... commit the image's record with `complete` in it; then the lease may go ...
//
// A removal: remove the image's record, Unreference(image), Collect(). At start: RetainReferences(all
// images), Collect(). All methods may be called from any thread.
#ifndef BERTH_SNAPSHOTTER_LAYER_STORE_H_
#define BERTH_SNAPSHOTTER_LAYER_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/ids.h"

namespace berth {

struct LayerInfo {
  LayerGeneration generation;
  DiffId diff_id;
  uint64_t tar_bytes = 0;   // of the uncompressed stream
  uint64_t file_bytes = 0;  // content of regular files
  uint64_t entries = 0;     // of the tar
  // What it takes on its disk, measured once it was synced; both 0 for a layer of before Berth measured.
  uint64_t disk_bytes = 0;
  uint64_t inodes = 0;
  absl::Time created;
};

// Bounds on what a stranger's layer may make us do. A layer past one is refused: ResourceExhausted.
struct LayerLimits {
  uint64_t tar_bytes = uint64_t{256} << 30;  // uncompressed
  uint64_t entries = 4'000'000;
  uint32_t path_bytes = 4095;  // PATH_MAX without its NUL
  // Uncompressed bytes for each compressed one, judged from 64 MiB on. gzip can't exceed 1032.
  uint32_t ratio = 2000;
};

struct IngestRequest {
  DiffId expected;  // empty: take what comes, and tell
  LayerLimits limits;
};

// One layer on its way in. Destroying it before Commit() kills its unpacker and leaves nothing.
// One thread writes and commits; any thread may Cancel().
class LayerIngest {
 public:
  virtual ~LayerIngest() = default;

  // Hands on compressed bytes: gzip, zstd or a plain tar, told apart by their first bytes. Waits while
  // the unpacker is busy. Fails with the unpacker's reason as soon as it has refused the layer
  // (InvalidArgument or ResourceExhausted naming the tar's entry), or Cancelled.
  virtual absl::Status Write(absl::string_view bytes) = 0;

  // Ends the stream, waits for the unpacker, checks the diff ID, syncs the data, then records the
  // layer (synced), and adds it to `lease`. DataLoss: another diff ID than expected. If an equal layer
  // was committed meanwhile, that one is returned and this one discarded. Call it at most once.
  virtual absl::StatusOr<LayerInfo> Commit(class LayerLease& lease) = 0;

  // Makes a waiting Write() or Commit() return Cancelled soon.
  virtual void Cancel() = 0;
};

// Keeps the layers that were acquired with it from Collect() until it is destroyed. The store must
// outlive it.
class LayerLease {
 public:
  virtual ~LayerLease() = default;
};

class LayerStore {
 public:
  virtual ~LayerStore() = default;

  virtual std::unique_ptr<LayerLease> NewLease() = 0;

  // Finds a layer and keeps it for the lease. NotFound: fetch it. Reads memory only. `lease` must come
  // from this store.
  virtual absl::StatusOr<LayerInfo> Acquire(const DiffId& layer, LayerLease& lease) = 0;

  // Starts an unpacker (a few milliseconds). A crash leaves a directory that is swept at the next
  // start. The store must outlive the ingest.
  virtual absl::StatusOr<std::unique_ptr<LayerIngest>> BeginIngest(
      const IngestRequest& request) = 0;

  // An image's layers, bottom first, made ready to be mounted: what Reference() and
  // Snapshotter::Prepare() take. Each layer must be in the lease, and so is what this adds. Repeatable:
  // equal input gives an equal result.
  virtual absl::StatusOr<std::vector<DiffId>> CompleteLayers(absl::Span<const DiffId> layers,
                                                             LayerLease& lease) = 0;

  // Keeps `layers` for `owner` in place of what it kept before; synced. NotFound names a layer that
  // isn't there. Repeatable.
  virtual absl::Status Reference(absl::string_view owner, absl::Span<const DiffId> layers) = 0;
  // An unknown owner is OK.
  virtual absl::Status Unreference(absl::string_view owner) = 0;
  // Drops the references of every owner that is not in `owners`: what a crash between a reference and
  // the commit of its image left. Only before pulls start.
  virtual absl::Status RetainReferences(absl::Span<const std::string> owners) = 0;

  // Removes every layer that no reference, snapshot, lease or ingest needs; returns how many. Records
  // go first (synced), the files follow in the background. Safe beside pulls and Prepare().
  virtual absl::StatusOr<int> Collect() = 0;

  // All layers, sorted by generation.
  virtual std::vector<LayerInfo> List() const = 0;

  // Compares a layer with what was written when it came in. DataLoss names the first file that differs.
  // Reads every byte of the layer. With `retire`, a damaged layer is hidden from Acquire(), so that the
  // next pull fetches a new generation, while snapshots over the old one go on.
  virtual absl::Status Verify(const LayerGeneration& generation, bool retire) = 0;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_LAYER_STORE_H_
