// Names of stop signals, as the CRI and as images write them.
#ifndef BERTH_SERVER_PODS_SIGNALS_H_
#define BERTH_SERVER_PODS_SIGNALS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/cri/api.h"

namespace berth {

// The number of "SIGTERM", "TERM", "15", "SIGRTMIN+3" (any case). InvalidArgument names what is none.
absl::StatusOr<int> ParseSignal(absl::string_view text);

// "SIGTERM" for SIGNAL_SIGTERM, "SIGRTMIN+3" for SIGNAL_SIGRTMINPLUS3; "" for the runtime's default
// and for a value that this build doesn't know.
std::string SignalName(cri::Signal signal);
// The other way round; SIGNAL_RUNTIME_DEFAULT for what has no value.
cri::Signal SignalValue(absl::string_view name);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_SIGNALS_H_
