// Turns a layer's bytes into its tar: gzip of several members, zstd of several frames, or plain tar,
// told apart by the first bytes (RFC 1952 2.3.1, RFC 8878 3.1.1).
//
// The input comes from a stranger: a stream that ends inside a member or frame, bytes that are neither
// after one, and a wrong check sum are errors (InvalidArgument). Zero bytes after a gzip member are
// padding. One thread.
#ifndef BERTH_SNAPSHOTTER_UNPACK_DECOMPRESSOR_H_
#define BERTH_SNAPSHOTTER_UNPACK_DECOMPRESSOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

namespace berth {

// Reads up to `size` bytes into `buffer`; 0 is the end.
using ByteReader = std::function<absl::StatusOr<size_t>(char* buffer, size_t size)>;

class Decompressor {
 public:
  explicit Decompressor(ByteReader input);
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // Fills `buffer` as far as the stream goes; less than `size` only at the end, 0 after it.
  absl::StatusOr<size_t> Read(char* buffer, size_t size);

  uint64_t compressed_bytes() const { return compressed_bytes_; }

 private:
  enum class Format { kUnknown, kPlain, kGzip, kZstd };
  struct Gzip;
  struct Zstd;

  absl::Status Refill();  // reads more input if none is left; sets ended_
  absl::Status Sniff();
  absl::StatusOr<size_t> ReadPlain(char* buffer, size_t size);
  absl::StatusOr<size_t> ReadGzip(char* buffer, size_t size);
  absl::StatusOr<size_t> ReadZstd(char* buffer, size_t size);
  // Between members: true if another begins.
  absl::StatusOr<bool> NextMember();

  const ByteReader input_;
  Format format_ = Format::kUnknown;
  std::vector<char> in_;
  size_t begin_ = 0;  // what is not consumed is in_[begin_, end_)
  size_t end_ = 0;
  bool ended_ = false;
  uint64_t compressed_bytes_ = 0;
  std::unique_ptr<Gzip> gzip_;
  std::unique_ptr<Zstd> zstd_;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_DECOMPRESSOR_H_
