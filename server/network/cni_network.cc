#include "server/network/cni_network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/status.h"
#include "server/network/bounded_json.h"
#include "server/network/cni_config.h"
#include "server/network/cni_config_directory.h"
#include "server/network/cni_plugin.h"
#include "server/network/cni_result.h"
#include "server/network/netns.h"
#include "server/network/netns_addresses.h"

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

// dev_valid_name() in net/core/dev.c.
absl::Status CheckInterface(const std::string& name) {
  const bool clean = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '/' && c != ':';
  });
  if (!clean || name.empty() || name.size() > 15 || name == "." || name == "..") {
    return BadField("interface", "not an interface name");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ArgsOf(const AttachRequest& request) {
  RETURN_IF_ERROR(CheckArg("metadata.namespace", request.pod_namespace));
  RETURN_IF_ERROR(CheckArg("metadata.name", request.pod_name));
  RETURN_IF_ERROR(CheckArg("metadata.uid", request.pod_uid));
  return absl::StrCat("IgnoreUnknown=1;K8S_POD_NAMESPACE=", request.pod_namespace,
                      ";K8S_POD_NAME=", request.pod_name,
                      ";K8S_POD_INFRA_CONTAINER_ID=", request.pod.str(),
                      ";K8S_POD_UID=", request.pod_uid);
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

// The capabilities of CNI's CONVENTIONS.md, and containerd's one for annotations.
absl::StatusOr<json> CapabilityArgsOf(const AttachRequest& request) {
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

// An attachment's record, read back for a run of its plugins.
struct Run {
  CniConfigList list;
  json capability_args;
  CniCall call;
};

absl::StatusOr<Run> RunOf(const Attachment& attachment, absl::string_view command) {
  Run run;
  ASSIGN_OR_RETURN_WITH(run.list, ParseCniConfigList(attachment.config_json),
                        "stored network configuration");
  ASSIGN_OR_RETURN_WITH(run.capability_args, ParseJsonObject(attachment.capability_args_json),
                        "stored capability arguments");
  run.call = {.command = std::string(command),
              .container_id = attachment.pod.str(),
              .netns = attachment.netns_path,
              .interface = attachment.interface,
              .args = attachment.args};
  return run;
}

// A result for an attachment that was never finished, from what its interface has by now. Some
// plugins (firewall) find their rules by the addresses in it only. Null if the interface has no
// address.
json ResultFromNetns(const Attachment& attachment, const Run& run) {
  if (run.call.netns.empty()) return nullptr;
  const absl::StatusOr<std::vector<std::string>> addresses =
      NetnsAddresses(run.call.netns, run.call.interface);
  if (!addresses.ok()) LogWarning(addresses.status().message(), ", ignoring");
  if (!addresses.ok() || addresses->empty()) return nullptr;
  json result = {{"cniVersion", std::string(CniVersionText(run.list.version))},
                 {"interfaces", {{{"name", run.call.interface}, {"sandbox", run.call.netns}}}}};
  for (const std::string& address : *addresses) {
    result["ips"].push_back({{"address", address}, {"interface", 0}});
  }
  absl::StatusOr<CniResult> checked = ParseCniResult(DumpJson(result), run.list.version);
  return checked.ok() ? checked->raw : json();
}

// Versions before 0.4.0 give DEL no previous result.
absl::StatusOr<json> PrevResultForDel(const Attachment& attachment, const Run& run) {
  if (run.list.version < CniVersion::k0_4_0) return json();
  if (attachment.result_json.empty()) return ResultFromNetns(attachment, run);
  ASSIGN_OR_RETURN_WITH(json result, ParseJsonObject(attachment.result_json),
                        "stored network result");
  return result;
}

class CniNetwork : public Network {
 public:
  explicit CniNetwork(CniOptions options)
      : options_(std::move(options)), configuration_(options_.config_directory) {}

  absl::Status Ready() override { return configuration_.Current().status(); }

  absl::StatusOr<std::string> Configuration() override {
    ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfigList> list, configuration_.Current());
    return list->ToJson();
  }

  absl::StatusOr<Attachment> Prepare(const AttachRequest& request) override {
    Attachment attachment;
    attachment.pod = request.pod;
    attachment.netns_path = request.netns_path;
    attachment.interface = request.interface;
    if (request.pod.empty()) return BadField("pod", "empty");
    if (request.netns_path.empty()) return BadField("netns_path", "empty");
    RETURN_IF_ERROR(CheckInterface(request.interface));
    ASSIGN_OR_RETURN(attachment.args, ArgsOf(request));
    ASSIGN_OR_RETURN(const json capability_args, CapabilityArgsOf(request));
    attachment.capability_args_json = DumpJson(capability_args);
    ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfigList> list, configuration_.Current());
    attachment.network_name = list->name;
    attachment.config_json = list->ToJson();
    return attachment;
  }

  absl::StatusOr<NetworkResult> Add(Attachment* attachment, absl::Time deadline) override {
    size_t added = 0;
    absl::StatusOr<NetworkResult> result = AddAll(attachment, &added, deadline);
    if (result.ok()) return result;
    attachment->result_json.clear();
    // The caller's deadline is past, or its patience is: cleaning up has its own.
    const absl::Status undone =
        RemoveAdded(*attachment, added, absl::Now() + options_.plugin_timeout);
    if (undone.ok()) return result.status();
    return Annotate(result.status(), absl::StrCat("something may be left, since ", undone.message(),
                                                  "; adding had failed"));
  }

  absl::Status Remove(const Attachment& attachment, absl::Time deadline) override {
    return RemoveAdded(attachment, kAll, deadline);
  }

 private:
  static constexpr size_t kAll = SIZE_MAX;

  // `added` becomes the number of plugins that succeeded.
  absl::StatusOr<NetworkResult> AddAll(Attachment* attachment, size_t* added, absl::Time deadline) {
    ASSIGN_OR_RETURN(const Run run, RunOf(*attachment, "ADD"));
    CniResult result;
    for (const CniPlugin& plugin : run.list.plugins) {
      ASSIGN_OR_RETURN(result, AddOne(run, plugin, result.raw, deadline));
      ++*added;
    }
    attachment->result_json = DumpJson(result.raw);
    ASSIGN_OR_RETURN_WITH(NetworkResult answer, ResultOf(*attachment),
                          absl::StrCat("cni network ", run.list.name));
    return answer;
  }

  // Runs DEL backwards, and stops at the first failure as the specification has it: what is left is
  // tried again by the next call. A plugin whose ADD did not succeed (its index is `added` or more)
  // stops nothing: else a misconfigured one would cost an address with each attempt. One that was
  // not even run can leave nothing.
  absl::Status RemoveAdded(const Attachment& attachment, size_t added, absl::Time deadline) {
    ASSIGN_OR_RETURN(Run run, RunOf(attachment, "DEL"));
    if (!IsNetns(run.call.netns)) run.call.netns.clear();
    ASSIGN_OR_RETURN(const json prev_result, PrevResultForDel(attachment, run));
    absl::Status failed;
    for (size_t i = run.list.plugins.size(); i-- > 0;) {
      const CniOutcome outcome = RunPlugin(run, run.list.plugins[i], prev_result, deadline);
      // "Container unknown or does not exist": nothing is left to clean up.
      if (outcome.status.ok() || outcome.code == kCniUnknownContainer) continue;
      if (i < added) return outcome.status;
      if (i == added) failed = outcome.status;
      if (i > added) LogWarning(outcome.status.message(), ", ignoring: it had not been added");
    }
    return failed;
  }

  absl::StatusOr<CniResult> AddOne(const Run& run, const CniPlugin& plugin, const json& prev_result,
                                   absl::Time deadline) {
    CniOutcome outcome = RunPlugin(run, plugin, prev_result, deadline);
    RETURN_IF_ERROR(outcome.status);
    absl::StatusOr<CniResult> result = ParseCniResult(outcome.output, run.list.version);
    if (result.ok()) return result;
    return absl::InternalError(absl::StrCat("cni plugin ", plugin.type, " (network ", run.list.name,
                                            ", ADD): its result: ", result.status().message()));
  }

  CniOutcome RunPlugin(const Run& run, const CniPlugin& plugin, const json& prev_result,
                       absl::Time deadline) {
    const std::string failpoint =
        absl::StrCat("network.cni.", absl::AsciiStrToLower(run.call.command), ".", plugin.type);
    if (absl::Status status = Failpoint(failpoint); !status.ok()) return {.status = status};
    const absl::Time start = absl::Now();
    CniOutcome outcome =
        RunCniPlugin(options_.plugin_directories, plugin.type, run.list.name, run.call,
                     DumpJson(PluginInput(run.list, plugin, run.capability_args, prev_result)),
                     std::min(deadline, start + options_.plugin_timeout));
    if (options_.observer) options_.observer(plugin.type, run.call.command, absl::Now() - start);
    return outcome;
  }

  const CniOptions options_;
  CniConfigDirectory configuration_;
};

}  // namespace

std::unique_ptr<Network> NewCniNetwork(CniOptions options) {
  return std::make_unique<CniNetwork>(std::move(options));
}

}  // namespace berth
