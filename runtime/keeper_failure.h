// Sentences for the executor's failures.
#ifndef BERTH_RUNTIME_KEEPER_FAILURE_H_
#define BERTH_RUNTIME_KEEPER_FAILURE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/executor.h"

namespace berth {

// The sentence for a failed step, with what the plan has at its index (a mount's target, a path, a name) and
// errno: `mount /srv/data at /data: open the source: No such file or directory`. `plan` is valid, or empty if it
// is not at hand. The code follows errno; an executable that isn't there is NotFound.
absl::Status DescribeFailure(absl::string_view plan, const Failure& failure);

}  // namespace berth

#endif  // BERTH_RUNTIME_KEEPER_FAILURE_H_
