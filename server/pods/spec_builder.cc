#include "server/pods/spec_builder.h"

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "runtime/mount_options.h"

// CRI's deprecated profile paths still come from older clients.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr char kContext[] = "linux.security_context";

absl::Status Invalid(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}
bool HasNul(const std::string& text) { return absl::StrContains(text, '\0'); }

absl::Status Unsupported(absl::string_view field, absl::string_view why) {
  return absl::UnimplementedError(absl::StrCat(field, ": ", why));
}

bool IsAbsolute(absl::string_view path) { return absl::StartsWith(path, "/"); }

// "/a//b/." → "/a/b"; false if ".." is among its elements.
bool CleanPath(absl::string_view path, std::string* clean) {
  clean->clear();
  for (absl::string_view element : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (element == "..") return false;
    if (element != ".") absl::StrAppend(clean, "/", element);
  }
  if (clean->empty()) *clean = "/";
  return true;
}

void SetEnvironment(const std::string& entry, std::vector<std::string>* env) {
  const absl::string_view name = absl::string_view(entry).substr(0, entry.find('=') + 1);
  for (std::string& old : *env) {
    if (absl::StartsWith(old, name)) {
      old = entry;
      return;
    }
  }
  env->push_back(entry);
}

bool HasEnvironment(const std::vector<std::string>& env, absl::string_view name_and_equals) {
  return std::any_of(env.begin(), env.end(),
                     [&](const std::string& e) { return absl::StartsWith(e, name_and_equals); });
}

absl::StatusOr<uint32_t> ReadId(int64_t id, absl::string_view field) {
  // (uid_t)-1 means "leave it" to the kernel.
  if (id < 0 || id >= std::numeric_limits<uint32_t>::max()) {
    return Invalid(field, absl::StrCat(id, " is out of range"));
  }
  return static_cast<uint32_t>(id);
}

bool HasSelinux(const cri::SELinuxOption& o) {
  return !o.user().empty() || !o.role().empty() || !o.type().empty() || !o.level().empty();
}

SpecMount MakeMount(const char* destination, const char* type, const char* source,
                    std::vector<std::string> options) {
  SpecMount mount;
  mount.destination = destination;
  mount.type = type;
  mount.source = source;
  mount.options = std::move(options);
  return mount;
}

class Builder {
 public:
  Builder(const cri::ContainerConfig& container, const cri::PodSandboxConfig& pod,
          const ImageConfig& image, const PodFacts& pod_facts, const ContainerFacts& facts,
          const HostFacts& host)
      : container_(container),
        pod_(pod),
        image_(image),
        pod_facts_(pod_facts),
        facts_(facts),
        host_(host),
        context_(container.linux().security_context()),
        pod_context_(pod.linux().security_context()),
        privileged_(context_.privileged()) {}

  absl::StatusOr<BuiltSpec> Build() {
    built_.spec.process.emplace();
    RETURN_IF_ERROR(RefuseUnsupported());
    Basics();
    RETURN_IF_ERROR(Command());
    RETURN_IF_ERROR(Environment());
    RETURN_IF_ERROR(User());
    RETURN_IF_ERROR(Capabilities());
    RETURN_IF_ERROR(Namespaces());
    RETURN_IF_ERROR(Mounts());
    RETURN_IF_ERROR(Resources());
    RETURN_IF_ERROR(Devices());
    RETURN_IF_ERROR(Paths());
    RETURN_IF_ERROR(Seccomp());
    RETURN_IF_ERROR(AppArmor());
    Annotations();
    return std::move(built_);
  }

 private:
  Spec& spec() { return built_.spec; }
  SpecProcess& process() { return *built_.spec.process; }

  absl::Status RefuseUnsupported() const {
    if (privileged_ && !pod_context_.privileged()) {
      return Invalid(absl::StrCat(kContext, ".privileged"), "the pod sandbox is not privileged");
    }
    // Without SELinux there is nothing to label, and kubelet passes on what the pod says.
    if (host_.selinux &&
        (HasSelinux(context_.selinux_options()) || HasSelinux(pod_context_.selinux_options()))) {
      return Unsupported(absl::StrCat(kContext, ".selinux_options"), "SELinux is not supported");
    }
    for (const cri::NamespaceOption* option :
         {&context_.namespace_options(), &pod_context_.namespace_options()}) {
      if (option->has_userns_options() && option->userns_options().mode() != cri::NODE) {
        return Unsupported(absl::StrCat(kContext, ".namespace_options.userns_options"),
                           "user namespaces are not supported");
      }
    }
    if (container_.cdi_devices_size() > 0)
      return Unsupported("CDI_devices", "CDI is not supported");
    if (container_.has_windows()) return Unsupported("windows", "this is a Linux node");
    return absl::OkStatus();
  }

  void Basics() {
    spec().root_path = facts_.rootfs;
    spec().root_readonly = context_.readonly_rootfs();
    spec().hostname = pod_facts_.hostname;
    spec().linux_.cgroups_path = facts_.cgroup_path;
    process().terminal = container_.tty();
    process().no_new_privileges = context_.no_new_privs() && !privileged_;
    built_.stdin_open = container_.stdin();
    built_.stdin_once = container_.stdin_once();
  }

  // Kubernetes, "Define a Command and Arguments for a Container": a command replaces the image's
  // entrypoint and its cmd, arguments alone only its cmd.
  absl::Status Command() {
    std::vector<std::string>& args = process().args;
    if (container_.command_size() > 0) {
      args.assign(container_.command().begin(), container_.command().end());
    } else {
      args = image_.entrypoint;
    }
    if (container_.args_size() > 0) {
      args.insert(args.end(), container_.args().begin(), container_.args().end());
    } else if (container_.command_size() == 0) {
      args.insert(args.end(), image_.cmd.begin(), image_.cmd.end());
    }
    if (args.empty() || args[0].empty()) {
      return Invalid("command", "neither the container nor its image says what to run");
    }
    process().cwd = !container_.working_dir().empty() ? container_.working_dir()
                    : !image_.working_dir.empty()     ? image_.working_dir
                                                      : "/";
    if (!IsAbsolute(process().cwd)) {
      return Invalid("working_dir", absl::StrCat("\"", process().cwd, "\" is not absolute"));
    }
    return absl::OkStatus();
  }

  absl::Status Environment() {
    std::vector<std::string>& env = process().env;
    for (const std::string& entry : image_.env) {
      if (absl::StrContains(entry, "=")) SetEnvironment(entry, &env);
    }
    if (!HasEnvironment(env, "PATH=")) env.insert(env.begin(), kDefaultPath);
    if (container_.tty() && !HasEnvironment(env, "TERM=")) env.push_back("TERM=xterm");
    if (!pod_facts_.hostname.empty()) {
      SetEnvironment(absl::StrCat("HOSTNAME=", pod_facts_.hostname), &env);
    }
    for (int i = 0; i < container_.envs_size(); ++i) {
      const cri::KeyValue& e = container_.envs(i);
      const std::string field = absl::StrCat("envs[", i, "]");
      if (e.key().empty() || absl::StrContains(e.key(), "=")) {
        return Invalid(absl::StrCat(field, ".key"), "is empty or has a \"=\"");
      }
      if (e.key().find('\0') != std::string::npos || e.value().find('\0') != std::string::npos) {
        return Invalid(field, "has a NUL byte");
      }
      SetEnvironment(absl::StrCat(e.key(), "=", e.value()), &env);
    }
    return absl::OkStatus();
  }

  absl::Status User() {
    UserReference& user = built_.user;
    if (context_.has_run_as_user()) {
      ASSIGN_OR_RETURN(
          user.uid, ReadId(context_.run_as_user().value(), absl::StrCat(kContext, ".run_as_user")));
    } else if (!context_.run_as_username().empty()) {
      user.user = context_.run_as_username();
    } else if (context_.has_run_as_group()) {
      return Invalid(absl::StrCat(kContext, ".run_as_group"),
                     "needs run_as_user or run_as_username");
    } else {
      RETURN_IF_ERROR(ImageUser());
    }
    if (context_.has_run_as_group()) {
      ASSIGN_OR_RETURN(user.gid, ReadId(context_.run_as_group().value(),
                                        absl::StrCat(kContext, ".run_as_group")));
    }
    for (int i = 0; i < context_.supplemental_groups_size(); ++i) {
      ASSIGN_OR_RETURN(const uint32_t group,
                       ReadId(context_.supplemental_groups(i),
                              absl::StrCat(kContext, ".supplemental_groups[", i, "]")));
      process().user.additional_gids.push_back(group);
    }
    if (context_.supplemental_groups_policy() != cri::Merge &&
        context_.supplemental_groups_policy() != cri::Strict) {
      return Invalid(absl::StrCat(kContext, ".supplemental_groups_policy"), "unknown policy");
    }
    user.strict_groups = context_.supplemental_groups_policy() == cri::Strict;
    process().user.uid = user.uid.value_or(0);
    process().user.gid = user.gid.value_or(0);
    return absl::OkStatus();
  }

  // image-spec, config.md, "User": name, uid, name:group, uid:gid, and mixtures.
  absl::Status ImageUser() {
    UserReference& user = built_.user;
    if (image_.user.empty()) {
      user.uid = 0;
      return absl::OkStatus();
    }
    const std::vector<std::string> parts = absl::StrSplit(image_.user, absl::MaxSplits(':', 1));
    uint32_t number = 0;
    if (absl::SimpleAtoi(parts[0], &number)) {
      user.uid = number;
    } else if (parts[0].empty()) {
      user.uid = 0;
    } else {
      user.user = parts[0];
    }
    if (parts.size() < 2 || parts[1].empty()) return absl::OkStatus();
    if (absl::SimpleAtoi(parts[1], &number)) {
      user.gid = number;
    } else {
      user.group = parts[1];
    }
    return absl::OkStatus();
  }

  absl::StatusOr<CapabilityMask> ReadCapabilities(
      const google::protobuf::RepeatedPtrField<std::string>& names, absl::string_view field) const {
    CapabilityMask mask = 0;
    for (int i = 0; i < names.size(); ++i) {
      if (absl::EqualsIgnoreCase(names[i], "ALL")) {
        mask = kAllCapabilities;
        continue;
      }
      const std::optional<int> number = CapabilityNumber(names[i]);
      if (!number) {
        return Invalid(absl::StrCat(kContext, ".capabilities.", field, "[", i, "]"),
                       absl::StrCat("unknown capability \"", names[i], "\""));
      }
      mask |= CapabilityBit(*number);
    }
    return mask;
  }

  // ALL in either list is the base, on which single names work: add ALL and drop NET_RAW, or drop ALL
  // and add NET_BIND_SERVICE.
  absl::Status Capabilities() {
    SpecCapabilities& out = process().capabilities.emplace();
    const cri::Capability& c = context_.capabilities();
    ASSIGN_OR_RETURN(const CapabilityMask add,
                     ReadCapabilities(c.add_capabilities(), "add_capabilities"));
    ASSIGN_OR_RETURN(const CapabilityMask drop,
                     ReadCapabilities(c.drop_capabilities(), "drop_capabilities"));
    ASSIGN_OR_RETURN(const CapabilityMask ambient,
                     ReadCapabilities(c.add_ambient_capabilities(), "add_ambient_capabilities"));
    CapabilityMask mask = DefaultCapabilities();
    if (privileged_) {
      mask = kAllCapabilities;
    } else if (drop == kAllCapabilities) {
      mask = add;
    } else {
      mask = (mask | add) & ~drop;
    }
    mask |= ambient;
    mask &= host_.capability_limit;
    out.bounding = out.permitted = out.effective = mask;
    // The kernel lets only inheritable ones be ambient.
    out.ambient = out.inheritable = ambient & mask;
    return absl::OkStatus();
  }

  std::string NamespacePath(int pid, absl::string_view name) const {
    return absl::StrCat("/proc/", pid, "/ns/", name);
  }

  absl::Status Namespaces() {
    std::vector<SpecNamespace>& out = spec().linux_.namespaces;
    const cri::NamespaceOption& pod = pod_context_.namespace_options();
    const int keeper = pod_facts_.keeper_pid;
    RETURN_IF_ERROR(PidNamespace());
    if (pod.network() != cri::NODE) {
      out.push_back({NamespaceKind::kNetwork, !pod_facts_.netns_path.empty()
                                                  ? pod_facts_.netns_path
                                                  : NamespacePath(keeper, "net")});
      out.push_back({NamespaceKind::kUts, NamespacePath(keeper, "uts")});
    }
    if (pod.ipc() != cri::NODE) out.push_back({NamespaceKind::kIpc, NamespacePath(keeper, "ipc")});
    out.push_back({NamespaceKind::kMount, ""});
    // A privileged container sees and manages the host's tree.
    if (!privileged_) out.push_back({NamespaceKind::kCgroup, ""});
    return absl::OkStatus();
  }

  absl::Status PidNamespace() {
    const std::string field = absl::StrCat(kContext, ".namespace_options.pid");
    const cri::NamespaceMode pod = pod_context_.namespace_options().pid();
    const cri::NamespaceMode mode =
        context_.has_namespace_options() ? context_.namespace_options().pid() : pod;
    switch (mode) {
      case cri::NODE:
        if (pod != cri::NODE) return Invalid(field, "NODE, but the pod sandbox has not the node's");
        return absl::OkStatus();
      case cri::CONTAINER:
        spec().linux_.namespaces.push_back({NamespaceKind::kPid, ""});
        return absl::OkStatus();
      case cri::POD:
        if (pod != cri::POD) return Invalid(field, "POD, but the pod sandbox shares none");
        spec().linux_.namespaces.push_back(
            {NamespaceKind::kPid, NamespacePath(pod_facts_.pod_init_pid, "pid")});
        return absl::OkStatus();
      case cri::TARGET:
        if (facts_.pid_target.empty()) return Invalid(field, "TARGET without a target_id");
        built_.joined_pid = PidMode::kTarget;
        built_.pid_target = facts_.pid_target;
        spec().linux_.namespaces.push_back(
            {NamespaceKind::kPid, NamespacePath(facts_.pid_target_pid, "pid")});
        return absl::OkStatus();
      default:
        return Invalid(field, "unknown mode");
    }
  }

  void UsualMounts() {
    const char* sys = privileged_ ? "rw" : "ro";
    const bool node_ipc = pod_context_.namespace_options().ipc() == cri::NODE;
    std::vector<SpecMount>& m = spec().mounts;
    m.push_back(MakeMount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
    m.push_back(
        MakeMount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
    m.push_back(
        MakeMount("/dev/pts", "devpts", "devpts",
                  {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
    m.push_back(MakeMount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
    m.push_back(MakeMount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", sys}));
    m.push_back(MakeMount("/sys/fs/cgroup", "cgroup", "cgroup",
                          {"nosuid", "noexec", "nodev", "relatime", sys}));
    if (node_ipc) {
      m.push_back(MakeMount("/dev/shm", "bind", "/dev/shm",
                            {"rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"}));
    } else {
      m.push_back(MakeMount("/dev/shm", kPodShmType, "shm", {"nosuid", "noexec", "nodev"}));
    }
    const char* access = context_.readonly_rootfs() ? "ro" : "rw";
    const std::pair<const char*, const std::string*> files[] = {
        {"/etc/hostname", &pod_facts_.hostname_path},
        {"/etc/hosts", &pod_facts_.hosts_path},
        {"/etc/resolv.conf", &pod_facts_.resolv_conf_path}};
    for (const auto& [destination, source] : files) {
      if (source->empty()) continue;
      m.push_back(MakeMount(destination, "bind", source->c_str(), {"rbind", "rprivate", access}));
    }
  }

  absl::Status Mounts() {
    UsualMounts();
    std::vector<SpecMount> asked;
    for (int i = 0; i < container_.mounts_size(); ++i) {
      ASSIGN_OR_RETURN_WITH(SpecMount mount, HostMount(container_.mounts(i)),
                            absl::StrCat("mounts[", i, "]"));
      for (const SpecMount& other : asked) {
        if (other.destination == mount.destination) {
          return Invalid(absl::StrCat("mounts[", i, "].container_path"),
                         absl::StrCat(mount.destination, " is mounted twice"));
        }
      }
      asked.push_back(std::move(mount));
    }
    std::vector<SpecMount>& all = spec().mounts;
    all.erase(std::remove_if(all.begin(), all.end(),
                             [&](const SpecMount& usual) { return IsReplaced(usual, asked); }),
              all.end());
    // Parents before what is in them, else in the order that was asked for.
    const auto depth = [](const SpecMount& m) {
      return std::count(m.destination.begin(), m.destination.end(), '/') -
             (m.destination == "/" ? 1 : 0);
    };
    std::stable_sort(asked.begin(), asked.end(),
                     [&](const SpecMount& a, const SpecMount& b) { return depth(a) < depth(b); });
    all.insert(all.end(), asked.begin(), asked.end());
    return absl::OkStatus();
  }

  static bool IsReplaced(const SpecMount& usual, const std::vector<SpecMount>& asked) {
    for (const SpecMount& m : asked) {
      if (m.destination == usual.destination) return true;
      // A host's whole /dev or /sys comes with what is mounted in it.
      if ((m.destination == "/dev" || m.destination == "/sys") &&
          absl::StartsWith(usual.destination, absl::StrCat(m.destination, "/"))) {
        return true;
      }
    }
    return false;
  }

  absl::StatusOr<SpecMount> HostMount(const cri::Mount& m) const {
    SpecMount out;
    if (m.has_image() && !m.image().image().empty()) {
      return Unsupported("image", "image volumes are not supported");
    }
    if (!m.image_sub_path().empty()) return Unsupported("image_sub_path", "not supported");
    if (m.uidmappings_size() > 0 || m.gidmappings_size() > 0) {
      return Unsupported("uidMappings", "id-mapped mounts are not supported");
    }
    if (m.mount_options_size() > 0) return Unsupported("mount_options", "not supported");
    if (!IsAbsolute(m.container_path()) || !CleanPath(m.container_path(), &out.destination) ||
        out.destination == "/") {
      return Invalid("container_path",
                     absl::StrCat("\"", m.container_path(), "\" is no absolute path below /"));
    }
    if (m.host_path().empty()) return Invalid("host_path", "missing");
    if (!IsAbsolute(m.host_path())) {
      return Invalid("host_path", absl::StrCat("\"", m.host_path(), "\" is not absolute"));
    }
    ASSIGN_OR_RETURN_WITH(out.source, host_.resolve_source(m.host_path()), "host_path");
    out.type = "bind";
    out.options = {"rbind"};
    switch (m.propagation()) {
      case cri::PROPAGATION_PRIVATE:
        out.options.push_back("rprivate");
        break;
      case cri::PROPAGATION_HOST_TO_CONTAINER:
        out.options.push_back("rslave");
        break;
      case cri::PROPAGATION_BIDIRECTIONAL:
        if (!privileged_)
          return Invalid("propagation", "BIDIRECTIONAL is for privileged containers");
        out.options.push_back("rshared");
        break;
      default:
        return Invalid("propagation", "unknown");
    }
    if (m.recursive_read_only()) {
      if (!m.readonly()) return Invalid("recursive_read_only", "needs readonly");
      if (m.propagation() != cri::PROPAGATION_PRIVATE) {
        return Invalid("recursive_read_only", "needs private propagation");
      }
      out.options.push_back("rro");
    } else {
      out.options.push_back(m.readonly() ? "ro" : "rw");
    }
    return out;
  }

  absl::Status Resources() {
    const cri::LinuxContainerResources& r = container_.linux().resources();
    ASSIGN_OR_RETURN(spec().linux_.resources, ResourcesFromCri(r, "linux.resources"));
    if (r.oom_score_adj() < -1000 || r.oom_score_adj() > 1000) {
      return Invalid("linux.resources.oom_score_adj", "want -1000 to 1000");
    }
    // Always said: the keeper's own must not be inherited.
    process().oom_score_adj = static_cast<int>(r.oom_score_adj());
    return absl::OkStatus();
  }

  absl::Status Devices() {
    SpecLinux& l = spec().linux_;
    l.resources.devices = DefaultDeviceRules();
    if (privileged_) {
      ASSIGN_OR_RETURN(l.devices, host_.all_devices());
      l.resources.devices = std::vector<DeviceRule>{{true, 'a', -1, -1, ""}};
    }
    for (int i = 0; i < container_.devices_size(); ++i) {
      RETURN_IF_ERROR_WITH(Device(container_.devices(i)), absl::StrCat("devices[", i, "]"));
    }
    return absl::OkStatus();
  }

  absl::Status Device(const cri::Device& d) {
    std::string target;
    if (!IsAbsolute(d.container_path()) || !CleanPath(d.container_path(), &target)) {
      return Invalid("container_path",
                     absl::StrCat("\"", d.container_path(), "\" is no absolute path"));
    }
    if (!IsAbsolute(d.host_path())) return Invalid("host_path", "want an absolute path");
    if (d.permissions().empty() || d.permissions().size() > 3 ||
        d.permissions().find_first_not_of("rwm") != std::string::npos) {
      return Invalid("permissions", absl::StrCat("\"", d.permissions(), "\" is not out of rwm"));
    }
    absl::StatusOr<std::vector<SpecDevice>> found = host_.devices(d.host_path());
    if (!found.ok()) return Invalid("host_path", found.status().message());
    SpecLinux& l = spec().linux_;
    for (SpecDevice& device : *found) {
      // A directory's devices keep their places in it.
      device.path = absl::StrCat(target, absl::StripPrefix(device.path, d.host_path()));
      l.resources.devices->push_back(
          {true, device.type, device.major, device.minor, d.permissions()});
      const auto same = [&](const SpecDevice& other) { return other.path == device.path; };
      l.devices.erase(std::remove_if(l.devices.begin(), l.devices.end(), same), l.devices.end());
      l.devices.push_back(std::move(device));
    }
    return absl::OkStatus();
  }

  absl::Status Paths() {
    if (privileged_) return absl::OkStatus();
    const auto copy = [](const auto& from, const char* field,
                         std::vector<std::string>* to) -> absl::Status {
      for (int i = 0; i < from.size(); ++i) {
        if (!IsAbsolute(from[i])) {
          return Invalid(absl::StrCat(kContext, ".", field, "[", i, "]"),
                         absl::StrCat("\"", from[i], "\" is not absolute"));
        }
        to->push_back(from[i]);
      }
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(copy(context_.masked_paths(), "masked_paths", &spec().linux_.masked_paths));
    return copy(context_.readonly_paths(), "readonly_paths", &spec().linux_.readonly_paths);
  }

  // The deprecated path of before CRI had SecurityProfile, as one.
  absl::StatusOr<cri::SecurityProfile> OldProfile(absl::string_view path,
                                                  absl::string_view field) const {
    cri::SecurityProfile profile;
    if (path.empty() || path == "unconfined") {
      profile.set_profile_type(cri::SecurityProfile::Unconfined);
    } else if (path == "runtime/default" || path == "docker/default") {
      profile.set_profile_type(cri::SecurityProfile::RuntimeDefault);
    } else if (absl::ConsumePrefix(&path, "localhost/")) {
      profile.set_profile_type(cri::SecurityProfile::Localhost);
      profile.set_localhost_ref(std::string(path));
    } else {
      return Invalid(field, absl::StrCat("unknown profile \"", path, "\""));
    }
    return profile;
  }

  absl::Status Seccomp() {
    const std::string field = absl::StrCat(kContext, ".seccomp");
    cri::SecurityProfile profile = context_.seccomp();
    if (!context_.has_seccomp()) {
      ASSIGN_OR_RETURN(profile, OldProfile(context_.seccomp_profile_path(),
                                           absl::StrCat(kContext, ".seccomp_profile_path")));
    }
    RETURN_IF_ERROR(CheckProfile(profile, field));
    if (privileged_ || profile.profile_type() == cri::SecurityProfile::Unconfined) {
      return absl::OkStatus();
    }
    if (profile.profile_type() == cri::SecurityProfile::RuntimeDefault) {
      spec().linux_.seccomp = DefaultSeccompProfile(process().capabilities->bounding);
      return absl::OkStatus();
    }
    absl::string_view path = profile.localhost_ref();
    absl::ConsumePrefix(&path, "localhost/");
    if (!IsAbsolute(path)) {
      return Invalid(absl::StrCat(field, ".localhost_ref"),
                     absl::StrCat("\"", path, "\" is not absolute"));
    }
    ASSIGN_OR_RETURN_WITH(const std::string text, host_.read_profile(std::string(path)),
                          absl::StrCat(field, ".localhost_ref"));
    ASSIGN_OR_RETURN(SeccompProfile parsed,
                     ParseSeccompProfile(text, absl::StrCat("seccomp profile ", path)));
    spec().linux_.seccomp = std::make_shared<const SeccompProfile>(std::move(parsed));
    return absl::OkStatus();
  }

  static absl::Status CheckProfile(const cri::SecurityProfile& profile, const std::string& field) {
    switch (profile.profile_type()) {
      case cri::SecurityProfile::RuntimeDefault:
      case cri::SecurityProfile::Unconfined:
        if (profile.localhost_ref().empty()) return absl::OkStatus();
        return Invalid(absl::StrCat(field, ".localhost_ref"), "is for profile_type Localhost");
      case cri::SecurityProfile::Localhost:
        if (!profile.localhost_ref().empty()) return absl::OkStatus();
        return Invalid(absl::StrCat(field, ".localhost_ref"), "missing");
      default:
        return Invalid(absl::StrCat(field, ".profile_type"), "unknown");
    }
  }

  // RuntimeDefault is no profile of ours yet: unconfined, with and without AppArmor in the kernel.
  absl::Status AppArmor() {
    const std::string field = absl::StrCat(kContext, ".apparmor");
    cri::SecurityProfile profile = context_.apparmor();
    if (!context_.has_apparmor()) {
      ASSIGN_OR_RETURN(profile, OldProfile(context_.apparmor_profile(),
                                           absl::StrCat(kContext, ".apparmor_profile")));
    }
    RETURN_IF_ERROR(CheckProfile(profile, field));
    if (privileged_ || profile.profile_type() != cri::SecurityProfile::Localhost) {
      return absl::OkStatus();
    }
    if (!host_.apparmor) {
      return absl::FailedPreconditionError(absl::StrCat(field, ": this kernel has no AppArmor"));
    }
    return Unsupported(field, "Localhost profiles are not supported");
  }

  void Annotations() {
    std::map<std::string, std::string>& a = spec().annotations;
    a["io.kubernetes.cri.container-type"] = "container";
    a["io.kubernetes.cri.container-name"] = container_.metadata().name();
    a["io.kubernetes.cri.sandbox-id"] = pod_facts_.id;
    a["io.kubernetes.cri.sandbox-name"] = pod_.metadata().name();
    a["io.kubernetes.cri.sandbox-namespace"] = pod_.metadata().namespace_();
    a["io.kubernetes.cri.sandbox-uid"] = pod_.metadata().uid();
    a["io.kubernetes.cri.image-name"] = facts_.image_name;
  }

  const cri::ContainerConfig& container_;
  const cri::PodSandboxConfig& pod_;
  const ImageConfig& image_;
  const PodFacts& pod_facts_;
  const ContainerFacts& facts_;
  const HostFacts& host_;
  const cri::LinuxContainerSecurityContext& context_;
  const cri::LinuxSandboxSecurityContext& pod_context_;
  const bool privileged_;
  BuiltSpec built_;
};

}  // namespace

absl::StatusOr<BuiltSpec> BuildSpec(const cri::ContainerConfig& container,
                                    const cri::PodSandboxConfig& pod, const ImageConfig& image,
                                    const PodFacts& pod_facts,
                                    const ContainerFacts& container_facts, const HostFacts& host) {
  return Builder(container, pod, image, pod_facts, container_facts, host).Build();
}

SpecProcess BuildExecProcess(const Spec& spec, const std::vector<std::string>& command, bool tty) {
  SpecProcess process = spec.process.value_or(SpecProcess());
  process.args = command;
  process.terminal = tty;
  process.console_height = process.console_width = 0;
  if (tty && !HasEnvironment(process.env, "TERM=")) process.env.push_back("TERM=xterm");
  return process;
}

absl::StatusOr<CgroupResources> ResourcesFromCri(const cri::LinuxContainerResources& r,
                                                 absl::string_view field) {
  CgroupResources out;
  const auto name = [&](const char* member) { return absl::StrCat(field, ".", member); };
  if (r.cpu_period() < 0) return Invalid(name("cpu_period"), "is negative");
  if (r.cpu_shares() < 0) return Invalid(name("cpu_shares"), "is negative");
  if (r.memory_limit_in_bytes() < -1) return Invalid(name("memory_limit_in_bytes"), "is negative");
  if (r.memory_swap_limit_in_bytes() < -1) {
    return Invalid(name("memory_swap_limit_in_bytes"), "is negative");
  }
  if (r.memory_swap_limit_in_bytes() > 0 && r.memory_limit_in_bytes() > 0 &&
      r.memory_swap_limit_in_bytes() < r.memory_limit_in_bytes()) {
    return Invalid(name("memory_swap_limit_in_bytes"),
                   "is less than memory_limit_in_bytes; it counts both");
  }
  if (HasNul(r.cpuset_cpus())) return Invalid(name("cpuset_cpus"), "has a NUL byte");
  if (HasNul(r.cpuset_mems())) return Invalid(name("cpuset_mems"), "has a NUL byte");
  for (const cri::HugepageLimit& h : r.hugepage_limits()) {
    if (HasNul(h.page_size())) return Invalid(name("hugepage_limits"), "has a NUL byte");
  }
  for (const auto& [file, value] : r.unified()) {
    if (HasNul(file) || HasNul(value)) return Invalid(name("unified"), "has a NUL byte");
  }
  // Zero is "not said" in CRI.
  if (r.cpu_period() != 0) out.cpu_period = r.cpu_period();
  if (r.cpu_quota() != 0) out.cpu_quota = r.cpu_quota();
  if (r.cpu_shares() != 0) out.cpu_shares = r.cpu_shares();
  if (r.memory_limit_in_bytes() != 0) out.memory_limit = r.memory_limit_in_bytes();
  if (r.memory_swap_limit_in_bytes() != 0) out.memory_swap = r.memory_swap_limit_in_bytes();
  if (!r.cpuset_cpus().empty()) out.cpuset_cpus = r.cpuset_cpus();
  if (!r.cpuset_mems().empty()) out.cpuset_mems = r.cpuset_mems();
  for (const cri::HugepageLimit& h : r.hugepage_limits()) {
    out.hugepages.push_back({h.page_size(), h.limit()});
  }
  out.unified = {r.unified().begin(), r.unified().end()};
  return out;
}

}  // namespace berth
