#include "runtime/compiler.h"

#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "runtime/mount_options.h"
#include "runtime/plan_builder.h"
#include "runtime/seccomp/filter.h"

namespace berth {
namespace {

constexpr int kCapSysPtrace = 19;
constexpr uint32_t kDeviceMode = 0666;

absl::Status Unsupported(absl::string_view field, absl::string_view why = "not supported") {
  return absl::UnimplementedError(absl::StrCat(field, ": ", why));
}

absl::Status Invalid(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}

class Compiler {
 public:
  Compiler(const Spec& spec, const CompileInput& input) : spec_(spec), input_(input) {}

  absl::StatusOr<std::string> Container() {
    if (!spec_.process) return Invalid("process", "missing");
    RETURN_IF_ERROR(RefuseUnsupported());
    RETURN_IF_ERROR(UserNamespace());
    RETURN_IF_ERROR(Namespaces());
    Cgroups();
    RETURN_IF_ERROR(Rootfs());
    RETURN_IF_ERROR(Mounts());
    RETURN_IF_ERROR(Devices());
    Symlinks();
    plan_.masked_paths = spec_.linux_.masked_paths;
    plan_.readonly_paths.insert(plan_.readonly_paths.end(), spec_.linux_.readonly_paths.begin(),
                                spec_.linux_.readonly_paths.end());
    RETURN_IF_ERROR(Sysctls());
    RETURN_IF_ERROR(Process(*spec_.process));
    if (input_.stdin_open) plan_.flags |= kPlanStdin;
    if (input_.stdin_once) plan_.flags |= kPlanStdinOnce;
    return BuildPlan(plan_);
  }

  absl::StatusOr<std::string> Exec(const SpecProcess& process) {
    plan_.flags |= kPlanExec;
    RETURN_IF_ERROR(UserNamespace());
    RETURN_IF_ERROR(PidNamespace());
    RETURN_IF_ERROR(CgroupNamespace());
    Cgroups();
    RETURN_IF_ERROR(Process(process));
    return BuildPlan(plan_);
  }

 private:
  absl::Status RefuseUnsupported() const {
    const SpecLinux& l = spec_.linux_;
    if (!spec_.hooks.empty()) return Unsupported("hooks", "only external runtimes run them");
    if (spec_.Namespace(NamespaceKind::kTime) != nullptr || l.has_time_offsets) {
      return Unsupported("linux.namespaces", "time namespaces are not supported");
    }
    if (l.has_intel_rdt) return Unsupported("linux.intelRdt");
    if (l.has_personality) return Unsupported("linux.personality");
    if (!l.mount_label.empty()) return Unsupported("linux.mountLabel");
    return absl::OkStatus();
  }

  // The pod's, which its keeper has made with these maps.
  absl::Status UserNamespace() {
    const SpecLinux& l = spec_.linux_;
    if (spec_.Namespace(NamespaceKind::kUser) == nullptr) {
      if (l.uid_mappings.empty() && l.gid_mappings.empty()) return absl::OkStatus();
      return Invalid("linux.uidMappings", "want a user namespace");
    }
    if (!input_.in_pod) return Unsupported("linux.namespaces", "user namespaces are for pods");
    plan_.uid_maps = PlanIdMaps(l.uid_mappings);
    plan_.gid_maps = PlanIdMaps(l.gid_mappings);
    if (plan_.uid_maps.empty()) return Invalid("linux.uidMappings", "missing");
    if (plan_.gid_maps.empty()) return Invalid("linux.gidMappings", "missing");
    return absl::OkStatus();
  }

  static std::vector<PlanIdMap> PlanIdMaps(const std::vector<SpecIdMapping>& mappings) {
    std::vector<PlanIdMap> maps;
    maps.reserve(mappings.size());
    for (const SpecIdMapping& m : mappings) maps.push_back({m.container_id, m.host_id, m.size});
    return maps;
  }

  // The number for PlanMount::id_map. runtime-spec, config.md, "Mounts": uidMappings count with or without
  // the option idmap, which alone means the container's own.
  absl::StatusOr<uint32_t> MountIdMap(const SpecMount& m, bool idmap) {
    PlanContents::MountIdMap map{PlanIdMaps(m.uid_mappings), PlanIdMaps(m.gid_mappings)};
    if (map.uids.empty() && map.gids.empty()) {
      if (!idmap) return 0;
      if (plan_.uid_maps.empty()) return Invalid("options", "idmap needs mappings");
      map = {plan_.uid_maps, plan_.gid_maps};
    }
    if (map.uids.empty()) return Invalid("uidMappings", "missing beside gidMappings");
    if (map.gids.empty()) return Invalid("gidMappings", "missing beside uidMappings");
    const auto same = [](const std::vector<PlanIdMap>& a, const std::vector<PlanIdMap>& b) {
      return std::equal(
          a.begin(), a.end(), b.begin(), b.end(), [](const PlanIdMap& x, const PlanIdMap& y) {
            return x.inside == y.inside && x.outside == y.outside && x.count == y.count;
          });
    };
    for (size_t i = 0; i < plan_.id_maps.size(); ++i) {
      if (same(plan_.id_maps[i].uids, map.uids) && same(plan_.id_maps[i].gids, map.gids))
        return i + 1;
    }
    plan_.id_maps.push_back(std::move(map));
    return plan_.id_maps.size();
  }

  absl::Status PidNamespace() {
    const SpecNamespace* pid = spec_.Namespace(NamespaceKind::kPid);
    if (pid == nullptr) {
      plan_.pid_mode = PidMode::kNode;
    } else if (pid->path.empty()) {
      plan_.pid_mode = PidMode::kOwn;
    } else {
      plan_.pid_mode = input_.joined_pid;
      plan_.pid_target = input_.pid_target;
      if (!input_.in_pod) return Unsupported("linux.namespaces", "joining a PID namespace by path");
    }
    return absl::OkStatus();
  }

  // The container makes its own, an exec joins that.
  absl::Status CgroupNamespace() {
    const SpecNamespace* cgroup = spec_.Namespace(NamespaceKind::kCgroup);
    if (cgroup == nullptr) return absl::OkStatus();
    if (!cgroup->path.empty()) {
      return Unsupported("linux.namespaces", "joining a cgroup namespace by path");
    }
    plan_.flags |= kPlanCgroupNamespace;
    return absl::OkStatus();
  }

  absl::Status Namespaces() {
    RETURN_IF_ERROR(PidNamespace());
    RETURN_IF_ERROR(CgroupNamespace());
    const SpecNamespace* mount = spec_.Namespace(NamespaceKind::kMount);
    if (mount == nullptr) return Invalid("linux.namespaces", "want a mount namespace");
    if (!mount->path.empty()) {
      return Unsupported("linux.namespaces", "joining a mount namespace by path");
    }
    if (input_.in_pod) return absl::OkStatus();
    const std::pair<NamespaceKind, uint32_t> kinds[] = {{NamespaceKind::kNetwork, kPlanNewNet},
                                                        {NamespaceKind::kIpc, kPlanNewIpc},
                                                        {NamespaceKind::kUts, kPlanNewUts}};
    for (const auto& [kind, flag] : kinds) {
      const SpecNamespace* entry = spec_.Namespace(kind);
      if (entry == nullptr) continue;
      if (!entry->path.empty()) {
        return Unsupported("linux.namespaces",
                           absl::StrCat("joining a ", NamespaceName(kind), " namespace by path"));
      }
      plan_.flags |= flag;
    }
    if (plan_.flags & kPlanNewUts) {
      plan_.hostname = spec_.hostname;
      plan_.domainname = spec_.domainname;
    }
    return absl::OkStatus();
  }

  void Cgroups() {
    for (const CgroupDirectory& directory : input_.cgroups) {
      plan_.cgroups.push_back({directory.path, directory.plan_flags});
    }
  }

  absl::Status Rootfs() {
    if (!input_.lowers.empty()) {
      plan_.rootfs_kind = RootfsKind::kOverlay;
      plan_.lowers = input_.lowers;
      plan_.upper = input_.upper;
      plan_.work = input_.work;
      plan_.overlay_options = input_.overlay_options;
    } else {
      if (!absl::StartsWith(spec_.root_path, "/")) {
        return Invalid("root.path", "want an absolute path");
      }
      plan_.rootfs_kind = RootfsKind::kBind;
      plan_.lowers = {spec_.root_path};
    }
    if (spec_.root_readonly) plan_.flags |= kPlanReadonlyRootfs;
    const std::string& propagation = spec_.linux_.rootfs_propagation;
    if (propagation.empty() || propagation == "private" || propagation == "rprivate") {
      plan_.rootfs_propagation = MS_PRIVATE;
    } else if (propagation == "slave" || propagation == "rslave") {
      plan_.rootfs_propagation = MS_SLAVE;
    } else if (propagation == "shared" || propagation == "rshared") {
      plan_.rootfs_propagation = MS_SHARED;
    } else if (propagation == "unbindable") {
      return Unsupported("linux.rootfsPropagation", "unbindable is not supported");
    } else {
      return Invalid("linux.rootfsPropagation", absl::StrCat("unknown \"", propagation, "\""));
    }
    return absl::OkStatus();
  }

  absl::Status Mounts() {
    for (size_t i = 0; i < spec_.mounts.size(); ++i) {
      RETURN_IF_ERROR_WITH(Mount(spec_.mounts[i]),
                           absl::StrCat("mounts[", i, "] (", spec_.mounts[i].destination, ")"));
    }
    return absl::OkStatus();
  }

  absl::Status Mount(const SpecMount& m) {
    if (!absl::StartsWith(m.destination, "/"))
      return Invalid("destination", "want an absolute path");
    ASSIGN_OR_RETURN(const MountOptions options, ParseMountOptions(m.options));
    PlanContents::Mount out;
    out.target = m.destination;
    out.options = options.data;
    out.attr_set = options.attr_set;
    out.attr_clear = options.attr_clear;
    out.propagation = options.propagation;
    out.flags = options.flags;
    if (options.bind || m.type == "bind" || m.type == "rbind") {
      if (!absl::StartsWith(m.source, "/")) return Invalid("source", "want an absolute path");
      out.kind = MountKind::kBind;
      out.source = m.source;
      out.options.clear();
      if (m.type == "rbind") out.flags |= kMountRecursive;
      // A mount below a shared one is seen by the host.
      if (!plan_.uid_maps.empty() && out.propagation == MS_SHARED) {
        return Invalid("options", "shared propagation is refused in a user namespace");
      }
      ASSIGN_OR_RETURN(out.id_map, MountIdMap(m, options.idmap));
      plan_.mounts.push_back(std::move(out));
      return absl::OkStatus();
    }
    if (!m.uid_mappings.empty() || !m.gid_mappings.empty() || options.idmap) {
      return Unsupported("uidMappings", "only bind mounts can be id-mapped");
    }
    if (m.type == kLayersType) return LayersMount(m, std::move(out));
    if (m.type == "cgroup") return CgroupMount(std::move(out));
    if (m.type.empty()) return Invalid("type", "missing");
    static const auto& kinds = *new absl::flat_hash_map<std::string, MountKind>{
        {"proc", MountKind::kProc},        {"sysfs", MountKind::kSysfs},
        {"tmpfs", MountKind::kTmpfs},      {"devpts", MountKind::kDevpts},
        {"mqueue", MountKind::kMqueue},    {"cgroup2", MountKind::kCgroup2},
        {kPodShmType, MountKind::kPodShm}, {kVolumeType, MountKind::kVolume}};
    const auto kind = kinds.find(m.type);
    if (kind != kinds.end()) {
      out.kind = kind->second;
      if (out.kind != MountKind::kTmpfs && (out.flags & kMountCopyUp)) {
        return Invalid("options", "tmpcopyup is for tmpfs");
      }
    } else {
      out.kind = MountKind::kOther;
      out.source = m.type;
      if (!m.source.empty()) {
        out.options =
            absl::StrCat("source=", m.source, out.options.empty() ? "" : ",", out.options);
      }
    }
    plan_.mounts.push_back(std::move(out));
    return absl::OkStatus();
  }

  absl::Status LayersMount(const SpecMount& m, PlanContents::Mount mount) {
    const auto lowers = input_.layers.find(m.destination);
    if (lowers == input_.layers.end()) return Invalid("source", "its layers are not known");
    mount.kind = MountKind::kLayers;
    mount.source = m.source;
    mount.options.clear();
    mount.lowers = lowers->second;
    for (const std::string& option : m.options) {
      if (absl::StartsWith(option, kSubPathOption)) {
        mount.sub_path = option.substr(strlen(kSubPathOption));
      }
    }
    plan_.mounts.push_back(std::move(mount));
    return absl::OkStatus();
  }

  // "cgroup" means the container's own part of whatever this host has: on v2 the tree, else a tmpfs
  // with one directory for each hierarchy, as hosts have it.
  absl::Status CgroupMount(PlanContents::Mount mount) {
    const bool unified =
        input_.cgroups.size() == 1 && (input_.cgroups[0].plan_flags & kCgroupV2) != 0;
    if (unified || input_.cgroups.empty()) {
      mount.kind = MountKind::kCgroup2;
      mount.options.clear();
      plan_.mounts.push_back(std::move(mount));
      return absl::OkStatus();
    }
    PlanContents::Mount top = mount;
    const bool readonly = (top.attr_set & MOUNT_ATTR_RDONLY) != 0;
    top.kind = MountKind::kTmpfs;
    top.options = "mode=755,size=64k";
    top.attr_set &= ~uint64_t{MOUNT_ATTR_RDONLY};  // its directories are made in it
    top.propagation = 0;
    plan_.mounts.push_back(top);
    for (const CgroupDirectory& directory : input_.cgroups) {
      PlanContents::Mount one;
      one.kind = MountKind::kBind;
      one.source = directory.path;
      one.target = absl::StrCat(mount.target, "/", directory.name);
      one.attr_set = mount.attr_set;
      plan_.mounts.push_back(std::move(one));
      // "cpu,cpuacct" is known by each of its names.
      if (!absl::StrContains(directory.name, ",")) continue;
      for (absl::string_view name : absl::StrSplit(directory.name, ',')) {
        plan_.symlinks.push_back({directory.name, absl::StrCat(mount.target, "/", name)});
      }
    }
    if (readonly) plan_.readonly_paths.push_back(mount.target);
    return absl::OkStatus();
  }

  absl::Status Devices() {
    // runtime-spec, config-linux.md, "Default Devices".
    static constexpr struct {
      const char* path;
      uint32_t major, minor;
    } kDefaults[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                     {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    const auto named = [this](absl::string_view path) {
      return std::any_of(spec_.linux_.devices.begin(), spec_.linux_.devices.end(),
                         [&](const SpecDevice& d) { return d.path == path; });
    };
    // Without a /dev of its own (a bind of the host's) there is nothing to add.
    const bool own_dev =
        std::none_of(spec_.mounts.begin(), spec_.mounts.end(), [](const SpecMount& m) {
          return m.destination == "/dev" && (m.type == "bind" || m.type.empty());
        });
    if (own_dev) {
      for (const auto& device : kDefaults) {
        if (named(device.path)) continue;
        plan_.devices.push_back({device.path, S_IFCHR | kDeviceMode, device.major, device.minor});
      }
    }
    for (size_t i = 0; i < spec_.linux_.devices.size(); ++i) {
      const SpecDevice& d = spec_.linux_.devices[i];
      const uint32_t type = d.type == 'b' ? S_IFBLK : d.type == 'p' ? S_IFIFO : S_IFCHR;
      if (d.type != 'p' && (d.major < 0 || d.minor < 0)) {
        return Invalid(absl::StrCat("linux.devices[", i, "]"), "want major and minor");
      }
      plan_.devices.push_back({d.path, type | (d.file_mode.value_or(kDeviceMode) & 07777),
                               static_cast<uint32_t>(d.major), static_cast<uint32_t>(d.minor),
                               d.uid.value_or(0), d.gid.value_or(0)});
    }
    return absl::OkStatus();
  }

  void Symlinks() {
    static constexpr std::pair<const char*, const char*> kLinks[] = {
        {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"}};
    for (const auto& [target, path] : kLinks) plan_.symlinks.push_back({target, path});
    for (const SpecMount& m : spec_.mounts) {
      if (m.destination == "/dev/pts") plan_.symlinks.push_back({"pts/ptmx", "/dev/ptmx"});
    }
  }

  absl::Status Sysctls() {
    if (input_.in_pod) return absl::OkStatus();
    for (const auto& [name, value] : spec_.linux_.sysctl) {
      const std::string field = absl::StrCat("linux.sysctl.", name);
      // With slashes dots are literal: net.ipv4.conf.eth0/100 is net/ipv4/conf/eth0.100.
      std::string path = name;
      const size_t separator = path.find_first_of("./");
      if (separator == std::string::npos) return Invalid(field, "unknown");
      if (path[separator] == '.') {
        for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
      }
      const bool ipc = absl::StartsWith(path, "kernel/shm") ||
                       absl::StartsWith(path, "kernel/msg") || path == "kernel/sem" ||
                       absl::StartsWith(path, "fs/mqueue/");
      const bool net = absl::StartsWith(path, "net/");
      const bool uts = path == "kernel/hostname" || path == "kernel/domainname";
      uint32_t need = 0;
      if (ipc) need = kPlanNewIpc;
      if (net) need = kPlanNewNet;
      if (uts) need = kPlanNewUts;
      if ((plan_.flags & need) == 0)
        return Invalid(field, "is not in a namespace of the container");
      plan_.sysctls.push_back({path, value});
    }
    return absl::OkStatus();
  }

  absl::Status Process(const SpecProcess& p) {
    if (p.args.empty() || p.args[0].empty()) return Invalid("process.args", "want a command");
    if (p.apparmor_profile.find_first_of(" \t\n") != std::string::npos) {
      return Invalid("process.apparmorProfile", "has white space");
    }
    if (p.apparmor_profile != "unconfined") plan_.apparmor = p.apparmor_profile;
    if (!p.selinux_label.empty()) return Unsupported("process.selinuxLabel");
    for (size_t i = 0; i < p.env.size(); ++i) {
      if (p.env[i].empty()) return Invalid(absl::StrCat("process.env[", i, "]"), "is empty");
    }
    plan_.argv = p.args;
    plan_.envp = p.env;
    plan_.cwd = p.cwd;
    if (p.terminal) {
      plan_.flags |= kPlanTerminal;
      plan_.console_rows = p.console_height;
      plan_.console_columns = p.console_width;
    }
    if (p.no_new_privileges) plan_.flags |= kPlanNoNewPrivs;
    if (p.oom_score_adj) plan_.oom_score_adj = *p.oom_score_adj;
    for (const SpecRlimit& r : p.rlimits) {
      plan_.rlimits.push_back({static_cast<uint32_t>(r.resource), r.soft, r.hard});
    }
    RETURN_IF_ERROR(Capabilities(p));
    User(p.user);
    return Seccomp();
  }

  absl::Status Capabilities(const SpecProcess& p) {
    const CapabilityMask all = input_.capability_limit;
    PlanCapabilities& c = plan_.capabilities;
    if (!p.capabilities) {
      c = {all, all, all, 0, 0};
    } else {
      const SpecCapabilities& from = *p.capabilities;
      // What a process couldn't hold at all is a contradiction, what this host can't give is not.
      if (from.ambient & ~(from.permitted & from.inheritable)) {
        return Invalid(
            "process.capabilities.ambient",
            absl::StrCat(
                absl::StrJoin(CapabilityNames(from.ambient & ~(from.permitted & from.inheritable)),
                              ", "),
                " must be permitted and inheritable, too"));
      }
      c.bounding = from.bounding & all;
      c.permitted = from.permitted & all;
      c.effective = from.effective & c.permitted;
      c.inheritable = from.inheritable & all;
      c.ambient = from.ambient & all;
    }
    if (MayTrace(p) || (spec_.process && MayTrace(*spec_.process)) ||
        plan_.pid_mode != PidMode::kOwn)
      plan_.flags |= kPlanHop;
    return absl::OkStatus();
  }

  // Whether a process may come by CAP_SYS_PTRACE. For an exec those of its container count.
  bool MayTrace(const SpecProcess& p) const {
    const CapabilityMask bounding = p.capabilities
                                        ? p.capabilities->bounding & input_.capability_limit
                                        : input_.capability_limit;
    return (bounding & CapabilityBit(kCapSysPtrace)) != 0;
  }

  void User(const SpecUser& user) {
    plan_.groups = user.additional_gids;
    plan_.umask = user.umask.value_or(022);
    if (!input_.user) {
      plan_.uid = user.uid;
      plan_.gid = user.gid;
      plan_.flags |= kPlanStrictGroups;  // OCI: exactly these
      return;
    }
    const UserReference& reference = *input_.user;
    plan_.user_flags = 0;
    if (reference.uid) plan_.user_flags |= kUserHasUid, plan_.uid = *reference.uid;
    if (reference.gid) plan_.user_flags |= kUserHasGid, plan_.gid = *reference.gid;
    if (!reference.uid) plan_.user = reference.user;
    if (!reference.gid) plan_.group = reference.group;
    if (reference.strict_groups) plan_.flags |= kPlanStrictGroups;
  }

  absl::Status Seccomp() {
    if (spec_.linux_.seccomp == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::shared_ptr<const SeccompFilter> filter,
                     CachedSeccompFilter(spec_.linux_.seccomp));
    static_assert(sizeof(sock_filter) == sizeof(PlanFilterInstruction));
    plan_.seccomp.reserve(filter->program.size());
    for (const sock_filter& i : filter->program) plan_.seccomp.push_back({i.code, i.jt, i.jf, i.k});
    plan_.seccomp_flags = filter->flags;
    return absl::OkStatus();
  }

  const Spec& spec_;
  const CompileInput& input_;
  PlanContents plan_;
};

}  // namespace

absl::StatusOr<std::string> CompilePlan(const Spec& spec, const CompileInput& input) {
  return Compiler(spec, input).Container();
}

absl::StatusOr<std::string> CompileExecPlan(const Spec& spec, const SpecProcess& process,
                                            const CompileInput& input) {
  return Compiler(spec, input).Exec(process);
}

}  // namespace berth
