// One layer, from compressed bytes to a directory: inflate, hash and write, each on a thread of its own.
//
//   input ──▶ [inflate thread] ──blocks──┬──▶ [hash thread]    diff ID
//                                        └──▶ [calling thread] tar ──▶ LayerWriter
//
// Resident memory: eight blocks of 256 KiB, the decompressor's window, and the layer's directories.
#ifndef BERTH_SNAPSHOTTER_UNPACK_LAYER_UNPACKER_H_
#define BERTH_SNAPSHOTTER_UNPACK_LAYER_UNPACKER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "snapshotter/unpack/decompressor.h"
#include "snapshotter/unpack/protocol.h"
#include "snapshotter/unpack/sha256.h"
#include "snapshotter/unpack/whiteout.h"

namespace berth {

struct UnpackedLayer {
  Sha256Value diff_id;
  Sha256Value digest_list;
  uint64_t tar_bytes = 0;
  uint64_t file_bytes = 0;
  uint64_t entries = 0;
  uint64_t implied_offset = 0;
};

class LayerUnpacker {
 public:
  // `root` and `digests` are borrowed. `opaque_xattr` is for tests.
  LayerUnpacker(const UnpackRequest& request, int root, int digests,
                const char* opaque_xattr = kOpaqueXattr);
  ~LayerUnpacker();

  // Takes what is needed (threads, libraries' state), before confinement.
  absl::Status Prepare();

  // Unpacks; `input` is called on another thread. Syncs nothing. Call it once, after Prepare().
  absl::StatusOr<UnpackedLayer> Run(ByteReader input);

 private:
  class Pipeline;
  const UnpackRequest request_;
  const int root_;
  const int digests_;
  const char* const opaque_xattr_;
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_LAYER_UNPACKER_H_
