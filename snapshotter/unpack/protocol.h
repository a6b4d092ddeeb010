// What the daemon and berth-unpack tell each other: one request, one result, on a SEQPACKET socket.
// Both are of the same build (the daemon starts the program that was installed with it), so a
// different version is an error, never a case to serve.
//
//   fd 3  control   the daemon sends UnpackRequest; the program answers with UnpackResult and ends
//   fd 4  input     compressed bytes until end-of-file
//   fd 5  target    the empty directory to fill, as a detached mount: a descriptor of another mount
//                   namespace could not be mounted
//   fd 6  digests   the digest list (digest_list.h), an empty file
#ifndef BERTH_SNAPSHOTTER_UNPACK_PROTOCOL_H_
#define BERTH_SNAPSHOTTER_UNPACK_PROTOCOL_H_

#include <cstdint>
#include <type_traits>

namespace berth {

inline constexpr int kUnpackControlFd = 3;
inline constexpr int kUnpackInputFd = 4;
inline constexpr int kUnpackTargetFd = 5;
inline constexpr int kUnpackDigestsFd = 6;

inline constexpr uint32_t kUnpackMagic = 0x4b505542;  // "BUPK"
inline constexpr uint32_t kUnpackVersion = 1;

// Bounds; LayerLimits in layer_store.h says what they mean.
struct UnpackRequest {
  uint32_t magic = kUnpackMagic;
  uint32_t version = kUnpackVersion;
  uint64_t tar_bytes = 0;
  uint64_t entries = 0;
  uint32_t path_bytes = 0;
  uint32_t ratio = 0;
};

struct UnpackResult {
  uint32_t magic = kUnpackMagic;
  uint32_t version = kUnpackVersion;
  int32_t code = 0;  // an absl::StatusCode; what follows counts only if it is kOk
  uint32_t message_size = 0;
  uint8_t diff_id[32] = {};      // SHA-256 of the uncompressed stream, to its end
  uint8_t digest_list[32] = {};  // SHA-256 of the digest list
  uint64_t tar_bytes = 0;
  uint64_t file_bytes = 0;
  uint64_t entries = 0;
  uint64_t implied_offset = 0;  // where the digest list's part about implied directories begins
  char message[1024] = {};      // why it was refused; no NUL
};

static_assert(std::is_trivially_copyable_v<UnpackRequest>);
static_assert(std::is_trivially_copyable_v<UnpackResult>);
static_assert(sizeof(UnpackRequest) == 32);
static_assert(sizeof(UnpackResult) == 16 + 64 + 32 + 1024);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_PROTOCOL_H_
