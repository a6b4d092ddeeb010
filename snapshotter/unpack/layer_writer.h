// Applies the entries of a layer's tar to a directory, as overlayfs wants a lower one to look.
//
// The rules (each has a test of its name)
//   - `.wh.NAME` is a whiteout if the layer has no NAME; a directory NAME of the layer becomes opaque;
//     another NAME of the layer just stays. `.wh..wh..opq` makes its directory opaque wherever it
//     stands. Other `.wh..wh.*` names are ignored.
//   - An entry replaces an earlier one of its name; a directory over a directory only takes new
//     attributes; a directory over anything else is opaque.
//   - A hard link is made to what the layer has; to anything else it is refused.
//   - Names may be absolute (they are not), may not contain "..", and links among the parents resolve
//     inside the directory.
//   - Extended attributes: security.capability and user.* (but user.overlay.*); others are dropped,
//     since trusted.overlay.* from a stranger would steer the mount.
//   - Directories that entries imply are made 0755, root, mtime 0, and listed.
// A refusal is InvalidArgument, a bound ResourceExhausted; the message begins with `entry NAME: `.
#ifndef BERTH_SNAPSHOTTER_UNPACK_LAYER_WRITER_H_
#define BERTH_SNAPSHOTTER_UNPACK_LAYER_WRITER_H_

#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/unpack/digest_list.h"
#include "snapshotter/unpack/rooted_tree.h"
#include "snapshotter/unpack/sha256.h"
#include "snapshotter/unpack/whiteout.h"

namespace berth {

struct TarEntry {
  std::string path;  // as the tar spells it
  mode_t mode = 0;   // with the type bits: S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO
  bool hard_link = false;
  std::string target;  // of a symbolic or hard link
  int64_t uid = 0;
  int64_t gid = 0;
  timespec mtime = {};
  int64_t size = 0;
  dev_t device = 0;
  Xattrs xattrs;
};

// The next piece of a file's content; false at the end. Pieces ascend, gaps are holes.
struct ContentPiece {
  absl::string_view bytes;
  uint64_t offset = 0;
};
using ContentReader = std::function<absl::StatusOr<bool>(ContentPiece* piece)>;

struct LayerWriterOptions {
  uint64_t file_bytes = UINT64_MAX;
  uint64_t entries = UINT64_MAX;
  uint32_t path_bytes = 4095;
  const char* opaque_xattr = kOpaqueXattr;
};

// One thread.
class LayerWriter {
 public:
  // Both fds are borrowed; the directory is empty.
  LayerWriter(int root, int digests, const LayerWriterOptions& options);

  // `content` is read for regular files only.
  absl::Status Add(const TarEntry& entry, const ContentReader& content);

  struct Summary {
    uint64_t entries = 0;
    uint64_t file_bytes = 0;
    uint64_t implied_offset = 0;
    Sha256Value digest_list;
  };
  // Sets the times of directories and ends the digest list. Syncs nothing.
  absl::StatusOr<Summary> Finish();

 private:
  struct Directory {
    bool implied = false;
    timespec mtime = {};
  };
  using Place = RootedTree::Place;
  // What stood at a place that was cleared for a new entry.
  enum class Before { kNothing, kWhiteout, kOther };

  absl::Status AddNamed(const std::string& path, const TarEntry& entry,
                        const ContentReader& content);
  absl::Status SetRoot(const TarEntry& entry);
  absl::Status AddWhiteout(const std::string& path, const std::string& name);
  absl::Status AddDirectory(const Place& place, const TarEntry& entry);
  absl::Status AddFile(const Place& place, const TarEntry& entry, const ContentReader& content);
  absl::Status AddSymlink(const Place& place, const TarEntry& entry);
  absl::Status AddNode(const Place& place, const TarEntry& entry);
  absl::Status AddHardLink(const std::string& path, const TarEntry& entry);

  absl::StatusOr<std::string> WriteContent(int fd, const TarEntry& entry,
                                           const ContentReader& content);
  absl::StatusOr<Before> Clear(const Place& place);
  absl::Status SetOpaque(const std::string& path);
  absl::Status SetXattrs(int fd, const Xattrs& xattrs);
  absl::Status Record(DigestKind kind, const Place& place, const TarEntry& entry,
                      std::string digest);
  absl::Status OnImplied(const std::string& path, bool replaced_whiteout);

  const int root_;
  const LayerWriterOptions options_;
  RootedTree tree_;
  DigestListWriter digests_;
  Sha256 sha256_;
  absl::btree_map<std::string, Directory> directories_;  // by canonical path
  uint64_t implied_ = 0;
  uint64_t entries_ = 0;
  uint64_t file_bytes_ = 0;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_LAYER_WRITER_H_
