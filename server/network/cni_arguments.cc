#include "server/network/cni_arguments.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

using nlohmann::json;

absl::Status BadField(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}

// CNI_ARGS is KEY=VALUE;KEY=VALUE without any quoting.
absl::Status CheckArg(absl::string_view field, const std::string& value) {
  const bool clean = std::all_of(value.begin(), value.end(), [](char c) {
    return c != ';' && c != '=' && !absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  return clean ? absl::OkStatus() : BadField(field, "`;`, `=` or a control character in it");
}

const char* ProtocolText(PortMapping::Protocol protocol) {
  switch (protocol) {
    case PortMapping::Protocol::kUdp:
      return "udp";
    case PortMapping::Protocol::kSctp:
      return "sctp";
    case PortMapping::Protocol::kTcp:
      break;
  }
  return "tcp";
}

bool IsIp(const std::string& text) {
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(AF_INET, text.c_str(), buffer) == 1 ||
         inet_pton(AF_INET6, text.c_str(), buffer) == 1;
}

absl::StatusOr<json> PortMappingsOf(const std::vector<PortMapping>& mappings) {
  json array = json::array();
  for (size_t i = 0; i < mappings.size(); ++i) {
    const PortMapping& mapping = mappings[i];
    const std::string field = absl::StrCat("port_mappings[", i, "]");
    if (mapping.host_port == 0) continue;
    if (mapping.host_port < 0 || mapping.host_port > 65535) {
      return BadField(field + ".host_port", "not a port");
    }
    if (mapping.container_port < 1 || mapping.container_port > 65535) {
      return BadField(field + ".container_port", "not a port");
    }
    if (!mapping.host_ip.empty() && !IsIp(mapping.host_ip)) {
      return BadField(field + ".host_ip", "not an IP address");
    }
    array.push_back({{"hostPort", mapping.host_port},
                     {"containerPort", mapping.container_port},
                     {"protocol", ProtocolText(mapping.protocol)},
                     {"hostIP", mapping.host_ip}});
  }
  return array;
}

}  // namespace

// dev_valid_name() in net/core/dev.c.
absl::Status CheckCniInterface(const std::string& name) {
  const bool clean = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '/' && c != ':';
  });
  if (!clean || name.empty() || name.size() > 15 || name == "." || name == "..") {
    return BadField("interface", "not an interface name");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CniArgsOf(const AttachRequest& request) {
  RETURN_IF_ERROR(CheckArg("metadata.namespace", request.pod_namespace));
  RETURN_IF_ERROR(CheckArg("metadata.name", request.pod_name));
  RETURN_IF_ERROR(CheckArg("metadata.uid", request.pod_uid));
  return absl::StrCat("IgnoreUnknown=1;K8S_POD_NAMESPACE=", request.pod_namespace,
                      ";K8S_POD_NAME=", request.pod_name,
                      ";K8S_POD_INFRA_CONTAINER_ID=", request.pod.str(),
                      ";K8S_POD_UID=", request.pod_uid);
}

// The capabilities of CNI's CONVENTIONS.md, and containerd's one for annotations.
absl::StatusOr<json> CniCapabilityArgsOf(const AttachRequest& request) {
  json args = json::object();
  ASSIGN_OR_RETURN(json port_mappings, PortMappingsOf(request.port_mappings));
  if (!port_mappings.empty()) args["portMappings"] = std::move(port_mappings);
  if (!request.dns.empty()) {
    args["dns"] = {{"servers", request.dns.servers},
                   {"searches", request.dns.searches},
                   {"options", request.dns.options}};
  }
  if (request.bandwidth.has_value()) {
    args["bandwidth"] = {{"ingressRate", request.bandwidth->ingress_rate},
                         {"ingressBurst", request.bandwidth->ingress_burst},
                         {"egressRate", request.bandwidth->egress_rate},
                         {"egressBurst", request.bandwidth->egress_burst}};
  }
  if (!request.ips.empty()) args["ips"] = request.ips;
  if (!request.mac.empty()) args["mac"] = request.mac;
  if (!request.cgroup_parent.empty()) args["cgroupPath"] = request.cgroup_parent;
  if (!request.annotations.empty()) args["io.kubernetes.cri.pod-annotations"] = request.annotations;
  return args;
}

}  // namespace berth
