// Small blobs by digest: manifests and configs, and beside them what a lost state.db is rebuilt from.
//
//   ROOT/blobs/sha256/HEX       a blob, named by its digest (sha512 likewise)
//   ROOT/blobs/images/HEX.json  an image's sidecar, named by its config: manifest digest and names
//
// Every file is written durably, before the record that needs it; one that no record needs is garbage.
// Threads: any; two writers of one blob write the same bytes.
#ifndef BERTH_SERVER_IMAGES_BLOB_STORE_H_
#define BERTH_SERVER_IMAGES_BLOB_STORE_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"

namespace berth {

struct ImageSidecar {
  ImageId id;
  Digest manifest;
  std::vector<std::string> names;
  int64_t time = 0;  // nanoseconds since 1970; where two claim a tag, the later one has it
};

class BlobStore {
 public:
  // Makes the directories.
  static absl::StatusOr<BlobStore> Open(const std::string& root);

  // `digest` has been verified against `bytes`.
  absl::Status Put(const Digest& digest, absl::string_view bytes) const;
  // NotFound; DataLoss if the file doesn't have the digest.
  absl::StatusOr<std::string> Get(const Digest& digest) const;

  absl::Status PutSidecar(const ImageSidecar& sidecar) const;
  absl::Status RemoveSidecar(const ImageId& id) const;
  // Those that parse, in the order of `time`.
  absl::StatusOr<std::vector<ImageSidecar>> Sidecars() const;

  absl::Status Remove(const Digest& digest) const;
  // Removes every blob and sidecar but those of `digests` (image IDs are digests too).
  absl::Status RetainOnly(const std::set<std::string>& digests) const;

 private:
  explicit BlobStore(std::string directory) : directory_(std::move(directory)) {}
  std::string PathOf(absl::string_view digest) const;
  std::string SidecarPath(const ImageId& id) const;

  std::string directory_;
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_BLOB_STORE_H_
