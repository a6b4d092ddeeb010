// The snapshotter's tables in state.db.
#ifndef BERTH_SNAPSHOTTER_LAYER_TABLE_H_
#define BERTH_SNAPSHOTTER_LAYER_TABLE_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sqlite.h"
#include "snapshotter/layer_index.h"
#include "snapshotter/snapshotter.h"

namespace berth {

absl::Status MigrateLayerTables(Database& database);

absl::Status InsertLayer(Transaction& transaction, const LayerRecord& record);
absl::StatusOr<std::vector<LayerRecord>> LoadLayers(Transaction& transaction);

absl::Status InsertSnapshot(Transaction& transaction, const SnapshotInfo& info);
absl::StatusOr<std::vector<SnapshotInfo>> LoadSnapshots(Transaction& transaction);

// Owner and diff ID.
absl::StatusOr<std::vector<std::pair<std::string, DiffId>>> LoadReferences(
    Transaction& transaction);

// A snapshot's generations as one text, bottom first, and back.
std::string FormatGenerations(const std::vector<LayerGeneration>& generations);
// DataLoss if one is not 16 hex digits.
absl::StatusOr<std::vector<LayerGeneration>> ParseGenerations(absl::string_view text);
bool IsGeneration(absl::string_view text);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_LAYER_TABLE_H_
