#include "server/cri/status_map.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace berth {
namespace {

// gRPC over HTTP/2, "Status-Message": everything but printable ASCII, and '%', is percent-encoded.
size_t EncodedSize(unsigned char byte) { return byte < 0x20 || byte > 0x7e || byte == '%' ? 3 : 1; }

bool IsUtf8Continuation(unsigned char byte) { return (byte & 0xc0) == 0x80; }

std::string Shorten(absl::string_view message) {
  constexpr absl::string_view kEllipsis = "...";
  size_t encoded = 0;
  size_t keep = 0;
  for (size_t i = 0; i < message.size(); ++i) {
    encoded += EncodedSize(message[i]);
    if (encoded > kMaxEncodedStatusMessage) {
      while (keep > 0 && IsUtf8Continuation(message[keep])) --keep;
      return absl::StrCat(message.substr(0, keep), kEllipsis);
    }
    if (encoded <= kMaxEncodedStatusMessage - kEllipsis.size()) keep = i + 1;
  }
  return std::string(message);
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // absl::StatusCode has gRPC's numbers; code() maps what it doesn't know to kUnknown.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Shorten(status.message()));
}

}  // namespace berth
