// Plugins that an earlier life of the daemon started and that its end left running.
#ifndef BERTH_SERVER_NETWORK_LEFTOVER_PLUGINS_H_
#define BERTH_SERVER_NETWORK_LEFTOVER_PLUGINS_H_

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace berth {

// Waits until no plugin, and nothing that one called, works for these container IDs any more
// (CNI_CONTAINERID in the environment of a process): an ADD that is still going on would attach what
// the DEL after it has just taken down. They get `grace` to end by themselves, since one that is
// killed between two steps may leave something that no DEL finds, then SIGKILL.
// DeadlineExceeded names the first that outlives the deadline.
absl::Status EndLeftoverPlugins(const std::set<std::string>& container_ids, absl::Duration grace,
                                absl::Time deadline);

// Kills plugins of an earlier life of this instance, and what they called, that are stopped: a tree of processes is
// stopped before it is killed (subprocess.h), and a daemon that dies in between leaves it so, for ever. What this
// life has stopped it is about to kill anyway.
void KillStoppedPlugins(const std::string& instance);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_LEFTOVER_PLUGINS_H_
