// What the `berth` command can do. A verb prints its result on standard output.
#ifndef BERTH_CLI_VERBS_H_
#define BERTH_CLI_VERBS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/client.h"

namespace berth::cli {

struct Verb {
  absl::string_view name;
  absl::string_view arguments;
  absl::string_view help;
  // The exit code; InvalidArgument for wrong arguments.
  absl::StatusOr<int> (*run)(const Client& client, const std::vector<std::string>& arguments);
};

const std::vector<Verb>& Verbs();

}  // namespace berth::cli

#endif  // BERTH_CLI_VERBS_H_
