// The sysctls of a pod: what may be set in its namespaces, and the defaults of containerd 2.
#ifndef BERTH_SERVER_NETWORK_SYSCTLS_H_
#define BERTH_SERVER_NETWORK_SYSCTLS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace berth {

struct PodNamespaces {
  bool host_network = false;
  bool host_ipc = false;
  // The pod has a user namespace of its own: ping_group_range can't name group 2147483647 there.
  bool user_namespace = false;
};

// The pod's sysctls and, with a network namespace of its own,
// `net.ipv4.ip_unprivileged_port_start=0` and `net.ipv4.ping_group_range=0 2147483647` unless the
// pod sets them. Keys come out in the dotted form, where a `/` stands for a dot inside a component
// (`net.ipv4.conf.eth0/100.forwarding`), as sysctl(8) has it. Pure.
//
// InvalidArgument names the key: one that is not namespaced (allowed are kernel.shm*, kernel.msg*,
// kernel.sem, fs.mqueue.* and net.*), net.* with the host's network, the others with the host's
// IPC, a malformed key or value, one key twice in two spellings.
absl::StatusOr<std::map<std::string, std::string>> PodSysctls(
    const std::map<std::string, std::string>& requested, const PodNamespaces& namespaces);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_SYSCTLS_H_
