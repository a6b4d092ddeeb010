#include "snapshotter/unpack/layer_unpacker.h"

#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "snapshotter/unpack/block_ring.h"
#include "snapshotter/unpack/layer_writer.h"
#include "snapshotter/unpack/tar_reader.h"

namespace berth {
namespace {

constexpr size_t kBlockBytes = 256 << 10;
constexpr int kBlocks = 8;
constexpr uint64_t kRatioFrom = uint64_t{64} << 20;  // a small layer of zeros harms nobody
constexpr int kHashReader = 0;
constexpr int kTarReader = 1;

}  // namespace

// The threads wait from Prepare() to Run(), so that a seccomp filter set in between needs no clone.
class LayerUnpacker::Pipeline {
 public:
  explicit Pipeline(const UnpackRequest& request)
      : request_(request),
        ring_(kBlockBytes, kBlocks, 2),
        tar_([this] { return ring_.Next(kTarReader); }),
        inflate_([this] { Inflate(); }),
        hash_([this] { Hash(); }) {}

  ~Pipeline() {
    ring_.GiveUp(absl::CancelledError("given up"));
    Open(nullptr);
    Join().IgnoreError();  // nobody asks any more
  }

  absl::Status Prepare() { return tar_.Prepare(); }

  // Opens the gate.
  void Open(ByteReader input) {
    MutexLock lock(&mu_);
    if (open_) return;
    input_ = std::move(input);
    open_ = true;
    opened_.SignalAll();
  }

  absl::StatusOr<LayerWriter::Summary> ReadTar(LayerWriter& writer) {
    absl::Status status =
        tar_.ReadAll([&writer](const TarEntry& entry, const ContentReader& content) {
          return writer.Add(entry, content);
        });
    if (!status.ok()) {
      ring_.GiveUp(status);
      return status;
    }
    RETURN_IF_ERROR(Drain());
    return writer.Finish();
  }

  // After ReadTar(): waits for the threads; their results are then ours.
  absl::Status Join() {
    if (inflate_.joinable()) inflate_.join();
    if (hash_.joinable()) hash_.join();
    return hash_status_;
  }

  const Sha256Value& diff_id() const { return diff_id_; }
  uint64_t tar_bytes() const { return tar_bytes_; }

 private:
  bool AwaitGate() {
    MutexLock lock(&mu_);
    while (!open_) opened_.Wait(&mu_);
    return input_ != nullptr;
  }

  // The diff ID covers the stream to its end, beyond the tar's.
  absl::Status Drain() {
    while (true) {
      ASSIGN_OR_RETURN(const absl::string_view piece, ring_.Next(kTarReader));
      if (piece.empty()) return absl::OkStatus();
    }
  }

  void Inflate() {
    if (!AwaitGate()) return;
    ring_.Close(InflateAll());
  }

  absl::Status InflateAll() {
    Decompressor decompressor(input_);
    while (true) {
      const absl::Span<char> block = ring_.BeginBlock();
      if (block.empty()) return absl::OkStatus();  // a reader gave up, and knows why
      ASSIGN_OR_RETURN(const size_t size, decompressor.Read(block.data(), block.size()));
      if (size == 0) return absl::OkStatus();
      tar_bytes_ += size;
      if (tar_bytes_ > request_.tar_bytes) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the layer's tar is larger than ", request_.tar_bytes, " bytes"));
      }
      if (tar_bytes_ > kRatioFrom &&
          tar_bytes_ / request_.ratio > decompressor.compressed_bytes()) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the layer inflates more than ", request_.ratio, " times"));
      }
      ring_.EndBlock(size);
    }
  }

  void Hash() {
    if (!AwaitGate()) return;
    while (true) {
      const absl::StatusOr<absl::string_view> block = ring_.Next(kHashReader);
      if (!block.ok()) {
        hash_status_ = block.status();
        return;
      }
      if (block->empty()) break;
      sha256_.Add(*block);
    }
    diff_id_ = sha256_.Finish();
  }

  const UnpackRequest request_;
  BlockRing ring_;
  TarReader tar_;
  Sha256 sha256_;
  // Each written by one thread, read after Join().
  uint64_t tar_bytes_ = 0;
  Sha256Value diff_id_ = {};
  absl::Status hash_status_;

  Mutex mu_;
  CondVar opened_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  ByteReader input_;  // set before the gate opens, then the inflate thread's

  std::thread inflate_;  // last: they use all of the above
  std::thread hash_;
};

LayerUnpacker::LayerUnpacker(const UnpackRequest& request, int root, int digests,
                             const char* opaque_xattr)
    : request_(request), root_(root), digests_(digests), opaque_xattr_(opaque_xattr) {}

LayerUnpacker::~LayerUnpacker() = default;

absl::Status LayerUnpacker::Prepare() {
  if (request_.ratio == 0) return absl::InvalidArgumentError("a ratio of 0");
  pipeline_ = std::make_unique<Pipeline>(request_);
  return pipeline_->Prepare();
}

absl::StatusOr<UnpackedLayer> LayerUnpacker::Run(ByteReader input) {
  LayerWriterOptions options;
  options.file_bytes = request_.tar_bytes;
  options.entries = request_.entries;
  options.path_bytes = request_.path_bytes;
  options.opaque_xattr = opaque_xattr_;
  LayerWriter writer(root_, digests_, options);
  pipeline_->Open(std::move(input));
  ASSIGN_OR_RETURN(const LayerWriter::Summary summary, pipeline_->ReadTar(writer));
  RETURN_IF_ERROR(pipeline_->Join());
  return UnpackedLayer{
      .diff_id = pipeline_->diff_id(),
      .digest_list = summary.digest_list,
      .tar_bytes = pipeline_->tar_bytes(),
      .file_bytes = summary.file_bytes,
      .entries = summary.entries,
      .implied_offset = summary.implied_offset,
  };
}

}  // namespace berth
