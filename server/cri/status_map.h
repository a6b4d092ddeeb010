// How a result of ours reaches a gRPC client.
#ifndef BERTH_SERVER_CRI_STATUS_MAP_H_
#define BERTH_SERVER_CRI_STATUS_MAP_H_

#include <cstddef>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace berth {

// The longest message that is sent, counted as it is encoded in the trailer (a byte outside of
// printable ASCII takes three): C++ clients refuse more than 8 KiB of metadata by default.
constexpr size_t kMaxEncodedStatusMessage = 7 << 10;

// The same code and message; a message that is too long ends in "...". Codes that gRPC doesn't have
// become UNKNOWN.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace berth

#endif  // BERTH_SERVER_CRI_STATUS_MAP_H_
