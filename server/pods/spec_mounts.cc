// The mounts of a container: what every container has, and what its configuration asks for.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "runtime/mount_options.h"
#include "server/pods/spec_parts.h"
#include "server/pods/user_namespace.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

bool HasNul(const std::string& text) { return text.find('\0') != std::string::npos; }

SpecMount MakeMount(const char* destination, const char* type, const char* source,
                    std::vector<std::string> options) {
  SpecMount mount;
  mount.destination = destination;
  mount.type = type;
  mount.source = source;
  mount.options = std::move(options);
  return mount;
}

void AddUsualMounts(const SpecRequest& request, BuiltSpec* built) {
  const bool userns = !built->spec.linux_.uid_mappings.empty();
  const bool node_network = request.pod_context().namespace_options().network() == cri::NODE;
  // The host's network is shown by the host's own sysfs: not a user namespace's to change.
  const char* sys = request.privileged() && !(userns && node_network) ? "rw" : "ro";
  const bool node_ipc = request.pod_context().namespace_options().ipc() == cri::NODE;
  std::vector<SpecMount>& m = built->spec.mounts;
  m.push_back(MakeMount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
  m.push_back(
      MakeMount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  m.push_back(MakeMount("/dev/pts", "devpts", "devpts",
                        {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}));
  // The group tty, where there is such a group.
  if (IsMapped(built->spec.linux_.gid_mappings, 5)) m.back().options.push_back("gid=5");
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
  const char* access = request.context().readonly_rootfs() ? "ro" : "rw";
  const std::pair<const char*, const std::string*> files[] = {
      {"/etc/hostname", &request.pod_facts.hostname_path},
      {"/etc/hosts", &request.pod_facts.hosts_path},
      {"/etc/resolv.conf", &request.pod_facts.resolv_conf_path}};
  for (const auto& [destination, source] : files) {
    if (source->empty()) continue;
    m.push_back(MakeMount(destination, "bind", source->c_str(), {"rbind", "rprivate", access}));
  }
}

bool IsReplaced(const SpecMount& usual, const std::vector<SpecMount>& asked) {
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

// CRI 1.37, Mount.mount_options: what Kubernetes allows (KEP-5855).
absl::Status AddMountOptions(const cri::Mount& m, SpecMount* out) {
  for (int i = 0; i < m.mount_options_size(); ++i) {
    const std::string& option = m.mount_options(i);
    if (option != "noexec" && option != "nodev" && option != "nosuid") {
      return InvalidField(absl::StrCat("mount_options[", i, "]"),
                          absl::StrCat("\"", option, "\" is none of noexec, nodev, nosuid"));
    }
    out->options.push_back(option);
  }
  return absl::OkStatus();
}

// A private mount would take the request and never propagate anything.
absl::Status CheckPropagation(const SpecRequest& request, const cri::Mount& m,
                              const std::string& source) {
  if (m.propagation() == cri::PROPAGATION_PRIVATE || request.host.propagation == nullptr) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN_WITH(const HostFacts::Propagation host, request.host.propagation(source),
                        "host_path");
  if (m.propagation() == cri::PROPAGATION_BIDIRECTIONAL ? host.gives : host.takes) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("propagation: ", source, " is not on a shared mount of this host"));
}

absl::Status AddPropagation(const SpecRequest& request, bool userns, const cri::Mount& m,
                            SpecMount* out) {
  switch (m.propagation()) {
    case cri::PROPAGATION_PRIVATE:
      out->options.push_back("rprivate");
      return absl::OkStatus();
    case cri::PROPAGATION_HOST_TO_CONTAINER:
      out->options.push_back("rslave");
      return absl::OkStatus();
    case cri::PROPAGATION_BIDIRECTIONAL:
      if (!request.privileged())
        return InvalidField("propagation", "BIDIRECTIONAL is for privileged containers");
      // The pod's root would mount on the host.
      if (userns)
        return InvalidField("propagation", "BIDIRECTIONAL is refused with a user namespace");
      out->options.push_back("rshared");
      return absl::OkStatus();
    default:
      return InvalidField("propagation", "unknown");
  }
}

absl::Status AddAccess(const cri::Mount& m, SpecMount* out) {
  if (!m.recursive_read_only()) {
    out->options.push_back(m.readonly() ? "ro" : "rw");
    return absl::OkStatus();
  }
  if (!m.readonly()) return InvalidField("recursive_read_only", "needs readonly");
  if (m.propagation() != cri::PROPAGATION_PRIVATE) {
    return InvalidField("recursive_read_only", "needs private propagation");
  }
  out->options.push_back("rro");
  return absl::OkStatus();
}

// An image volume: read-only and not to be executed from, as Kubernetes has it (KEP-4639).
absl::Status ImageMount(const cri::Mount& m, SpecMount* out) {
  if (!m.host_path().empty()) return InvalidField("host_path", "contradicts image");
  if (m.propagation() != cri::PROPAGATION_PRIVATE) {
    return InvalidField("propagation", "an image volume's is private");
  }
  out->type = kLayersType;
  out->source = m.image().image();
  out->options = {"ro", "noexec"};
  if (m.image_sub_path().empty()) return absl::OkStatus();
  std::string clean;
  if (IsAbsolutePath(m.image_sub_path()) || HasNul(m.image_sub_path()) ||
      !CleanPath(m.image_sub_path(), &clean)) {
    return InvalidField("image_sub_path", absl::StrCat("\"", m.image_sub_path(),
                                                       "\" is no relative path below the image"));
  }
  if (clean != "/") out->options.push_back(absl::StrCat(kSubPathOption, clean.substr(1)));
  return absl::OkStatus();
}

absl::Status HostMount(const SpecRequest& request, bool userns, const cri::Mount& m,
                       SpecMount* out) {
  if (!m.image_sub_path().empty()) return InvalidField("image_sub_path", "needs an image");
  if (m.host_path().empty()) return InvalidField("host_path", "missing");
  if (!IsAbsolutePath(m.host_path())) {
    return InvalidField("host_path", absl::StrCat("\"", m.host_path(), "\" is not absolute"));
  }
  ASSIGN_OR_RETURN_WITH(out->source, request.host.resolve_source(m.host_path()), "host_path");
  out->type = "bind";
  out->options = {"rbind"};
  RETURN_IF_ERROR(AddPropagation(request, userns, m, out));
  RETURN_IF_ERROR(CheckPropagation(request, m, out->source));
  RETURN_IF_ERROR(AddAccess(m, out));
  ASSIGN_OR_RETURN(out->uid_mappings, ReadIdMappings(m.uidmappings(), "uidMappings"));
  ASSIGN_OR_RETURN(out->gid_mappings, ReadIdMappings(m.gidmappings(), "gidMappings"));
  if (out->uid_mappings.empty() != out->gid_mappings.empty()) {
    return InvalidField(out->uid_mappings.empty() ? "uidMappings" : "gidMappings", "missing");
  }
  return absl::OkStatus();
}

absl::StatusOr<SpecMount> AskedMount(const SpecRequest& request, bool userns, const cri::Mount& m) {
  SpecMount out;
  ASSIGN_OR_RETURN(out.destination, MountTarget(m.container_path()));
  if (m.has_image() && !m.image().image().empty()) {
    RETURN_IF_ERROR(ImageMount(m, &out));
  } else {
    RETURN_IF_ERROR(HostMount(request, userns, m, &out));
  }
  RETURN_IF_ERROR(AddMountOptions(m, &out));
  return out;
}

// Parents before what is in them, else in the order that was asked for.
void SortByDepth(std::vector<SpecMount>* mounts) {
  const auto depth = [](const SpecMount& m) {
    return std::count(m.destination.begin(), m.destination.end(), '/');
  };
  std::stable_sort(mounts->begin(), mounts->end(),
                   [&](const SpecMount& a, const SpecMount& b) { return depth(a) < depth(b); });
}

// The volumes that the image declares, but for those that lie at or below a mount that was asked for:
// that one holds their data then.
absl::StatusOr<std::vector<SpecMount>> ImageVolumes(const SpecRequest& request,
                                                    const std::vector<SpecMount>& asked) {
  std::vector<SpecMount> volumes;
  for (const std::string& path : request.image.volumes) {
    std::string destination;
    if (!IsAbsolutePath(path) || !CleanPath(path, &destination) || destination == "/") {
      return InvalidField("image",
                          absl::StrCat("its volume \"", path, "\" is no absolute path below /"));
    }
    const auto holds = [&](const SpecMount& m) {
      return destination == m.destination ||
             absl::StartsWith(destination, absl::StrCat(m.destination, "/"));
    };
    if (std::any_of(asked.begin(), asked.end(), holds)) continue;
    volumes.push_back(MakeMount(destination.c_str(), kVolumeType, "volume", {}));
  }
  SortByDepth(&volumes);
  return volumes;
}

}  // namespace

absl::StatusOr<std::string> MountTarget(const std::string& container_path) {
  std::string clean;
  if (!IsAbsolutePath(container_path) || !CleanPath(container_path, &clean) || clean == "/") {
    return InvalidField("container_path",
                        absl::StrCat("\"", container_path, "\" is no absolute path below /"));
  }
  return clean;
}

absl::Status AddMounts(const SpecRequest& request, BuiltSpec* built) {
  AddUsualMounts(request, built);
  const bool userns = !built->spec.linux_.uid_mappings.empty();
  std::vector<SpecMount> asked;
  for (int i = 0; i < request.container.mounts_size(); ++i) {
    ASSIGN_OR_RETURN_WITH(SpecMount mount, AskedMount(request, userns, request.container.mounts(i)),
                          absl::StrCat("mounts[", i, "]"));
    for (const SpecMount& other : asked) {
      if (other.destination == mount.destination) {
        return InvalidField(absl::StrCat("mounts[", i, "].container_path"),
                            absl::StrCat(mount.destination, " is mounted twice"));
      }
    }
    asked.push_back(std::move(mount));
  }
  std::vector<SpecMount>& all = built->spec.mounts;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const SpecMount& usual) { return IsReplaced(usual, asked); }),
            all.end());
  SortByDepth(&asked);
  // They are parts of the root file system: whatever is mounted in them comes later.
  ASSIGN_OR_RETURN(const std::vector<SpecMount> volumes, ImageVolumes(request, asked));
  all.insert(all.begin(), volumes.begin(), volumes.end());
  all.insert(all.end(), asked.begin(), asked.end());
  return absl::OkStatus();
}

}  // namespace berth
