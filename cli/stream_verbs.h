// What the streaming verbs do once they have their URL: a person's terminal, or local ports.
#ifndef BERTH_CLI_STREAM_VERBS_H_
#define BERTH_CLI_STREAM_VERBS_H_

#include <string>

#include "absl/status/statusor.h"

namespace berth::cli {

struct CommandOptions {
  bool in = false;
  bool tty = false;
};

// Joins standard input, output and error with an exec or attach until its end: its exit code. With a
// terminal ours is raw meanwhile, and is as it was on every way out, SIGINT, SIGTERM and SIGHUP
// included.
absl::StatusOr<int> RunCommand(const std::string& url, const CommandOptions& options);

// Listens on 127.0.0.1:`local` and forwards each connection to `remote` in the pod, until a signal.
absl::StatusOr<int> RunForward(const std::string& url, int local, int remote);

}  // namespace berth::cli

#endif  // BERTH_CLI_STREAM_VERBS_H_
