// The layer store over directories and SQLite; layer_store.h is its contract.
#ifndef BERTH_SNAPSHOTTER_OVERLAY_LAYERS_H_
#define BERTH_SNAPSHOTTER_OVERLAY_LAYERS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/sqlite.h"
#include "base/unique_fd.h"
#include "snapshotter/layer_index.h"
#include "snapshotter/layer_store.h"
#include "snapshotter/store_paths.h"
#include "snapshotter/trash.h"

namespace berth {

class OverlayLayers : public LayerStore {
 public:
  // All borrowed but the trash; the index is loaded.
  OverlayLayers(Database& database, StorePaths paths, std::string unpacker, LayerIndex& index,
                std::shared_ptr<Trash> trash);

  std::unique_ptr<LayerLease> NewLease() override;
  absl::StatusOr<LayerInfo> Acquire(const DiffId& layer, LayerLease& lease) override;
  absl::StatusOr<std::unique_ptr<LayerIngest>> BeginIngest(const IngestRequest& request) override;
  absl::StatusOr<std::vector<DiffId>> CompleteLayers(absl::Span<const DiffId> layers,
                                                     LayerLease& lease) override;
  absl::Status Reference(absl::string_view owner, absl::Span<const DiffId> layers) override;
  absl::Status Unreference(absl::string_view owner) override;
  absl::Status RetainReferences(absl::Span<const std::string> owners) override;
  absl::StatusOr<int> Collect() override;
  std::vector<LayerInfo> List() const override;
  absl::Status Verify(const LayerGeneration& generation, bool retire) override;

 private:
  class Ingest;
  class Lease;
  // A generation on its way in: its directory with fs/ and an empty digest list.
  struct Draft {
    LayerGeneration generation;
    UniqueFd tree;
    UniqueFd digests;
  };

  absl::StatusOr<Draft> MakeDraft();
  // The data is synced. Writes the sidecar, then the record; the layer is pinned once for the caller.
  absl::Status CommitDraft(const LayerRecord& record);
  absl::StatusOr<std::vector<std::string>> ReadImplied(const LayerRecord& record) const;
  absl::StatusOr<DiffId> AddBareLayer(absl::Span<const struct BareDirectory> directories,
                                      Lease& lease);
  absl::Status WriteReferences(absl::string_view owner, absl::Span<const DiffId> layers);
  absl::Status RemoveRecords(absl::Span<const LayerGeneration> generations);
  // Of layers without records, and of those that an earlier call failed to discard.
  absl::Status DiscardFiles(std::vector<LayerGeneration> condemned);

  Database& database_;
  const StorePaths paths_;
  const std::string unpacker_;
  LayerIndex& index_;
  const std::shared_ptr<Trash> trash_;
  Mutex mu_;
  std::vector<LayerGeneration> undiscarded_ ABSL_GUARDED_BY(mu_);  // until a restart sweeps them
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_OVERLAY_LAYERS_H_
