// The systemd manager of this host, by D-Bus: transient scopes for the systemd cgroup driver.
//
// Every call opens a connection of its own (the system bus, else systemd's private socket, as systemctl
// does) and closes it: no connection outlives a restart of the bus or of systemd, and nothing wakes an
// idle daemon. Calls that queue a job return when the job is done.
//
//   const SystemdManager systemd;
//   RETURN_IF_ERROR(systemd.StartScope("berth-1.scope", "berth.slice", pid, "container 1", {}));
//
// Errors: Unavailable: no systemd answers; DeadlineExceeded: it took longer than half a minute;
// AlreadyExists, NotFound: of the unit; InvalidArgument: a property that systemd refuses, by its name.
// Threads: any, side by side.
#ifndef BERTH_RUNTIME_SYSTEMD_MANAGER_H_
#define BERTH_RUNTIME_SYSTEMD_MANAGER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/unit_properties.h"

namespace berth {

struct ScopeUnit {
  std::string name;  // berth-0123….scope
  std::string description;
  std::string active_state;   // active, failed, deactivating ...
  std::string control_group;  // "" if it has none any more
  std::string slice;
};

class SystemdManager {
 public:
  // Whether systemd runs this machine (sd_booted(3)).
  static bool IsBooted();

  // Starts a transient scope with `pid` in it, delegated (systemd.resource-control(5), Delegate=), collected
  // also after a failure. `slice` and its parents are made if they are missing.
  absl::Status StartScope(const std::string& name, const std::string& slice, pid_t pid,
                          const std::string& description, const UnitProperties& properties) const;
  // Changes a unit until it ends, and returns when its cgroup has them.
  absl::Status SetProperties(const std::string& name, const UnitProperties& properties) const;
  // Stops a unit, and forgets that it failed. A missing one is OK.
  absl::Status Stop(const std::string& name) const;
  // Units whose names match the glob `pattern`, with what this host knows of their cgroups.
  absl::StatusOr<std::vector<ScopeUnit>> ListScopes(const std::string& pattern) const;
};

}  // namespace berth

#endif  // BERTH_RUNTIME_SYSTEMD_MANAGER_H_
