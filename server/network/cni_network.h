// The network by CNI plugins, specification 0.3.0 to 1.1.0.
//
// The first configuration in lexical order of the directory's *.conflist, *.conf and *.json files is
// the node's network, as with containerd. It is read again when the directory changes. Where it
// offers several versions, the highest that all its plugins speak is used. Every plugin is a process
// with the CNI_* variables, PATH, BERTH_INSTANCE and nothing else in its environment; it is found in the plugin
// directories only.
#ifndef BERTH_SERVER_NETWORK_CNI_NETWORK_H_
#define BERTH_SERVER_NETWORK_CNI_NETWORK_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/network/network.h"

namespace berth {

struct CniOptions {
  std::string config_directory = "/etc/cni/net.d";
  // Searched in this order.
  std::vector<std::string> plugin_directories = {"/opt/cni/bin", "/usr/lib/cni"};
  // The daemon's ID, for CniCall::instance.
  std::string instance;
  // For one plugin; the deadline of a call bounds all of them together.
  absl::Duration plugin_timeout = absl::Seconds(60);
  // Called after each plugin with its name, the CNI command and its duration: for metrics. May be
  // empty; called from any thread, maybe after the network has gone, and must not block.
  std::function<void(absl::string_view plugin, absl::string_view command, absl::Duration)> observer;
};

std::unique_ptr<Network> NewCniNetwork(const CniOptions& options);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_NETWORK_H_
