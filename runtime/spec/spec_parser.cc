#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/json_fields.h"
#include "base/status.h"
#include "runtime/spec/rlimit_names.h"
#include "runtime/spec/spec.h"

namespace berth {
namespace {

using nlohmann::json;

absl::Status ReadCapabilitySet(const JsonFields& fields, const char* key, CapabilityMask* mask) {
  return fields.EachItem(key, [&](const json& item, const std::string& path) {
    if (!item.is_string()) return JsonFields::Error(path, "want a string");
    const std::optional<int> number = CapabilityNumber(item.get_ref<const std::string&>());
    if (!number) return JsonFields::Error(path, absl::StrCat("unknown capability ", item.dump()));
    *mask |= CapabilityBit(*number);
    return absl::OkStatus();
  });
}

absl::Status ReadUser(const JsonFields& fields, SpecUser* user) {
  RETURN_IF_ERROR(fields.Read("uid", &user->uid));
  RETURN_IF_ERROR(fields.Read("gid", &user->gid));
  RETURN_IF_ERROR(fields.Read("umask", &user->umask));
  return fields.EachItem("additionalGids", [&](const json& item, const std::string& path) {
    return JsonFields::Integer(item, path, &user->additional_gids.emplace_back());
  });
}

absl::Status ReadRlimit(const JsonFields& fields, std::vector<SpecRlimit>* rlimits) {
  std::string type;
  RETURN_IF_ERROR(fields.Read("type", &type));
  const std::optional<int> number = RlimitNumber(type);
  if (!number) return fields.Invalid("type", absl::StrCat("unknown limit \"", type, "\""));
  for (const SpecRlimit& other : *rlimits) {
    if (other.resource == *number) return fields.Invalid("type", absl::StrCat(type, " twice"));
  }
  SpecRlimit limit;
  limit.resource = *number;
  // Go's uint64: -1 appears as 18446744073709551615.
  RETURN_IF_ERROR(fields.Read("soft", &limit.soft));
  RETURN_IF_ERROR(fields.Read("hard", &limit.hard));
  if (limit.soft > limit.hard) return fields.Invalid("soft", "is above the hard limit");
  rlimits->push_back(limit);
  return absl::OkStatus();
}

absl::Status ReadProcess(const JsonFields& fields, SpecProcess* p) {
  for (const char* key : {"scheduler", "ioPriority", "execCPUAffinity"}) {
    if (fields.Find(key) != nullptr) {
      return absl::UnimplementedError(absl::StrCat(fields.Path(key), ": not supported"));
    }
  }
  RETURN_IF_ERROR(fields.Read("terminal", &p->terminal));
  RETURN_IF_ERROR(fields.Object("consoleSize", [&](const JsonFields& size) -> absl::Status {
    RETURN_IF_ERROR(size.Read("height", &p->console_height));
    return size.Read("width", &p->console_width);
  }));
  RETURN_IF_ERROR(
      fields.Object("user", [&](const JsonFields& user) { return ReadUser(user, &p->user); }));
  RETURN_IF_ERROR(fields.Read("args", &p->args));
  RETURN_IF_ERROR(fields.Read("env", &p->env));
  RETURN_IF_ERROR(fields.Read("cwd", &p->cwd));
  if (!absl::StartsWith(p->cwd, "/")) return fields.Invalid("cwd", "want an absolute path");
  RETURN_IF_ERROR(fields.Object("capabilities", [&](const JsonFields& sets) -> absl::Status {
    SpecCapabilities& c = p->capabilities.emplace();
    RETURN_IF_ERROR(ReadCapabilitySet(sets, "bounding", &c.bounding));
    RETURN_IF_ERROR(ReadCapabilitySet(sets, "effective", &c.effective));
    RETURN_IF_ERROR(ReadCapabilitySet(sets, "permitted", &c.permitted));
    RETURN_IF_ERROR(ReadCapabilitySet(sets, "inheritable", &c.inheritable));
    return ReadCapabilitySet(sets, "ambient", &c.ambient);
  }));
  RETURN_IF_ERROR(fields.EachObject(
      "rlimits", [&](const JsonFields& item) { return ReadRlimit(item, &p->rlimits); }));
  RETURN_IF_ERROR(fields.Read("noNewPrivileges", &p->no_new_privileges));
  RETURN_IF_ERROR(fields.Read("apparmorProfile", &p->apparmor_profile));
  RETURN_IF_ERROR(fields.Read("selinuxLabel", &p->selinux_label));
  RETURN_IF_ERROR(fields.Read("oomScoreAdj", &p->oom_score_adj));
  if (p->oom_score_adj && (*p->oom_score_adj < -1000 || *p->oom_score_adj > 1000)) {
    return fields.Invalid("oomScoreAdj", "want -1000 to 1000");
  }
  return absl::OkStatus();
}

absl::Status ReadMappings(const JsonFields& fields, const char* key,
                          std::vector<SpecIdMapping>* out) {
  return fields.EachObject(key, [&](const JsonFields& item) -> absl::Status {
    SpecIdMapping& m = out->emplace_back();
    RETURN_IF_ERROR(item.Read("containerID", &m.container_id));
    RETURN_IF_ERROR(item.Read("hostID", &m.host_id));
    RETURN_IF_ERROR(item.Read("size", &m.size));
    return m.size == 0 ? item.Invalid("size", "is 0") : absl::OkStatus();
  });
}

absl::Status ReadMount(const JsonFields& fields, SpecMount* m) {
  RETURN_IF_ERROR(fields.Read("destination", &m->destination));
  if (m->destination.empty()) return fields.Invalid("destination", "missing");
  // Relative ones are deprecated by the specification and taken as below the root.
  if (m->destination[0] != '/') {
    m->destination = absl::StrCat("/", m->destination);
  }
  RETURN_IF_ERROR(fields.Read("type", &m->type));
  RETURN_IF_ERROR(fields.Read("source", &m->source));
  RETURN_IF_ERROR(fields.Read("options", &m->options));
  RETURN_IF_ERROR(ReadMappings(fields, "uidMappings", &m->uid_mappings));
  return ReadMappings(fields, "gidMappings", &m->gid_mappings);
}

absl::Status ReadHooks(const JsonFields& fields, const char* key, std::vector<SpecHook>* hooks) {
  return fields.EachObject(key, [&](const JsonFields& item) -> absl::Status {
    SpecHook& hook = hooks->emplace_back();
    RETURN_IF_ERROR(item.Read("path", &hook.path));
    if (!absl::StartsWith(hook.path, "/")) return item.Invalid("path", "want an absolute path");
    RETURN_IF_ERROR(item.Read("args", &hook.args));
    RETURN_IF_ERROR(item.Read("env", &hook.env));
    RETURN_IF_ERROR(item.Read("timeout", &hook.timeout));
    if (hook.timeout && *hook.timeout <= 0) return item.Invalid("timeout", "must be above 0");
    return absl::OkStatus();
  });
}

absl::Status ReadNamespace(const JsonFields& fields, std::vector<SpecNamespace>* out) {
  std::string type;
  SpecNamespace entry;
  RETURN_IF_ERROR(fields.Read("type", &type));
  RETURN_IF_ERROR(fields.Read("path", &entry.path));
  if (!entry.path.empty() && entry.path[0] != '/') {
    return fields.Invalid("path", "want an absolute path");
  }
  for (int i = 0; i <= static_cast<int>(NamespaceKind::kTime); ++i) {
    entry.kind = static_cast<NamespaceKind>(i);
    if (NamespaceName(entry.kind) != type) continue;
    for (const SpecNamespace& other : *out) {
      if (other.kind == entry.kind) return fields.Invalid("type", absl::StrCat(type, " twice"));
    }
    out->push_back(entry);
    return absl::OkStatus();
  }
  return fields.Invalid("type", absl::StrCat("unknown namespace \"", type, "\""));
}

absl::Status ReadDeviceType(const JsonFields& fields, absl::string_view allowed, char* type) {
  std::string text;
  RETURN_IF_ERROR(fields.Read("type", &text));
  if (text.empty()) return absl::OkStatus();
  if (text.size() != 1 || !absl::StrContains(allowed, text)) {
    return fields.Invalid("type", absl::StrCat("unknown device type \"", text, "\""));
  }
  *type = text[0] == 'u' ? 'c' : text[0];
  return absl::OkStatus();
}

absl::Status ReadDevice(const JsonFields& fields, SpecDevice* d) {
  RETURN_IF_ERROR(ReadDeviceType(fields, "cbup", &d->type));
  RETURN_IF_ERROR(fields.Read("path", &d->path));
  if (!absl::StartsWith(d->path, "/")) return fields.Invalid("path", "want an absolute path");
  RETURN_IF_ERROR(fields.Read("major", &d->major));
  RETURN_IF_ERROR(fields.Read("minor", &d->minor));
  RETURN_IF_ERROR(fields.Read("fileMode", &d->file_mode));
  RETURN_IF_ERROR(fields.Read("uid", &d->uid));
  return fields.Read("gid", &d->gid);
}

absl::Status ReadDeviceRule(const JsonFields& fields, DeviceRule* rule) {
  RETURN_IF_ERROR(fields.Read("allow", &rule->allow));
  RETURN_IF_ERROR(ReadDeviceType(fields, "abc", &rule->type));
  RETURN_IF_ERROR(fields.Read("major", &rule->major));
  RETURN_IF_ERROR(fields.Read("minor", &rule->minor));
  RETURN_IF_ERROR(fields.Read("access", &rule->access));
  if (rule->access.find_first_not_of("rwm") != std::string::npos || rule->access.size() > 3) {
    return fields.Invalid("access", "want letters out of rwm");
  }
  return absl::OkStatus();
}

absl::Status ReadCpu(const JsonFields& cpu, CgroupResources* r) {
  RETURN_IF_ERROR(cpu.Read("shares", &r->cpu_shares));
  RETURN_IF_ERROR(cpu.Read("quota", &r->cpu_quota));
  RETURN_IF_ERROR(cpu.Read("period", &r->cpu_period));
  RETURN_IF_ERROR(cpu.Read("burst", &r->cpu_burst));
  RETURN_IF_ERROR(cpu.Read("idle", &r->cpu_idle));
  RETURN_IF_ERROR(cpu.Read("cpus", &r->cpuset_cpus));
  RETURN_IF_ERROR(cpu.Read("mems", &r->cpuset_mems));
  // Zero and "" are what encoders without "unset" write.
  if (r->cpu_shares == 0u) r->cpu_shares.reset();
  if (r->cpu_quota == 0) r->cpu_quota.reset();
  if (r->cpu_period == 0u) r->cpu_period.reset();
  if (r->cpuset_cpus && r->cpuset_cpus->empty()) r->cpuset_cpus.reset();
  if (r->cpuset_mems && r->cpuset_mems->empty()) r->cpuset_mems.reset();
  return absl::OkStatus();
}

absl::Status ReadMemory(const JsonFields& memory, CgroupResources* r) {
  RETURN_IF_ERROR(memory.Read("limit", &r->memory_limit));
  RETURN_IF_ERROR(memory.Read("reservation", &r->memory_reservation));
  RETURN_IF_ERROR(memory.Read("swap", &r->memory_swap));
  RETURN_IF_ERROR(memory.Read("checkBeforeUpdate", &r->memory_check_before_update));
  if (r->memory_limit == 0) r->memory_limit.reset();
  if (r->memory_swap == 0) r->memory_swap.reset();
  if (r->memory_limit && r->memory_swap && *r->memory_swap > 0 && *r->memory_limit > 0 &&
      *r->memory_swap < *r->memory_limit) {
    return memory.Invalid("swap", "is less than memory.limit; it counts both");
  }
  return absl::OkStatus();
}

absl::Status ReadStringMap(const JsonFields& fields, const char* key,
                           std::map<std::string, std::string>* out) {
  const json* value = fields.Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_object()) return fields.Invalid(key, "want an object");
  for (const auto& [name, text] : value->items()) {
    if (!text.is_string()) {
      return JsonFields::Error(absl::StrCat(fields.Path(key), ".", name), "want a string");
    }
    (*out)[name] = text.get_ref<const std::string&>();
  }
  return absl::OkStatus();
}

absl::Status ReadResources(const JsonFields& fields, CgroupResources* r) {
  RETURN_IF_ERROR(fields.Object("cpu", [&](const JsonFields& cpu) { return ReadCpu(cpu, r); }));
  RETURN_IF_ERROR(fields.Object("memory", [&](const JsonFields& m) { return ReadMemory(m, r); }));
  RETURN_IF_ERROR(fields.Object(
      "pids", [&](const JsonFields& pids) { return pids.Read("limit", &r->pids_limit); }));
  RETURN_IF_ERROR(fields.EachObject("hugepageLimits", [&](const JsonFields& h) -> absl::Status {
    HugepageLimit& limit = r->hugepages.emplace_back();
    RETURN_IF_ERROR(h.Read("pageSize", &limit.page_size));
    return h.Read("limit", &limit.limit);
  }));
  if (fields.Find("devices") != nullptr) r->devices.emplace();
  RETURN_IF_ERROR(fields.EachObject("devices", [&](const JsonFields& d) {
    return ReadDeviceRule(d, &r->devices->emplace_back());
  }));
  RETURN_IF_ERROR(ReadStringMap(fields, "unified", &r->unified));
  for (const auto& [file, value] : r->unified) {
    if (absl::StrContains(file, '\0') || absl::StrContains(value, '\0')) {
      return fields.Invalid("unified", "has a NUL byte");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadPaths(const JsonFields& fields, const char* key, std::vector<std::string>* out) {
  RETURN_IF_ERROR(fields.Read(key, out));
  for (size_t i = 0; i < out->size(); ++i) {
    if (!absl::StartsWith((*out)[i], "/")) {
      return JsonFields::Error(absl::StrCat(fields.Path(key), "[", i, "]"),
                               "want an absolute path");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadLinux(const JsonFields& fields, SpecLinux* l) {
  RETURN_IF_ERROR(ReadMappings(fields, "uidMappings", &l->uid_mappings));
  RETURN_IF_ERROR(ReadMappings(fields, "gidMappings", &l->gid_mappings));
  RETURN_IF_ERROR(ReadStringMap(fields, "sysctl", &l->sysctl));
  RETURN_IF_ERROR(fields.Object(
      "resources", [&](const JsonFields& r) { return ReadResources(r, &l->resources); }));
  RETURN_IF_ERROR(fields.Read("cgroupsPath", &l->cgroups_path));
  RETURN_IF_ERROR(fields.EachObject(
      "namespaces", [&](const JsonFields& item) { return ReadNamespace(item, &l->namespaces); }));
  RETURN_IF_ERROR(fields.EachObject("devices", [&](const JsonFields& item) {
    return ReadDevice(item, &l->devices.emplace_back());
  }));
  if (const json* seccomp = fields.Find("seccomp")) {
    ASSIGN_OR_RETURN(SeccompProfile profile,
                     SeccompProfileFromJson(*seccomp, fields.Path("seccomp")));
    l->seccomp = std::make_shared<const SeccompProfile>(std::move(profile));
  }
  RETURN_IF_ERROR(fields.Read("rootfsPropagation", &l->rootfs_propagation));
  RETURN_IF_ERROR(ReadPaths(fields, "maskedPaths", &l->masked_paths));
  RETURN_IF_ERROR(ReadPaths(fields, "readonlyPaths", &l->readonly_paths));
  RETURN_IF_ERROR(fields.Read("mountLabel", &l->mount_label));
  l->has_intel_rdt = fields.Find("intelRdt") != nullptr;
  l->has_personality = fields.Find("personality") != nullptr;
  l->has_time_offsets = fields.Find("timeOffsets") != nullptr;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SpecProcess> SpecProcessFromJson(const json& value, absl::string_view field) {
  const JsonFields fields(value, std::string(field));
  RETURN_IF_ERROR(fields.CheckObject());
  SpecProcess process;
  RETURN_IF_ERROR(ReadProcess(fields, &process));
  return process;
}

absl::StatusOr<Spec> SpecFromJson(const json& value) {
  const JsonFields fields(value, "");
  RETURN_IF_ERROR(fields.CheckObject());
  Spec spec;
  spec.oci_version.clear();
  RETURN_IF_ERROR(fields.Read("ociVersion", &spec.oci_version));
  if (!absl::StartsWith(spec.oci_version, "1.")) {
    return fields.Invalid("ociVersion", absl::StrCat("want 1.x, not \"", spec.oci_version, "\""));
  }
  RETURN_IF_ERROR(fields.Object("process", [&](const JsonFields& process) {
    return ReadProcess(process, &spec.process.emplace());
  }));
  RETURN_IF_ERROR(fields.Object("root", [&](const JsonFields& root) -> absl::Status {
    RETURN_IF_ERROR(root.Read("path", &spec.root_path));
    return root.Read("readonly", &spec.root_readonly);
  }));
  RETURN_IF_ERROR(fields.Read("hostname", &spec.hostname));
  RETURN_IF_ERROR(fields.Read("domainname", &spec.domainname));
  RETURN_IF_ERROR(fields.EachObject("mounts", [&](const JsonFields& item) {
    return ReadMount(item, &spec.mounts.emplace_back());
  }));
  RETURN_IF_ERROR(fields.Object("hooks", [&](const JsonFields& hooks) -> absl::Status {
    RETURN_IF_ERROR(ReadHooks(hooks, "prestart", &spec.hooks.prestart));
    RETURN_IF_ERROR(ReadHooks(hooks, "createRuntime", &spec.hooks.create_runtime));
    RETURN_IF_ERROR(ReadHooks(hooks, "createContainer", &spec.hooks.create_container));
    RETURN_IF_ERROR(ReadHooks(hooks, "startContainer", &spec.hooks.start_container));
    RETURN_IF_ERROR(ReadHooks(hooks, "poststart", &spec.hooks.poststart));
    return ReadHooks(hooks, "poststop", &spec.hooks.poststop);
  }));
  RETURN_IF_ERROR(ReadStringMap(fields, "annotations", &spec.annotations));
  RETURN_IF_ERROR(
      fields.Object("linux", [&](const JsonFields& l) { return ReadLinux(l, &spec.linux_); }));
  if (!spec.hostname.empty() && spec.Namespace(NamespaceKind::kUts) == nullptr) {
    return JsonFields::Error("hostname", "needs a uts namespace");
  }
  return spec;
}

absl::StatusOr<Spec> ParseSpec(absl::string_view text) {
  const json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return absl::InvalidArgumentError("the spec is not JSON");
  return SpecFromJson(value);
}

}  // namespace berth
