// SPDY/3 header blocks: names and values, compressed by zlib with a dictionary of the protocol's own.
//
// The compression's state spans a connection: each block of a direction goes through the same object,
// in order, wanted or not. (SPDY/3.1 draft, 2.6.10.)
#ifndef BERTH_SERVER_STREAMING_SPDY_HEADERS_H_
#define BERTH_SERVER_STREAMING_SPDY_HEADERS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace berth {

// In the order of the block. Values may hold several, separated by NUL.
using SpdyHeaders = std::vector<std::pair<std::string, std::string>>;

// Of a block after decompression; Kubernetes' clients send about a hundred bytes.
inline constexpr size_t kMaxSpdyHeaderBytes = 16 << 10;
inline constexpr size_t kMaxSpdyHeaderCount = 64;

// The first value of a header, whatever the case of its name; "" without one.
std::string FindSpdyHeader(const SpdyHeaders& headers, absl::string_view name);

const std::string& SpdyHeaderDictionary();

class SpdyHeaderReader {
 public:
  SpdyHeaderReader();
  ~SpdyHeaderReader();
  SpdyHeaderReader(const SpdyHeaderReader&) = delete;
  SpdyHeaderReader& operator=(const SpdyHeaderReader&) = delete;

  // InvalidArgument for anything that is malformed or beyond the bounds; no further block can be read
  // then.
  absl::StatusOr<SpdyHeaders> Read(absl::string_view block);

 private:
  struct Inflater;
  absl::StatusOr<std::string> Inflate(absl::string_view block);
  const std::unique_ptr<Inflater> inflater_;
};

class SpdyHeaderWriter {
 public:
  SpdyHeaderWriter();
  ~SpdyHeaderWriter();
  SpdyHeaderWriter(const SpdyHeaderWriter&) = delete;
  SpdyHeaderWriter& operator=(const SpdyHeaderWriter&) = delete;

  std::string Write(const SpdyHeaders& headers);

 private:
  struct Deflater;
  const std::unique_ptr<Deflater> deflater_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_SPDY_HEADERS_H_
