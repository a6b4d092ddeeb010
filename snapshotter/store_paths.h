// Where things are below ROOT. docs/snapshotter-disk.md describes them.
#ifndef BERTH_SNAPSHOTTER_STORE_PATHS_H_
#define BERTH_SNAPSHOTTER_STORE_PATHS_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "base/ids.h"

namespace berth {

struct StorePaths {
  std::string root;  // real, absolute

  std::string layers() const { return root + "/layers"; }
  std::string snapshots() const { return root + "/snapshots"; }
  std::string trash() const { return root + "/trash"; }
  // Lowers for images without layers; two, since overlayfs refuses the same one twice.
  std::string empty() const { return root + "/empty/1"; }
  std::string empty2() const { return root + "/empty/2"; }
  std::string layer(const LayerGeneration& generation) const {
    return absl::StrCat(root, "/layers/", generation.str());
  }
  std::string layer_tree(const LayerGeneration& generation) const {
    return layer(generation) + "/fs";
  }
  std::string layer_digests(const LayerGeneration& generation) const {
    return layer(generation) + "/digests";
  }
  std::string layer_sidecar(const LayerGeneration& generation) const {
    return layer(generation) + "/layer.json";
  }
  std::string snapshot(const SnapshotId& id) const {
    return absl::StrCat(root, "/snapshots/", id.str());
  }
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_STORE_PATHS_H_
