// The host's side of containers that an external OCI runtime makes: bundles, failures, the end.
//
// A *bundle* is a directory of STATE/pods/POD/oci, named by the container: config.json, the place of its root file
// system, the runtime's own state (--root), its log. Everything that the runtime keeps is in it, beside cgroups of
// hierarchies that this daemon doesn't use. It is made before the runtime runs, and says which that is: a container
// that is there needs no configuration any more.
//
// Threads: all of it blocks, and any thread may call it; not side by side for one container.
#ifndef BERTH_SERVER_PODS_EXTERNAL_RUNTIME_H_
#define BERTH_SERVER_PODS_EXTERNAL_RUNTIME_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/external_plan.h"
#include "server/pods/handlers.h"

namespace berth {

ExternalRuntime ExternalRuntimeOf(const Handler& handler, const std::string& bundle,
                                  const std::string& container);

// Writes the bundle; what it returns is the plan for the keeper. On failure RemoveBundle takes away what is there.
absl::StatusOr<std::string> MakeBundle(const ExternalRuntime& runtime, Spec spec,
                                       const CompileInput& input);

// What the bundle was made for. NotFound if there is none: the container is this runtime's own.
absl::StatusOr<ExternalRuntime> OpenBundle(const std::string& bundle, const std::string& container);

// Writes process.json into a new directory of the bundle, and returns the plan. The directory goes when the exec
// has started; if it fails, FinishExec takes it away.
absl::StatusOr<std::string> MakeExec(const ExternalRuntime& runtime, const Spec& spec,
                                     SpecProcess process);
// The outcome of an exec, with what the runtime has logged if that failed. Any plan, and any status.
absl::Status FinishExec(absl::string_view plan, const absl::Status& status);

// `failure` of a create or a start, with what the runtime has logged.
absl::Status ExplainRuntime(const std::string& bundle, const absl::Status& failure);

// Has the runtime take the container away, by force, and removes the bundle. A missing one is OK. What the runtime
// can't do is logged: its processes have been killed by then, and its files go with the bundle.
absl::Status RemoveBundle(const std::string& bundle, absl::Time deadline);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_EXTERNAL_RUNTIME_H_
