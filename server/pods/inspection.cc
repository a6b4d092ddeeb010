#include "server/pods/inspection.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/cri/api.h"
#include "server/cri/proto_json.h"

namespace berth {
namespace {

using nlohmann::json;

bool IsReady(const store::v1::PodRecord& record) {
  return record.state() == store::v1::POD_STATE_READY;
}

// The specification as it came out: names of users looked up, limits as they are in force.
Spec Resolved(Spec spec, const store::v1::ContainerRecord& record) {
  if (spec.root_path.empty()) spec.root_path = "rootfs";  // an overlay that only the container has
  if (spec.process.has_value() && record.has_user()) {
    SpecUser& user = spec.process->user;
    user.uid = static_cast<uint32_t>(record.user().uid());
    user.gid = static_cast<uint32_t>(record.user().gid());
    user.additional_gids.assign(record.user().supplemental_groups().begin(),
                                record.user().supplemental_groups().end());
  }
  return spec;
}

// What a pod's own process would be made from if it had one: for readers, nothing is made from it.
Spec PodSpec(const store::v1::PodRecord& record) {
  const cri::PodSandboxConfig& config = record.config();
  Spec spec;
  spec.hostname = config.hostname();
  spec.linux_.cgroups_path = record.cgroup_parent();
  spec.linux_.sysctl = {config.linux().sysctls().begin(), config.linux().sysctls().end()};
  const auto add = [&](NamespaceKind kind, int pid, const char* name) {
    const bool known = IsReady(record) && pid > 0;
    spec.linux_.namespaces.push_back(
        {kind, known ? absl::StrCat("/proc/", pid, "/ns/", name) : std::string()});
  };
  const int keeper = record.keeper().pid();
  const cri::NamespaceOption& namespaces = record.namespaces();
  if (namespaces.pid() == cri::POD) add(NamespaceKind::kPid, record.pod_init().pid(), "pid");
  if (namespaces.ipc() == cri::POD) add(NamespaceKind::kIpc, keeper, "ipc");
  if (namespaces.network() == cri::POD) {
    add(NamespaceKind::kUts, keeper, "uts");
    spec.linux_.namespaces.push_back(
        {NamespaceKind::kNetwork, IsReady(record) ? record.netns_path() : std::string()});
  }
  spec.annotations = {{"io.kubernetes.cri.container-type", "sandbox"},
                      {"io.kubernetes.cri.sandbox-id", record.id()},
                      {"io.kubernetes.cri.sandbox-log-directory", config.log_directory()},
                      {"io.kubernetes.cri.sandbox-name", config.metadata().name()},
                      {"io.kubernetes.cri.sandbox-namespace", config.metadata().namespace_()},
                      {"io.kubernetes.cri.sandbox-uid", config.metadata().uid()}};
  return spec;
}

const json& Member(const json& object, const char* name) {
  static const json kNull;
  const auto it = object.find(name);
  return it == object.end() ? kNull : *it;
}

std::string Text(const json& object, const char* name) {
  const json& value = Member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

}  // namespace

json InspectContainer(const store::v1::ContainerRecord& record, const absl::StatusOr<Spec>& spec,
                      const std::string& handler) {
  json info = {
      {"sandboxID", record.pod_id()},
      {"pid", record.state() == store::v1::CONTAINER_STATE_EXITED ? 0 : record.init().pid()},
      {"removing", false},
      {"snapshotKey", record.snapshot_id()},
      {"snapshotter", "overlayfs"},
      {"runtimeType", handler},
      {"runtimeOptions", nullptr},
      {"config", ProtoToJson(record.config())},
      {"cgroup", record.cgroup_path()},
      {"logLost", record.log_lost()}};
  if (spec.ok()) {
    info["runtimeSpec"] = SpecToJson(Resolved(*spec, record));
  } else {
    info["runtimeSpecError"] = std::string(spec.status().message());
  }
  return info;
}

json InspectPod(const store::v1::PodRecord& record, const std::string& handler) {
  const bool ready = IsReady(record);
  json cni = nullptr;
  std::string cni_version;
  if (record.cni_size() > 0) {
    const json result = json::parse(record.cni(0).result_json(), nullptr, false);
    cni = CniResultForPeople(result, record.cni(0).interface_name());
    if (result.is_object()) cni_version = Text(result, "cniVersion");
  }
  const std::string& chosen = record.runtime_handler().empty() ? handler : record.runtime_handler();
  return {{"pid", ready ? record.keeper().pid() : 0},
          {"keeperPid", ready ? record.keeper().pid() : 0},
          {"initPid", ready ? record.pod_init().pid() : 0},
          {"processStatus", ready ? "running" : "stopped"},
          {"netNamespace", record.netns_path()},
          {"netNamespaceClosed", !ready && record.namespaces().network() == cri::POD},
          {"image", ""},
          {"snapshotKey", ""},
          {"snapshotter", ""},
          {"runtimeHandler", record.runtime_handler()},
          {"runtimeType", chosen},
          {"runtimeOptions", nullptr},
          {"config", ProtoToJson(record.config())},
          {"runtimeSpec", SpecToJson(PodSpec(record))},
          {"overhead", ProtoToJson(record.overhead())},
          {"resources", ProtoToJson(record.resources())},
          {"cgroupParent", record.cgroup_parent()},
          {"stateReason", record.state_reason()},
          {"bootID", record.boot_id()},
          {"cniVersion", cni_version},
          {"cniResult", std::move(cni)}};
}

json CniResultForPeople(const json& result, const std::string& interface) {
  if (!result.is_object()) return nullptr;
  // By the index that addresses name them with.
  std::vector<json> interfaces;
  std::vector<std::string> names;
  const json& listed = Member(result, "interfaces");
  for (const json& item : listed.is_array() ? listed : json::array()) {
    if (!item.is_object()) continue;
    names.push_back(Text(item, "name"));
    interfaces.push_back(
        {{"IPConfigs", nullptr}, {"Mac", Text(item, "mac")}, {"Sandbox", Text(item, "sandbox")}});
  }
  if (interfaces.empty()) {  // allowed by 0.3.x: the addresses are the requested interface's
    names.push_back(interface);
    interfaces.push_back({{"IPConfigs", nullptr}, {"Mac", ""}, {"Sandbox", ""}});
  }
  const json& ips = Member(result, "ips");
  for (const json& ip : ips.is_array() ? ips : json::array()) {
    if (!ip.is_object()) continue;
    const json& index = Member(ip, "interface");
    const size_t at = index.is_number_unsigned() ? index.get<size_t>() : 0;
    if (at >= interfaces.size()) continue;
    const std::string address = Text(ip, "address");
    interfaces[at]["IPConfigs"].push_back(
        {{"IP", address.substr(0, address.find('/'))}, {"Gateway", Text(ip, "gateway")}});
  }
  json by_name = json::object();
  for (size_t i = 0; i < interfaces.size(); ++i) by_name[names[i]] = std::move(interfaces[i]);
  return {{"Interfaces", std::move(by_name)},
          {"DNS", json::array({Member(result, "dns")})},
          {"Routes", Member(result, "routes")}};
}

json InspectNetwork(const std::string& conf_dir, const std::vector<std::string>& bin_dirs,
                    const std::string& list) {
  json networks = json::array();
  const json config = json::parse(list, nullptr, false);
  if (config.is_object()) {
    json plugins = json::array();
    const json& listed = Member(config, "plugins");
    for (const json& plugin : listed.is_array() ? listed : json::array()) {
      plugins.push_back({{"Network", plugin}});
    }
    networks.push_back({{"IFName", "eth0"},
                        {"Config",
                         {{"Name", Text(config, "name")},
                          {"CNIVersion", Text(config, "cniVersion")},
                          {"Plugins", std::move(plugins)},
                          {"Source", list}}}});
  }
  return {{"PluginConfDir", conf_dir},
          {"PluginDirs", bin_dirs},
          {"PluginMaxConfNum", 1},
          {"Prefix", "eth"},
          {"Networks", std::move(networks)}};
}

}  // namespace berth
