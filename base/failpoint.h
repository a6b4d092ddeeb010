// Failpoints: named places at which a test makes an error or a crash happen.
//
// BERTH_FAILPOINTS="pods.run.cni=error;store.put=crash;images.commit=pause" in the environment of a
// daemon arms them at its start. `error` makes Failpoint() return Internal, `crash` ends the process
// by SIGKILL there, `NAME=2*crash` acts from the second pass on, `NAME=2@error` at the second pass only.
// What acts is logged. Unarmed they cost one load.
// Every external step of a flow has one; `docs/failpoints.md` lists them, with the flow that the crash
// tests take through each.
#ifndef BERTH_BASE_FAILPOINT_H_
#define BERTH_BASE_FAILPOINT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace berth {

// Parses and arms; InvalidArgument names the part that doesn't parse. Call before threads start.
absl::Status ArmFailpoints(absl::string_view specification);

// OK, or the injected error. May not return.
absl::Status Failpoint(absl::string_view name);

}  // namespace berth

#endif  // BERTH_BASE_FAILPOINT_H_
