// One run of one CNI plugin (CNI specification, "Section 2: Execution Protocol").
#ifndef BERTH_SERVER_NETWORK_CNI_PLUGIN_H_
#define BERTH_SERVER_NETWORK_CNI_PLUGIN_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace berth {

// Codes of the specification's "Error" result that mean something to the caller.
inline constexpr int kCniUnknownContainer = 3;
inline constexpr int kCniTryAgainLater = 11;

// The CNI_* variables.
struct CniCall {
  std::string command;
  std::string container_id;
  // Empty if the namespace is gone (DEL), and for STATUS and GC.
  std::string netns;
  std::string interface;
  std::string args;
  // The daemon's, by which the next one finds those that this one left (leftover_plugins.h).
  std::string instance;
};

struct CniOutcome {
  // OK if the plugin ended with exit code 0. Else it names plugin, network, command, code and
  // message: DeadlineExceeded if it was killed at the deadline, Unavailable for code 11 (try again
  // later), FailedPrecondition if it isn't in the plugin directories, Internal for the rest.
  absl::Status status;
  // The code that the plugin printed, 0 if none.
  int code = 0;
  // Its stdout.
  std::string output;
};

// The path of the program `type` in the first of `directories` that has it; FailedPrecondition if
// none does.
absl::StatusOr<std::string> FindCniPlugin(const std::vector<std::string>& directories,
                                          const std::string& type);

// Runs `type` from the first of `directories` that has it; blocks until it has ended.
CniOutcome RunCniPlugin(const std::vector<std::string>& directories, const std::string& type,
                        const std::string& network, const CniCall& call, std::string input,
                        absl::Time deadline);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_PLUGIN_H_
