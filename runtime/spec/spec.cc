#include "runtime/spec/spec.h"

#include <sys/resource.h>

#include "nlohmann/json.hpp"
#include "runtime/spec/rlimit_names.h"

namespace berth {
namespace {

using nlohmann::json;

json MappingsToJson(const std::vector<SpecIdMapping>& mappings) {
  json out = json::array();
  for (const SpecIdMapping& m : mappings) {
    out.push_back({{"containerID", m.container_id}, {"hostID", m.host_id}, {"size", m.size}});
  }
  return out;
}

json ProcessToJson(const SpecProcess& p) {
  json out = {{"cwd", p.cwd}, {"args", p.args}, {"noNewPrivileges", p.no_new_privileges}};
  if (p.terminal) out["terminal"] = true;
  if (p.console_height != 0) {
    out["consoleSize"] = {{"height", p.console_height}, {"width", p.console_width}};
  }
  out["user"] = {{"uid", p.user.uid}, {"gid", p.user.gid}};
  if (p.user.umask) out["user"]["umask"] = *p.user.umask;
  if (!p.user.additional_gids.empty()) out["user"]["additionalGids"] = p.user.additional_gids;
  if (!p.env.empty()) out["env"] = p.env;
  if (p.capabilities) {
    const SpecCapabilities& c = *p.capabilities;
    out["capabilities"] = {{"bounding", CapabilityNames(c.bounding)},
                           {"effective", CapabilityNames(c.effective)},
                           {"permitted", CapabilityNames(c.permitted)},
                           {"inheritable", CapabilityNames(c.inheritable)},
                           {"ambient", CapabilityNames(c.ambient)}};
  }
  for (const SpecRlimit& r : p.rlimits) {
    out["rlimits"].push_back(
        {{"type", RlimitName(r.resource)}, {"soft", r.soft}, {"hard", r.hard}});
  }
  if (!p.apparmor_profile.empty()) out["apparmorProfile"] = p.apparmor_profile;
  if (!p.selinux_label.empty()) out["selinuxLabel"] = p.selinux_label;
  if (p.oom_score_adj) out["oomScoreAdj"] = *p.oom_score_adj;
  return out;
}

json ResourcesToJson(const CgroupResources& r) {
  json out = json::object();
  if (r.cpu_shares) out["cpu"]["shares"] = *r.cpu_shares;
  if (r.cpu_quota) out["cpu"]["quota"] = *r.cpu_quota;
  if (r.cpu_period) out["cpu"]["period"] = *r.cpu_period;
  if (r.cpu_burst) out["cpu"]["burst"] = *r.cpu_burst;
  if (r.cpu_idle) out["cpu"]["idle"] = *r.cpu_idle;
  if (r.cpuset_cpus) out["cpu"]["cpus"] = *r.cpuset_cpus;
  if (r.cpuset_mems) out["cpu"]["mems"] = *r.cpuset_mems;
  if (r.memory_limit) out["memory"]["limit"] = *r.memory_limit;
  if (r.memory_reservation) out["memory"]["reservation"] = *r.memory_reservation;
  if (r.memory_swap) out["memory"]["swap"] = *r.memory_swap;
  if (r.memory_check_before_update) out["memory"]["checkBeforeUpdate"] = true;
  if (r.pids_limit) out["pids"]["limit"] = *r.pids_limit;
  for (const HugepageLimit& h : r.hugepages) {
    out["hugepageLimits"].push_back({{"pageSize", h.page_size}, {"limit", h.limit}});
  }
  if (r.devices) {
    for (const DeviceRule& d : *r.devices) {
      json rule = {{"allow", d.allow}, {"access", d.access.empty() ? "rwm" : d.access}};
      if (d.type != 'a') rule["type"] = std::string(1, d.type);
      if (d.major >= 0) rule["major"] = d.major;
      if (d.minor >= 0) rule["minor"] = d.minor;
      out["devices"].push_back(std::move(rule));
    }
  }
  if (!r.unified.empty()) out["unified"] = r.unified;
  return out;
}

json HooksToJson(const std::vector<SpecHook>& hooks) {
  json out = json::array();
  for (const SpecHook& h : hooks) {
    json item = {{"path", h.path}};
    if (!h.args.empty()) item["args"] = h.args;
    if (!h.env.empty()) item["env"] = h.env;
    if (h.timeout) item["timeout"] = *h.timeout;
    out.push_back(std::move(item));
  }
  return out;
}

json LinuxToJson(const SpecLinux& l) {
  json out = json::object();
  if (!l.uid_mappings.empty()) out["uidMappings"] = MappingsToJson(l.uid_mappings);
  if (!l.gid_mappings.empty()) out["gidMappings"] = MappingsToJson(l.gid_mappings);
  if (!l.sysctl.empty()) out["sysctl"] = l.sysctl;
  if (json resources = ResourcesToJson(l.resources); !resources.empty()) {
    out["resources"] = std::move(resources);
  }
  if (!l.cgroups_path.empty()) out["cgroupsPath"] = l.cgroups_path;
  for (const SpecNamespace& n : l.namespaces) {
    json item = {{"type", std::string(NamespaceName(n.kind))}};
    if (!n.path.empty()) item["path"] = n.path;
    out["namespaces"].push_back(std::move(item));
  }
  for (const SpecDevice& d : l.devices) {
    json item = {{"type", std::string(1, d.type)}, {"path", d.path}};
    if (d.type != 'p') item["major"] = d.major, item["minor"] = d.minor;
    if (d.file_mode) item["fileMode"] = *d.file_mode;
    if (d.uid) item["uid"] = *d.uid;
    if (d.gid) item["gid"] = *d.gid;
    out["devices"].push_back(std::move(item));
  }
  if (l.seccomp != nullptr) out["seccomp"] = SeccompProfileToJson(*l.seccomp);
  if (!l.rootfs_propagation.empty()) out["rootfsPropagation"] = l.rootfs_propagation;
  if (!l.masked_paths.empty()) out["maskedPaths"] = l.masked_paths;
  if (!l.readonly_paths.empty()) out["readonlyPaths"] = l.readonly_paths;
  if (!l.mount_label.empty()) out["mountLabel"] = l.mount_label;
  return out;
}

}  // namespace

const SpecNamespace* Spec::Namespace(NamespaceKind kind) const {
  for (const SpecNamespace& entry : linux_.namespaces) {
    if (entry.kind == kind) return &entry;
  }
  return nullptr;
}

absl::string_view NamespaceName(NamespaceKind kind) {
  constexpr const char* kNames[] = {"pid", "network", "mount",  "ipc",
                                    "uts", "user",    "cgroup", "time"};
  return kNames[static_cast<int>(kind)];
}

json SpecToJson(const Spec& spec) {
  json out = {{"ociVersion", spec.oci_version}};
  if (spec.process) out["process"] = ProcessToJson(*spec.process);
  if (!spec.root_path.empty()) {
    out["root"] = {{"path", spec.root_path}};
    if (spec.root_readonly) out["root"]["readonly"] = true;
  }
  if (!spec.hostname.empty()) out["hostname"] = spec.hostname;
  if (!spec.domainname.empty()) out["domainname"] = spec.domainname;
  for (const SpecMount& m : spec.mounts) {
    json item = {{"destination", m.destination}};
    if (!m.type.empty()) item["type"] = m.type;
    if (!m.source.empty()) item["source"] = m.source;
    if (!m.options.empty()) item["options"] = m.options;
    if (!m.uid_mappings.empty()) item["uidMappings"] = MappingsToJson(m.uid_mappings);
    if (!m.gid_mappings.empty()) item["gidMappings"] = MappingsToJson(m.gid_mappings);
    out["mounts"].push_back(std::move(item));
  }
  const SpecHooks& h = spec.hooks;
  const std::pair<const char*, const std::vector<SpecHook>*> hooks[] = {
      {"prestart", &h.prestart},
      {"createRuntime", &h.create_runtime},
      {"createContainer", &h.create_container},
      {"startContainer", &h.start_container},
      {"poststart", &h.poststart},
      {"poststop", &h.poststop}};
  for (const auto& [name, list] : hooks) {
    if (!list->empty()) out["hooks"][name] = HooksToJson(*list);
  }
  if (!spec.annotations.empty()) out["annotations"] = spec.annotations;
  out["linux"] = LinuxToJson(spec.linux_);
  return out;
}

}  // namespace berth
