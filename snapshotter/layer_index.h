// What layers there are and what needs them, in memory, so that no reader waits for a disk.
//
// A generation is needed while it is pinned (by leases and snapshots, counted), or while it is the
// newest of a diff ID that an owner references. Collection condemns what is not needed, removes its
// record, then forgets it: between the first and the last step nobody can pin it.
#ifndef BERTH_SNAPSHOTTER_LAYER_INDEX_H_
#define BERTH_SNAPSHOTTER_LAYER_INDEX_H_

#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "snapshotter/layer_store.h"

namespace berth {

struct LayerRecord {
  LayerInfo info;
  std::string digest_list;      // hex SHA-256 of GEN/digests
  uint64_t implied_offset = 0;  // where the list's part about implied directories begins
  bool opaque_root = false;     // `.wh..wh..opq` at the top: hides every layer below
  bool retired = false;         // damaged: kept for its snapshots only
};

// `layers` with a diff ID that occurs twice only at its topmost (last) place: overlayfs refuses a
// repeated lower, and what the lower one holds is hidden by the upper one anyway.
std::vector<DiffId> TopmostOnly(absl::Span<const DiffId> layers);

// All methods may be called from any thread; none blocks.
class LayerIndex {
 public:
  // Adds a layer, pinned once if `pinned`.
  void Add(const LayerRecord& record, bool pinned) ABSL_LOCKS_EXCLUDED(mu_);

  absl::StatusOr<LayerRecord> Get(const LayerGeneration& generation) const ABSL_LOCKS_EXCLUDED(mu_);
  // The newest generation of each, in this order, each pinned once. NotFound pins nothing.
  absl::StatusOr<std::vector<LayerRecord>> Pin(absl::Span<const DiffId> layers)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Pins what records say (at start); NotFound pins nothing.
  absl::Status PinGenerations(absl::Span<const LayerGeneration> generations)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Unpin(absl::Span<const LayerGeneration> generations) ABSL_LOCKS_EXCLUDED(mu_);
  void Retire(const LayerGeneration& generation) ABSL_LOCKS_EXCLUDED(mu_);

  // Replaces what `owner` references and returns what it did before. NotFound if a layer isn't there;
  // `check` off takes them as they come (at start).
  absl::StatusOr<std::vector<DiffId>> Reference(const std::string& owner,
                                                absl::Span<const DiffId> layers, bool check = true)
      ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<std::string> Owners() const ABSL_LOCKS_EXCLUDED(mu_);

  // Collection: Condemn(), then Forget() or, if removing the records failed, Spare().
  std::vector<LayerGeneration> Condemn() ABSL_LOCKS_EXCLUDED(mu_);
  void Forget(absl::Span<const LayerGeneration> generations) ABSL_LOCKS_EXCLUDED(mu_);
  void Spare(absl::Span<const LayerGeneration> generations) ABSL_LOCKS_EXCLUDED(mu_);

  std::vector<LayerRecord> List() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Entry {
    LayerRecord record;
    int pins = 0;
    bool condemned = false;
  };
  Entry* Newest(const DiffId& layer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  absl::btree_map<LayerGeneration, Entry> layers_ ABSL_GUARDED_BY(mu_);
  absl::btree_map<std::string, absl::btree_set<DiffId>> references_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_LAYER_INDEX_H_
