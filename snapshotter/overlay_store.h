// The overlayfs snapshotter and its layers, over directories below one root and SQLite records.
//
//   ROOT/layers/GEN/     fs/, `digests` (unpack/digest_list.h) and `layer.json`, the sidecar, whose
//                        presence says that the layer is whole; GEN is 16 random hex digits
//   ROOT/snapshots/ID/   fs/ and work/; `layers`, a symbolic link whose text names the generations,
//                        for a rebuilt state.db
//   ROOT/trash/          renamed here first, deleted in the background
//   ROOT/empty/          lowers for an image without layers
#ifndef BERTH_SNAPSHOTTER_OVERLAY_STORE_H_
#define BERTH_SNAPSHOTTER_OVERLAY_STORE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "snapshotter/layer_store.h"
#include "snapshotter/snapshotter.h"

namespace berth {

class Database;

struct OverlayOptions {
  std::string root;      // absolute; made if missing. At most 120 bytes, without ',', ':' and '\'
  std::string unpacker;  // the berth-unpack program, absolute
  // Runs a closure some time later on another thread; it deletes files and may take minutes, and it
  // uses the database: run or drop all before that goes. Empty:
  // files are deleted before the call returns.
  std::function<void(std::function<void()>)> background;
  // state.db is new although ROOT may be not: take layers and snapshots in from their directories
  // instead of sweeping them.
  bool adopt = false;
};

// What was found at start, for the log.
struct SweepReport {
  int layers = 0;  // directories without a record, removed
  int snapshots = 0;
  int lost_layers = 0;  // records without a directory, removed
  int lost_snapshots = 0;
  int adopted_layers = 0;
  int adopted_snapshots = 0;
};

class OverlayStore {
 public:
  virtual ~OverlayStore() = default;
  virtual Snapshotter& snapshots() = 0;
  virtual LayerStore& layers() = 0;
  virtual SweepReport sweep() const = 0;
};

// Creates or migrates the tables, loads the records and sweeps both ways. Nothing else may use ROOT's
// layers and snapshots meanwhile. `database` must outlive the store.
absl::StatusOr<std::unique_ptr<OverlayStore>> OpenOverlayStore(Database& database,
                                                               const OverlayOptions& options);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_OVERLAY_STORE_H_
