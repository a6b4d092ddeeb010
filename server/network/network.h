// A pod's network as the pod flows see it.
//
// Vocabulary: an *attachment* is one pod's connection to the node's network. Its record holds all
// that taking it down needs: the configuration as it was, the arguments, and the result once there
// is one.
//
// Life cycle, with the commits that the caller makes:
//
//   ASSIGN_OR_RETURN(Attachment attachment, network.Prepare(request));   // pure: nothing has
//   happened store.PutAttachment(attachment.ToJson())         COMMIT, FULL: the intent, before any
//   plugin runs ASSIGN_OR_RETURN(NetworkResult result, network.Add(&attachment, deadline));
//   store.PutAttachment(attachment.ToJson())         COMMIT: with the result, together with the pod
//   ...
//   network.Remove(attachment, deadline)             may be repeated; after it the record is
//   removed
//
// Whatever record is found after a crash, with or without a result, goes to Remove. A reboot or the
// keeper's death may have taken the namespace with it: Remove looks, and tells plugins.
//
// Add and Remove of one pod must not overlap (CNI specification, "Lifecycle & Ordering"); those of
// different pods run side by side. All methods may be called from any thread, and block.
#ifndef BERTH_SERVER_NETWORK_NETWORK_H_
#define BERTH_SERVER_NETWORK_NETWORK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "server/network/dns_config.h"
#include "server/network/network_interface.h"

namespace berth {

struct PortMapping {
  enum class Protocol { kTcp, kUdp, kSctp };
  Protocol protocol = Protocol::kTcp;
  int container_port = 0;
  // 0: not mapped; such an entry is left out.
  int host_port = 0;
  // Empty: every address of the node.
  std::string host_ip;
};

// Bits per second and bits; 0 is no limit (CNI conventions, "bandwidth").
struct BandwidthLimit {
  uint64_t ingress_rate = 0;
  uint64_t ingress_burst = 0;
  uint64_t egress_rate = 0;
  uint64_t egress_burst = 0;
};

struct AttachRequest {
  PodId pod;
  std::string pod_namespace;
  std::string pod_name;
  std::string pod_uid;
  // The pinned namespace, e.g. NetnsDirectory::PathOf(pod).
  std::string netns_path;
  std::string interface = "eth0";
  // What follows reaches those plugins only that declare the capability.
  std::vector<PortMapping> port_mappings;
  DnsConfig dns;
  std::string cgroup_parent;
  std::vector<std::string> ips;
  std::string mac;
  std::optional<BandwidthLimit> bandwidth;
  std::map<std::string, std::string> annotations;
};

// The durable record of an attachment.
struct Attachment {
  PodId pod;
  std::string network_name;
  // The configuration list as one JSON object, whatever form the file had.
  std::string config_json;
  std::string netns_path;
  std::string interface;
  // CNI_ARGS, and the capability arguments as a JSON object.
  std::string args;
  std::string capability_args_json;
  // The last plugin's result; empty until Add has succeeded (the record is an intent).
  std::string result_json;
  // No part of the record: Add failed, and nothing is left.
  bool taken_down = false;

  std::string ToJson() const;
  // InvalidArgument names the field.
  static absl::StatusOr<Attachment> FromJson(absl::string_view json);
};

struct NetworkResult {
  // The pod's addresses without prefix length, canonical, in the order of the result; never empty.
  // The first is the primary one (PodSandboxNetworkStatus.ip), the others additional_ips.
  std::vector<std::string> ips;
  std::vector<NetworkInterface> interfaces;
  DnsConfig dns;
};

// The addresses and the rest of an attachment with a result, e.g. after a restart.
// FailedPrecondition if it has none yet.
absl::StatusOr<NetworkResult> ResultOf(const Attachment& attachment);

class Network {
 public:
  virtual ~Network() = default;

  // OK, or FailedPrecondition with the reason for NetworkReady=false, such as `cni config
  // uninitialized: no network configuration in /etc/cni/net.d`, or what a plugin says to STATUS
  // (asked at most every ten seconds, in the background if it hangs). Unavailable before the first
  // answer. Cheap enough for each Status call.
  virtual absl::Status Ready() = 0;

  // The configuration list in force, a JSON object whatever form its file had; FailedPrecondition if
  // there is none that can be used.
  virtual absl::StatusOr<std::string> Configuration() = 0;

  // Snapshots the present configuration and computes the arguments. No plugin runs.
  // InvalidArgument names the field of the request; FailedPrecondition as in Ready().
  virtual absl::StatusOr<Attachment> Prepare(const AttachRequest& request) = 0;

  // Attaches the pod and fills attachment->result_json. On any failure what was done is taken down
  // again before it returns, within one more plugin_timeout, and attachment->taken_down says so;
  // only if that fails too (the message tells) is there something left for a later Remove. Remove of
  // an attachment that never was is OK. DeadlineExceeded names the plugin that hung: it is killed,
  // with its children.
  virtual absl::StatusOr<NetworkResult> Add(Attachment* attachment, absl::Time deadline) = 0;

  // Takes an attachment down. Needs nothing but the record: neither the namespace nor the present
  // configuration, only the plugins' programs. May be repeated; after an error it should be.
  virtual absl::Status Remove(const Attachment& attachment, absl::Time deadline) = 0;

  // Lets the present network's plugins forget every attachment but `valid` (GC of CNI 1.1.0; OK
  // without doing anything for an older version, and for a list with disableGC). `valid` must have
  // all attachments on this node, and the network must belong to this daemon alone: what others
  // attached to it would lose its addresses. Waits for Adds and Removes, and holds new ones up.
  // The first plugin's error, after all were run.
  virtual absl::Status CollectGarbage(const std::vector<Attachment>& valid,
                                      absl::Time deadline) = 0;
};

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_NETWORK_H_
