#include "snapshotter/overlay_store.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/sqlite.h"
#include "base/status.h"
#include "snapshotter/layer_index.h"
#include "snapshotter/layer_table.h"
#include "snapshotter/overlay_layers.h"
#include "snapshotter/overlay_snapshots.h"
#include "snapshotter/sidecar.h"
#include "snapshotter/store_paths.h"
#include "snapshotter/trash.h"

namespace berth {
namespace {

constexpr size_t kMaxRoot = 120;  // ROOT/snapshots/ID/work with an id of 100 stays below 256

absl::StatusOr<StorePaths> MakeRoot(const std::string& root) {
  if (root.empty() || root[0] != '/') {
    return absl::InvalidArgumentError(absl::StrCat("root ", root, " is not absolute"));
  }
  RETURN_IF_ERROR(MakeDirectories(root, 0700));
  char real[PATH_MAX];
  if (realpath(root.c_str(), real) == nullptr) return ErrnoStatus("realpath", root);
  StorePaths paths = {real};
  if (paths.root.size() > kMaxRoot || paths.root.find_first_of(",:\\") != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("root ", paths.root, " is longer than ",
                                                   kMaxRoot, " bytes or has one of , : \\ in it"));
  }
  for (const std::string& directory :
       {paths.layers(), paths.snapshots(), paths.trash(), paths.empty(), paths.empty2()}) {
    RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  }
  // They become / of a view.
  for (const std::string& directory : {paths.empty(), paths.empty2()}) {
    if (chmod(directory.c_str(), 0755) != 0) return ErrnoStatus("chmod", directory);
  }
  return paths;
}

absl::StatusOr<bool> Exists(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  return ErrnoStatus("stat", path);
}

// Brings records and directories together, both ways. Runs before anybody else sees either.
class Sweeper {
 public:
  Sweeper(Database& database, const StorePaths& paths, Trash& trash, bool adopt)
      : database_(database), paths_(paths), trash_(trash), adopt_(adopt) {}

  absl::Status Run() {
    RETURN_IF_ERROR(Load());
    if (adopt_) RETURN_IF_ERROR(Adopt());
    RETURN_IF_ERROR(DropLostRecords());
    return DiscardStrangers();
  }

  const absl::btree_map<LayerGeneration, LayerRecord>& layers() const { return layers_; }
  std::vector<SnapshotInfo> snapshots() const {
    std::vector<SnapshotInfo> all;
    for (const auto& [id, info] : snapshots_) all.push_back(info);
    return all;
  }
  const std::vector<std::pair<std::string, DiffId>>& references() const { return references_; }
  const SweepReport& report() const { return report_; }

 private:
  absl::Status Load() {
    ASSIGN_OR_RETURN(Transaction transaction, database_.Read());
    ASSIGN_OR_RETURN(const std::vector<LayerRecord> layers, LoadLayers(transaction));
    for (const LayerRecord& record : layers) layers_[record.info.generation] = record;
    ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> snapshots, LoadSnapshots(transaction));
    for (const SnapshotInfo& info : snapshots) snapshots_[info.id] = info;
    ASSIGN_OR_RETURN(references_, LoadReferences(transaction));
    return absl::OkStatus();
  }

  absl::Status Adopt() {
    ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
    ASSIGN_OR_RETURN(const std::vector<std::string> layers, ListDirectory(paths_.layers()));
    for (const std::string& name : layers) RETURN_IF_ERROR(AdoptLayer(transaction, name));
    ASSIGN_OR_RETURN(const std::vector<std::string> snapshots, ListDirectory(paths_.snapshots()));
    for (const std::string& name : snapshots) RETURN_IF_ERROR(AdoptSnapshot(transaction, name));
    return transaction.Commit();
  }

  absl::Status AdoptLayer(Transaction& transaction, const std::string& name) {
    const LayerGeneration generation(name);
    if (!IsGeneration(name) || layers_.contains(generation)) return absl::OkStatus();
    const absl::StatusOr<std::string> text = ReadFile(paths_.layer_sidecar(generation), 64 << 10);
    if (!text.ok()) return absl::OkStatus();  // it was never whole
    const absl::StatusOr<LayerRecord> record = ParseSidecar(generation, *text);
    if (!record.ok()) {
      LogWarning("layer ", name, ": ", record.status().message(), ", ignoring");
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(InsertLayer(transaction, *record));
    layers_[generation] = *record;
    ++report_.adopted_layers;
    return absl::OkStatus();
  }

  absl::Status AdoptSnapshot(Transaction& transaction, const std::string& name) {
    const SnapshotId id(name);
    if (!IsSnapshotId(name) || snapshots_.contains(id)) return absl::OkStatus();
    char text[PATH_MAX];
    const ssize_t size = readlink((paths_.snapshot(id) + "/layers").c_str(), text, sizeof text);
    if (size < 3) return absl::OkStatus();
    absl::string_view list(text, static_cast<size_t>(size));
    const bool writable = absl::ConsumePrefix(&list, "rw:");
    if (!writable && !absl::ConsumePrefix(&list, "ro:")) return absl::OkStatus();
    const absl::StatusOr<std::vector<LayerGeneration>> generations = ParseGenerations(list);
    if (!generations.ok()) return absl::OkStatus();
    const SnapshotInfo info = {id, writable, *generations, absl::Now()};
    RETURN_IF_ERROR(InsertSnapshot(transaction, info));
    snapshots_[id] = info;
    ++report_.adopted_snapshots;
    return absl::OkStatus();
  }

  absl::Status DropLostRecords() {
    std::vector<LayerGeneration> layers;
    for (const auto& [generation, record] : layers_) {
      ASSIGN_OR_RETURN(const bool exists, Exists(paths_.layer_sidecar(generation)));
      if (!exists) layers.push_back(generation);
    }
    for (const LayerGeneration& generation : layers) layers_.erase(generation);
    std::vector<SnapshotId> snapshots;
    for (const auto& [id, info] : snapshots_) {
      ASSIGN_OR_RETURN(bool whole, Exists(paths_.snapshot(id)));
      for (const LayerGeneration& layer : info.layers) whole = whole && layers_.contains(layer);
      if (!whole) snapshots.push_back(id);
    }
    for (const SnapshotId& id : snapshots) snapshots_.erase(id);
    if (layers.empty() && snapshots.empty()) return absl::OkStatus();

    ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
    for (const LayerGeneration& generation : layers) {
      RETURN_IF_ERROR(transaction.Prepare("DELETE FROM layers WHERE generation = ?")
                          .Text(generation.str())
                          .Run());
    }
    for (const SnapshotId& id : snapshots) {
      RETURN_IF_ERROR(
          transaction.Prepare("DELETE FROM snapshots WHERE id = ?").Text(id.str()).Run());
    }
    report_.lost_layers = static_cast<int>(layers.size());
    report_.lost_snapshots = static_cast<int>(snapshots.size());
    return transaction.Commit();
  }

  absl::Status DiscardStrangers() {
    ASSIGN_OR_RETURN(const std::vector<std::string> layers, ListDirectory(paths_.layers()));
    for (const std::string& name : layers) {
      if (layers_.contains(LayerGeneration(name))) continue;
      RETURN_IF_ERROR(trash_.Discard(absl::StrCat(paths_.layers(), "/", name)));
      ++report_.layers;
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> snapshots, ListDirectory(paths_.snapshots()));
    for (const std::string& name : snapshots) {
      if (snapshots_.contains(SnapshotId(name))) continue;
      RETURN_IF_ERROR(trash_.Discard(absl::StrCat(paths_.snapshots(), "/", name)));
      ++report_.snapshots;
    }
    trash_.EmptySoon();
    return absl::OkStatus();
  }

  Database& database_;
  const StorePaths& paths_;
  Trash& trash_;
  const bool adopt_;
  absl::btree_map<LayerGeneration, LayerRecord> layers_;
  absl::btree_map<SnapshotId, SnapshotInfo> snapshots_;
  std::vector<std::pair<std::string, DiffId>> references_;
  SweepReport report_;
};

class Store : public OverlayStore {
 public:
  Store(Database& database, const StorePaths& paths, const OverlayOptions& options,
        std::shared_ptr<Trash> trash, const Sweeper& found)
      : report_(found.report()) {
    for (const auto& [generation, record] : found.layers()) index_.Add(record, /*pinned=*/false);
    absl::btree_map<std::string, std::vector<DiffId>> references;
    for (const auto& [owner, layer] : found.references()) references[owner].push_back(layer);
    for (const auto& [owner, layers] : references) {
      index_.Reference(owner, layers, /*check=*/false).IgnoreError();
    }
    const std::vector<SnapshotInfo> snapshots = found.snapshots();
    // The sweep dropped those that miss a layer.
    for (const SnapshotInfo& info : snapshots) index_.PinGenerations(info.layers).IgnoreError();
    snapshots_ = std::make_unique<OverlaySnapshots>(database, paths, index_, trash, snapshots);
    layers_ = std::make_unique<OverlayLayers>(database, paths, options.unpacker, index_,
                                              std::move(trash));
  }

  Snapshotter& snapshots() override { return *snapshots_; }
  LayerStore& layers() override { return *layers_; }
  SweepReport sweep() const override { return report_; }

 private:
  const SweepReport report_;
  LayerIndex index_;
  std::unique_ptr<OverlaySnapshots> snapshots_;
  std::unique_ptr<OverlayLayers> layers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<OverlayStore>> OpenOverlayStore(Database& database,
                                                               const OverlayOptions& options) {
  ASSIGN_OR_RETURN_WITH(const StorePaths paths, MakeRoot(options.root), "open the snapshotter");
  RETURN_IF_ERROR(MigrateLayerTables(database));
  auto trash = std::make_shared<Trash>(database, paths.trash(), options.background);
  Sweeper sweeper(database, paths, *trash, options.adopt);
  RETURN_IF_ERROR_WITH(sweeper.Run(), "sweep the snapshotter");
  return std::make_unique<Store>(database, paths, options, std::move(trash), sweeper);
}

}  // namespace berth
