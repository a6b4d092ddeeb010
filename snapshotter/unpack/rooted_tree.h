// Names of a tar resolved below a directory fd, so that no name, link or race leads out of it.
//
// A name's parent directories are looked up inside the root: links among them are followed as if the
// root were "/", and what is missing is made (0755, root) and reported as implied. The last component
// is never followed. The canonical path of a place has no links, no "." and no leading slash; the root
// itself is "". One thread.
#ifndef BERTH_SNAPSHOTTER_UNPACK_ROOTED_TREE_H_
#define BERTH_SNAPSHOTTER_UNPACK_ROOTED_TREE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace berth {

// `name` without leading and double slashes, "." and a trailing slash; the root is "". InvalidArgument
// for "..", a NUL, a component over 255 bytes, or more than `limit` bytes: it doesn't repeat the name.
absl::StatusOr<std::string> CleanTarPath(absl::string_view name, size_t limit);

class RootedTree {
 public:
  // What became of a missing parent; `replaced_whiteout`: a whiteout stood there.
  using OnImplied = std::function<absl::Status(const std::string& path, bool replaced_whiteout)>;

  // `root` is borrowed.
  RootedTree(int root, OnImplied on_implied);

  // A place in the tree: *at calls take parent and name. `parent` is valid until the next call.
  struct Place {
    int parent = -1;
    std::string name;
    std::string path;  // canonical
  };

  // `path` is clean and not the root. NotFound, with make_parents off, if a parent is missing;
  // FailedPrecondition if a parent is no directory.
  absl::StatusOr<Place> Locate(const std::string& path, bool make_parents);

  // Removes what is at `place`, a tree too. A missing one is OK.
  absl::Status Remove(const Place& place);

  // Opens a directory by its canonical path, for reading its attributes or names.
  absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path) const;

 private:
  absl::StatusOr<std::string> ResolveSlowly(const std::string& path, bool make_parents);
  absl::Status MakeImplied(const std::string& path, bool replaced_whiteout);
  absl::Status RemoveContents(const std::string& path);

  const int root_;
  const OnImplied on_implied_;
  // The last parent: a tar lists a directory's files together.
  bool cached_ = false;
  std::string asked_;
  std::string canonical_;
  UniqueFd parent_;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_ROOTED_TREE_H_
