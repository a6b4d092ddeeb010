#include "server/pods/attachment.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/pods/bandwidth.h"

namespace berth {
namespace {

absl::StatusOr<PortMapping> PortMappingOf(const cri::PortMapping& cri, int index) {
  const std::string field = absl::StrCat("config.port_mappings[", index, "]");
  PortMapping mapping;
  switch (cri.protocol()) {
    case cri::TCP:
      mapping.protocol = PortMapping::Protocol::kTcp;
      break;
    case cri::UDP:
      mapping.protocol = PortMapping::Protocol::kUdp;
      break;
    case cri::SCTP:
      mapping.protocol = PortMapping::Protocol::kSctp;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat(field, ".protocol: ", static_cast<int>(cri.protocol()), " is none"));
  }
  if (cri.container_port() < 0 || cri.container_port() > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".container_port: ", cri.container_port(), " is no port"));
  }
  if (cri.host_port() < 0 || cri.host_port() > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".host_port: ", cri.host_port(), " is no port"));
  }
  mapping.container_port = cri.container_port();
  mapping.host_port = cri.host_port();
  mapping.host_ip = cri.host_ip();
  return mapping;
}

}  // namespace

DnsConfig DnsOf(const cri::PodSandboxConfig& config) {
  DnsConfig dns;
  dns.servers.assign(config.dns_config().servers().begin(), config.dns_config().servers().end());
  dns.searches.assign(config.dns_config().searches().begin(), config.dns_config().searches().end());
  dns.options.assign(config.dns_config().options().begin(), config.dns_config().options().end());
  return dns;
}

absl::StatusOr<AttachRequest> AttachRequestFor(const store::v1::PodRecord& record) {
  const cri::PodSandboxConfig& config = record.config();
  AttachRequest request;
  request.pod = PodId(record.id());
  request.pod_namespace = config.metadata().namespace_();
  request.pod_name = config.metadata().name();
  request.pod_uid = config.metadata().uid();
  request.netns_path = record.netns_path();
  request.dns = DnsOf(config);
  request.cgroup_parent = record.cgroup_parent();
  for (int i = 0; i < config.port_mappings_size(); ++i) {
    ASSIGN_OR_RETURN(PortMapping mapping, PortMappingOf(config.port_mappings(i), i));
    if (mapping.host_port != 0) request.port_mappings.push_back(std::move(mapping));
  }
  request.annotations.insert(config.annotations().begin(), config.annotations().end());
  ASSIGN_OR_RETURN(request.bandwidth, BandwidthOf(request.annotations));
  return request;
}

void ToRecord(const Attachment& attachment, store::v1::CniAttachment::Phase phase,
              store::v1::CniAttachment* record) {
  record->set_network_name(attachment.network_name);
  record->set_config_list_json(attachment.config_json);
  record->set_result_json(attachment.result_json);
  record->set_interface_name(attachment.interface);
  record->set_capability_args_json(attachment.capability_args_json);
  record->set_args(attachment.args);
  record->set_phase(phase);
}

Attachment FromRecord(const store::v1::PodRecord& pod, const store::v1::CniAttachment& record) {
  Attachment attachment;
  attachment.pod = PodId(pod.id());
  attachment.network_name = record.network_name();
  attachment.config_json = record.config_list_json();
  attachment.netns_path = pod.netns_path();
  attachment.interface = record.interface_name();
  attachment.args = record.args();
  attachment.capability_args_json = record.capability_args_json();
  attachment.result_json = record.result_json();
  return attachment;
}

}  // namespace berth
