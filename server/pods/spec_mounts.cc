// The mounts of a container: what every container has, and what its configuration asks for.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "runtime/mount_options.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

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
  const char* sys = request.privileged() ? "rw" : "ro";
  const bool node_ipc = request.pod_context().namespace_options().ipc() == cri::NODE;
  std::vector<SpecMount>& m = built->spec.mounts;
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

absl::StatusOr<SpecMount> HostMount(const SpecRequest& request, const cri::Mount& m) {
  SpecMount out;
  if (m.has_image() && !m.image().image().empty()) {
    return UnsupportedField("image", "image volumes are not supported");
  }
  if (!m.image_sub_path().empty()) return UnsupportedField("image_sub_path", "not supported");
  if (m.uidmappings_size() > 0 || m.gidmappings_size() > 0) {
    return UnsupportedField("uidMappings", "id-mapped mounts are not supported");
  }
  if (m.mount_options_size() > 0) return UnsupportedField("mount_options", "not supported");
  if (!IsAbsolutePath(m.container_path()) || !CleanPath(m.container_path(), &out.destination) ||
      out.destination == "/") {
    return InvalidField("container_path",
                        absl::StrCat("\"", m.container_path(), "\" is no absolute path below /"));
  }
  if (m.host_path().empty()) return InvalidField("host_path", "missing");
  if (!IsAbsolutePath(m.host_path())) {
    return InvalidField("host_path", absl::StrCat("\"", m.host_path(), "\" is not absolute"));
  }
  ASSIGN_OR_RETURN_WITH(out.source, request.host.resolve_source(m.host_path()), "host_path");
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
      if (!request.privileged())
        return InvalidField("propagation", "BIDIRECTIONAL is for privileged containers");
      out.options.push_back("rshared");
      break;
    default:
      return InvalidField("propagation", "unknown");
  }
  if (m.recursive_read_only()) {
    if (!m.readonly()) return InvalidField("recursive_read_only", "needs readonly");
    if (m.propagation() != cri::PROPAGATION_PRIVATE) {
      return InvalidField("recursive_read_only", "needs private propagation");
    }
    out.options.push_back("rro");
  } else {
    out.options.push_back(m.readonly() ? "ro" : "rw");
  }
  return out;
}

}  // namespace

absl::Status AddMounts(const SpecRequest& request, BuiltSpec* built) {
  AddUsualMounts(request, built);
  std::vector<SpecMount> asked;
  for (int i = 0; i < request.container.mounts_size(); ++i) {
    ASSIGN_OR_RETURN_WITH(SpecMount mount, HostMount(request, request.container.mounts(i)),
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

}  // namespace berth
