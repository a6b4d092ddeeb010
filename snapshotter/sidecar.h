// The sidecar `layer.json`: a layer's record beside the layer, from which a lost state.db is rebuilt.
// Its presence says that the layer was whole and synced.
#ifndef BERTH_SNAPSHOTTER_SIDECAR_H_
#define BERTH_SNAPSHOTTER_SIDECAR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/layer_index.h"

namespace berth {

std::string FormatSidecar(const LayerRecord& record);
// DataLoss names the field that is missing or wrong.
absl::StatusOr<LayerRecord> ParseSidecar(const LayerGeneration& generation, absl::string_view text);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_SIDECAR_H_
