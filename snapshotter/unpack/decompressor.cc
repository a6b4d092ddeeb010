#include "snapshotter/unpack/decompressor.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr size_t kInputBytes = 256 << 10;
// A frame may ask for a window of up to this (2^27 is what `zstd --ultra -22` uses, and zstd's own
// default limit); memory is taken only when a frame asks.
constexpr int kWindowLogMax = 27;

}  // namespace

struct Decompressor::Gzip {
  inflate_state state;
  bool in_member = false;
};

struct Decompressor::Zstd {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  bool in_frame = false;
  ~Zstd() { ZSTD_freeDCtx(context); }
};

Decompressor::Decompressor(ByteReader input) : input_(std::move(input)), in_(kInputBytes) {}
Decompressor::~Decompressor() = default;

absl::Status Decompressor::Refill() {
  if (begin_ < end_ || ended_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const size_t got, input_(in_.data(), in_.size()));
  begin_ = 0;
  end_ = got;
  compressed_bytes_ += got;
  ended_ = got == 0;
  return absl::OkStatus();
}

absl::Status Decompressor::Sniff() {
  // Four bytes decide; a stream may deliver them one by one.
  while (end_ < 4 && !ended_) {
    ASSIGN_OR_RETURN(const size_t got, input_(in_.data() + end_, in_.size() - end_));
    end_ += got;
    compressed_bytes_ += got;
    ended_ = got == 0;
  }
  const auto starts = [this](const char* magic, size_t size) {
    return end_ >= size && std::memcmp(in_.data(), magic, size) == 0;
  };
  const bool skippable = end_ >= 4 && (in_[0] & 0xf0) == 0x50 && starts(in_.data(), 1) &&
                         std::memcmp(in_.data() + 1, "\x2a\x4d\x18", 3) == 0;
  if (starts("\x1f\x8b", 2)) {
    format_ = Format::kGzip;
    gzip_ = std::make_unique<Gzip>();
  } else if (starts("\x28\xb5\x2f\xfd", 4) || skippable) {
    format_ = Format::kZstd;
    zstd_ = std::make_unique<Zstd>();
    if (zstd_->context == nullptr) return absl::ResourceExhaustedError("zstd: out of memory");
    ZSTD_DCtx_setParameter(zstd_->context, ZSTD_d_windowLogMax, kWindowLogMax);
  } else {
    format_ = Format::kPlain;
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Decompressor::Read(char* buffer, size_t size) {
  if (format_ == Format::kUnknown) RETURN_IF_ERROR(Sniff());
  switch (format_) {
    case Format::kGzip:
      return ReadGzip(buffer, size);
    case Format::kZstd:
      return ReadZstd(buffer, size);
    default:
      return ReadPlain(buffer, size);
  }
}

absl::StatusOr<size_t> Decompressor::ReadPlain(char* buffer, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    RETURN_IF_ERROR(Refill());
    if (begin_ == end_) break;
    const size_t take = std::min(size - filled, end_ - begin_);
    std::memcpy(buffer + filled, in_.data() + begin_, take);
    begin_ += take;
    filled += take;
  }
  return filled;
}

absl::StatusOr<bool> Decompressor::NextMember() {
  RETURN_IF_ERROR(Refill());
  if (begin_ == end_) return false;
  if (in_[begin_] == 0) {  // padding: zeros to the end, nothing else
    while (begin_ < end_) {
      for (; begin_ < end_; ++begin_) {
        if (in_[begin_] != 0) return absl::InvalidArgumentError("gzip: bytes after the padding");
      }
      RETURN_IF_ERROR(Refill());
    }
    return false;
  }
  if (static_cast<unsigned char>(in_[begin_]) != 0x1f) {
    return absl::InvalidArgumentError("gzip: bytes after the last member are not gzip");
  }
  isal_inflate_init(&gzip_->state);
  gzip_->state.crc_flag = ISAL_GZIP;
  gzip_->in_member = true;
  return true;
}

absl::StatusOr<size_t> Decompressor::ReadGzip(char* buffer, size_t size) {
  inflate_state& state = gzip_->state;
  size_t filled = 0;
  while (filled < size) {
    if (!gzip_->in_member) {
      ASSIGN_OR_RETURN(const bool more, NextMember());
      if (!more) break;
    }
    RETURN_IF_ERROR(Refill());
    state.next_in = reinterpret_cast<uint8_t*>(in_.data() + begin_);
    state.avail_in = static_cast<uint32_t>(end_ - begin_);
    state.next_out = reinterpret_cast<uint8_t*>(buffer + filled);
    state.avail_out = static_cast<uint32_t>(size - filled);
    const int result = isal_inflate(&state);
    const size_t wrote = size - filled - state.avail_out;
    filled += wrote;
    begin_ = end_ - state.avail_in;
    if (result != ISAL_DECOMP_OK && result != ISAL_END_INPUT) {
      return absl::InvalidArgumentError(absl::StrCat("gzip: bad data (igzip error ", result, ")"));
    }
    if (state.block_state == ISAL_BLOCK_FINISH) {
      gzip_->in_member = false;
    } else if (ended_ && wrote == 0) {
      return absl::InvalidArgumentError("gzip: the stream ends inside a member");
    }
  }
  return filled;
}

absl::StatusOr<size_t> Decompressor::ReadZstd(char* buffer, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    RETURN_IF_ERROR(Refill());
    if (ended_ && begin_ == end_ && !zstd_->in_frame) break;
    ZSTD_inBuffer in = {in_.data() + begin_, end_ - begin_, 0};
    ZSTD_outBuffer out = {buffer + filled, size - filled, 0};
    const size_t result = ZSTD_decompressStream(zstd_->context, &out, &in);
    if (ZSTD_isError(result)) {
      return absl::InvalidArgumentError(absl::StrCat("zstd: ", ZSTD_getErrorName(result)));
    }
    filled += out.pos;
    begin_ += in.pos;
    zstd_->in_frame = result != 0;
    if (ended_ && zstd_->in_frame && out.pos == 0) {
      return absl::InvalidArgumentError("zstd: the stream ends inside a frame");
    }
  }
  return filled;
}

}  // namespace berth
