// What a client is told at the end of an exec or attach, on its error stream.
#ifndef BERTH_SERVER_STREAMING_REMOTE_STATUS_H_
#define BERTH_SERVER_STREAMING_REMOTE_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace berth {

// From v4 on one JSON object (a Kubernetes Status), before that plain text, and nothing for success.
// `result`: the exit code, or why there is none.
std::string EncodeRemoteStatus(const absl::StatusOr<int>& result, bool json);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_REMOTE_STATUS_H_
