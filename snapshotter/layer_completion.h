// Finds the directories of an image whose attributes its layers, unpacked each by itself, lost.
//
// A tar may hold `a/b` without an entry for `a`. Unpacked over what lies below, `a` keeps the mode,
// owner and attributes it has there; unpacked alone, it is a bare directory, and overlayfs shows the
// topmost one's attributes. A layer of bare directories on top puts that right.
#ifndef BERTH_SNAPSHOTTER_LAYER_COMPLETION_H_
#define BERTH_SNAPSHOTTER_LAYER_COMPLETION_H_

#include <sys/types.h>
#include <time.h>

#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "snapshotter/unpack/digest_list.h"

namespace berth {

struct CompletionLayer {
  std::string tree;                      // the path of its fs/
  absl::btree_set<std::string> implied;  // canonical paths
  bool opaque_root = false;
};

struct BareDirectory {
  std::string path;  // canonical; parents come first in a list
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec mtime = {};
  Xattrs xattrs;
};

// The bare directories that go on top of `layers`, topmost first; often none. Reads the trees only.
absl::StatusOr<std::vector<BareDirectory>> FindBareDirectories(
    absl::Span<const CompletionLayer> layers);

// Makes them below `tree`, an empty directory, and lists them in `digests`; returns the list's digest.
absl::StatusOr<Sha256Value> WriteBareDirectories(absl::Span<const BareDirectory> directories,
                                                 int tree, int digests);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_LAYER_COMPLETION_H_
