// The digest list: what was written for a layer, so that damage can be found later. Format in
// docs/digest-list.md.
//
// One record a line, in the order of writing; a later record of a path replaces an earlier one. The
// writer is the confined unpacker; the reader is the daemon, which checks the file's own digest first.
#ifndef BERTH_SNAPSHOTTER_UNPACK_DIGEST_LIST_H_
#define BERTH_SNAPSHOTTER_UNPACK_DIGEST_LIST_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/unpack/sha256.h"

namespace berth {

enum class DigestKind : char {
  kFile = 'f',
  kDirectory = 'd',
  kImplied = 'i',  // a directory without an entry of its own; the tail of the list names them again
  kSymlink = 'l',
  kCharDevice = 'c',
  kBlockDevice = 'b',
  kFifo = 'p',
  kHardLink = 'h',  // `digest` holds the target's path; a reader sees the target's record instead
  kWhiteout = 'w',
  kOpaque = 'o',   // of a directory that has its own record
  kRemoved = 'r',  // replaced within the layer, with all below it
};

struct DigestRecord {
  DigestKind kind = DigestKind::kFile;
  mode_t mode = 0;  // permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;  // of a device: its number
  int64_t mtime = 0;
  uint32_t mtime_ns = 0;
  std::string digest;  // hex SHA-256 of content or of a link's target; "-" for none
  std::string xattrs;  // the first 16 hex digits of XattrDigest(), "-" for none
  std::string path;    // canonical
  bool opaque = false;
};

using Xattrs = std::vector<std::pair<std::string, std::string>>;
// Of name and value of each, sorted by name; "-" if there is none.
std::string XattrDigest(Xattrs xattrs);

class DigestListWriter {
 public:
  explicit DigestListWriter(int fd);  // borrowed
  absl::Status Add(const DigestRecord& record);
  // Appends the list of directories that stayed implied; returns its offset.
  absl::StatusOr<uint64_t> AddImplied(const std::vector<std::string>& paths);
  // Writes what is buffered; the digest of the whole file.
  absl::StatusOr<Sha256Value> Finish();

 private:
  absl::Status Append(absl::string_view line);
  absl::Status Flush();

  const int fd_;
  std::string buffer_;
  uint64_t offset_ = 0;
  Sha256 sha256_;
};

// The last record of each path. DataLoss if a line doesn't parse.
absl::StatusOr<absl::btree_map<std::string, DigestRecord>> ParseDigestList(absl::string_view text);
// The paths in the tail that begins at implied_offset.
absl::StatusOr<std::vector<std::string>> ParseImplied(absl::string_view tail);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_DIGEST_LIST_H_
