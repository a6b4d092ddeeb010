#include "snapshotter/unpack/block_ring.h"

#include <algorithm>
#include <utility>

namespace berth {

BlockRing::BlockRing(size_t block_bytes, int blocks, int readers)
    : blocks_(blocks), released_(readers, 0), holding_(readers, false) {
  for (Block& block : blocks_) block.bytes.resize(block_bytes);
}

uint64_t BlockRing::Slowest() const {
  return *std::min_element(released_.begin(), released_.end());
}

absl::Span<char> BlockRing::BeginBlock() {
  MutexLock lock(&mu_);
  while (!given_up_ && published_ - Slowest() >= blocks_.size()) changed_.Wait(&mu_);
  if (given_up_) return {};
  return absl::MakeSpan(blocks_[published_ % blocks_.size()].bytes);
}

void BlockRing::EndBlock(size_t size) {
  MutexLock lock(&mu_);
  blocks_[published_ % blocks_.size()].size = size;
  ++published_;
  changed_.SignalAll();
}

void BlockRing::Close(absl::Status status) {
  MutexLock lock(&mu_);
  closed_ = true;
  if (!given_up_) status_ = std::move(status);
  changed_.SignalAll();
}

absl::StatusOr<absl::string_view> BlockRing::Next(int reader) {
  MutexLock lock(&mu_);
  if (holding_[reader]) {
    holding_[reader] = false;
    ++released_[reader];
    changed_.SignalAll();
  }
  while (!given_up_ && !closed_ && released_[reader] == published_) changed_.Wait(&mu_);
  if (given_up_) return status_;
  if (released_[reader] < published_) {
    holding_[reader] = true;
    const Block& block = blocks_[released_[reader] % blocks_.size()];
    return absl::string_view(block.bytes.data(), block.size);
  }
  if (!status_.ok()) return status_;
  return absl::string_view();
}

void BlockRing::GiveUp(absl::Status status) {
  MutexLock lock(&mu_);
  if (!given_up_) status_ = std::move(status);
  given_up_ = true;
  changed_.SignalAll();
}

}  // namespace berth
