// resolv.conf, hostname and hosts of a pod: files in STATE/pods/ID/ that its containers get as
// mounts where kubelet mounts none itself. Content rules are those of containerd.
//
// The files are derived from the pod's record: after a crash they are written again.
#ifndef BERTH_SERVER_NETWORK_POD_FILES_H_
#define BERTH_SERVER_NETWORK_POD_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/network/dns_config.h"

namespace berth {

// The text of a resolv.conf, empty for an empty configuration. InvalidArgument names the field
// (`dns_config.servers[1]`): a server that is no IP address, an entry with white space, and more
// than 64 entries or 8 KiB of one kind are refused. Pure.
absl::StatusOr<std::string> RenderResolvConf(const DnsConfig& dns);

struct PodFilesRequest {
  DnsConfig dns;
  // Empty: the node's host name.
  std::string hostname;
  // Who the files belong to: in a pod with a user namespace its root, so that it may write them.
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct PodFiles {
  std::string resolv_conf;
  std::string hostname;
  std::string hosts;
};

// Writes the three files below `directory` (made with mode 0711 if missing) and returns their
// paths. With an empty DNS configuration resolv.conf is a copy of the host's; hosts always is. A
// host file that doesn't exist gives an empty resolv.conf, and a hosts with localhost only. May be
// repeated; `host_etc` is /etc except in tests.
absl::StatusOr<PodFiles> WritePodFiles(const std::string& directory, const PodFilesRequest& request,
                                       const std::string& host_etc = "/etc");

// The paths that WritePodFiles gives. Pure.
PodFiles PodFilesBelow(const std::string& directory);

// Removes the three files, not the directory, which holds other things; missing ones are OK.
absl::Status RemovePodFiles(const std::string& directory);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_POD_FILES_H_
