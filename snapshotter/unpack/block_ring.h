// A ring of buffers from one writer to several readers, each of which sees every block in order.
// Nothing is copied: a block is free again when the last reader has asked for the one after it.
#ifndef BERTH_SNAPSHOTTER_UNPACK_BLOCK_RING_H_
#define BERTH_SNAPSHOTTER_UNPACK_BLOCK_RING_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace berth {

class BlockRing {
 public:
  BlockRing(size_t block_bytes, int blocks, int readers);

  // The writer: waits for a free block, fills it, publishes `size` bytes of it. An empty span means
  // that a reader has given up.
  absl::Span<char> BeginBlock() ABSL_LOCKS_EXCLUDED(mu_);
  void EndBlock(size_t size) ABSL_LOCKS_EXCLUDED(mu_);
  // No more blocks follow; readers that have seen them all get `status`, or the end if it is OK.
  void Close(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);

  // Reader `reader`: gives its last block back and waits for the next; empty is the end.
  absl::StatusOr<absl::string_view> Next(int reader) ABSL_LOCKS_EXCLUDED(mu_);
  // Makes everybody stop soon; readers get `status` (must not be OK).
  void GiveUp(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Block {
    std::vector<char> bytes;
    size_t size = 0;
  };
  uint64_t Slowest() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar changed_;
  std::vector<Block>
      blocks_;  // a block's bytes belong to the writer or to readers, by the counters
  uint64_t published_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> released_ ABSL_GUARDED_BY(mu_);  // for each reader
  std::vector<bool> holding_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);  // why it closed
  bool given_up_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_BLOCK_RING_H_
