// What an external OCI runtime (crun, runc, and what has their command line) is given for a container or an
// exec: the text of config.json or process.json, and the plan for the keeper's driver
// (runtime/executor_external.h).
//
//   ExternalRuntime runtime{.path = "/usr/sbin/runc", .bundle = STATE + "/pods/POD/oci/ID", .id = ID};
//   ASSIGN_OR_RETURN(ExternalContainer made, CompileExternal(runtime, spec, input));
//   ... write made.config_head and made.config_tail into the bundle, make its rootfs and mounts ...
//   keeper->Create(id, made.plan, stdio, deadline);
//
// What the specification has for readers of this runtime only is translated: the pod's /dev/shm, image volumes
// and an image's own volumes are mounted by the driver, and the runtime binds them. What can't be had is refused:
// Unimplemented names it.
#ifndef BERTH_RUNTIME_EXTERNAL_PLAN_H_
#define BERTH_RUNTIME_EXTERNAL_PLAN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/compiler.h"
#include "runtime/spec/spec.h"

namespace berth {

struct ExternalRuntime {
  std::string path;                  // of the program
  std::vector<std::string> options;  // before its command
  // A directory of the container's own, absolute, for whoever carries the plan out. It is there, and has the
  // directories of ExternalDirectories.
  std::string bundle;
  std::string id;                    // of the container
  bool recursive_read_only = false;  // it knows the mount option rro
};

struct ExternalContainer {
  std::string config_head;  // config.json up to the value of process.user
  std::string config_tail;  // ... and what follows it
  std::string plan;
};

struct ExternalExec {
  std::string process;  // process.json
  std::string plan;
};

// To be made in the bundle: its rootfs, the parent of mount points, the runtime's own state.
std::vector<std::string> ExternalDirectories(const std::string& bundle);

// Pure. InvalidArgument and Unimplemented name the field.
absl::StatusOr<ExternalContainer> CompileExternal(const ExternalRuntime& runtime, const Spec& spec,
                                                  const CompileInput& input);

// `directory` is the exec's own, absolute; process.json is to be written there.
absl::StatusOr<ExternalExec> CompileExternalExec(const ExternalRuntime& runtime, const Spec& spec,
                                                 const SpecProcess& process,
                                                 const std::string& directory);

// The command line that ends the container and drops what the runtime knows of it.
std::vector<std::string> ExternalDelete(const ExternalRuntime& runtime);
// What a runtime has in its environment.
std::vector<std::string> ExternalEnvironment();

// The last error in a log of crun's or runc's form, a JSON object a line; "" if there is none. Survives any
// bytes.
std::string LastLoggedError(absl::string_view log);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXTERNAL_PLAN_H_
