// berth-unpack: unpacks one layer, confined. Started by the daemon only; protocol.h is its interface.
#include <errno.h>
#include <locale.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "snapshotter/unpack/confinement.h"
#include "snapshotter/unpack/layer_unpacker.h"
#include "snapshotter/unpack/protocol.h"

namespace berth {
namespace {

absl::StatusOr<UnpackRequest> ReceiveRequest() {
  UnpackRequest request;
  const ssize_t size = recv(kUnpackControlFd, &request, sizeof request, 0);
  if (size < 0) return ErrnoStatus("receive the request");
  if (size != sizeof request || request.magic != kUnpackMagic ||
      request.version != kUnpackVersion) {
    return absl::InvalidArgumentError("the request is of another version");
  }
  return request;
}

absl::StatusOr<size_t> ReadInput(char* buffer, size_t size) {
  while (true) {
    const ssize_t got = read(kUnpackInputFd, buffer, size);
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) return ErrnoStatus("read the layer");
  }
}

// What fails here is never the layer's fault, whatever errno says.
absl::Status Internal(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::InternalError(absl::StrCat("confine the unpacker: ", status.message()));
}

absl::Status Confine() {
  RETURN_IF_ERROR(LimitResources());
  RETURN_IF_ERROR(EnterRoot(kUnpackTargetFd));
  return DropCapabilities();
}

absl::StatusOr<UnpackedLayer> Unpack() {
  ASSIGN_OR_RETURN(const UnpackRequest request, ReceiveRequest());
  umask(0);
  // In the C locale libarchive warns about every name that isn't ASCII.
  if (setlocale(LC_CTYPE, "C.UTF-8") == nullptr) {
    return absl::InternalError("there is no locale C.UTF-8");
  }
  RETURN_IF_ERROR(Internal(Confine()));  // before threads: it is theirs too
  // Never destroyed: that would wait for a thread that may wait for the daemon's bytes.
  auto* unpacker = new LayerUnpacker(request, kUnpackTargetFd, kUnpackDigestsFd);
  RETURN_IF_ERROR(unpacker->Prepare());
  RETURN_IF_ERROR(Internal(FilterSystemCalls()));
  ASSIGN_OR_RETURN(const UnpackedLayer layer, unpacker->Run(ReadInput));
  // One sync for the whole layer; it takes the digest list along, which is on the same file system.
  if (syncfs(kUnpackTargetFd) != 0) return ErrnoStatus("sync the layer");
  return layer;
}

UnpackResult ResultOf(const absl::StatusOr<UnpackedLayer>& layer) {
  UnpackResult result;
  result.code = static_cast<int32_t>(layer.status().code());
  if (!layer.ok()) {
    const absl::string_view message = layer.status().message();
    result.message_size = static_cast<uint32_t>(std::min(message.size(), sizeof result.message));
    std::memcpy(result.message, message.data(), result.message_size);
    return result;
  }
  std::copy(layer->diff_id.begin(), layer->diff_id.end(), result.diff_id);
  std::copy(layer->digest_list.begin(), layer->digest_list.end(), result.digest_list);
  result.tar_bytes = layer->tar_bytes;
  result.file_bytes = layer->file_bytes;
  result.entries = layer->entries;
  result.implied_offset = layer->implied_offset;
  return result;
}

}  // namespace
}  // namespace berth

int main() {
  const berth::UnpackResult result = berth::ResultOf(berth::Unpack());
  // If that fails the daemon is gone. _exit, since threads may still be there.
  const bool sent =
      send(berth::kUnpackControlFd, &result, sizeof result, MSG_NOSIGNAL) == sizeof result;
  _exit(sent ? 0 : 1);
}
