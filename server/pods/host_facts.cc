// What BuildSpec has to know of this host.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"
#include "runtime/apparmor.h"
#include "server/pods/spec_builder.h"

namespace berth {
namespace {

constexpr size_t kMaxProfile = 1u << 20;
constexpr size_t kMaxMountinfo = 64u << 20;
constexpr int kMaxDeviceDepth = 8;

bool ToDevice(const std::string& path, const struct stat& s, SpecDevice* out) {
  if (!S_ISCHR(s.st_mode) && !S_ISBLK(s.st_mode)) return false;
  out->type = S_ISBLK(s.st_mode) ? 'b' : 'c';
  out->path = path;
  out->major = major(s.st_rdev);
  out->minor = minor(s.st_rdev);
  out->file_mode = s.st_mode & 07777;
  out->uid = s.st_uid;
  out->gid = s.st_gid;
  return true;
}

// What is a container's own in any case, or no device.
bool IsSkipped(const std::string& name) {
  return name == "." || name == ".." || name == "pts" || name == "shm" || name == "fd" ||
         name == "mqueue" || name == "console" || name == ".lxc" || name == ".lxd-mounts" ||
         name == ".udev";
}

void AppendDevices(const std::string& directory, int depth, std::vector<SpecDevice>* out) {
  DIR* stream = opendir(directory.c_str());
  if (stream == nullptr) return;  // vanished
  absl::Cleanup closer = [stream] { closedir(stream); };
  while (const dirent* entry = readdir(stream)) {
    if (IsSkipped(entry->d_name)) continue;
    const std::string path = absl::StrCat(directory, "/", entry->d_name);
    struct stat s;
    if (lstat(path.c_str(), &s) != 0) continue;
    SpecDevice device;
    if (S_ISDIR(s.st_mode) && depth < kMaxDeviceDepth) {
      AppendDevices(path, depth + 1, out);
    } else if (ToDevice(path, s, &device)) {
      out->push_back(std::move(device));
    }
  }
}

absl::StatusOr<std::vector<SpecDevice>> Devices(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) return ErrnoStatus("stat", path);
  std::vector<SpecDevice> devices;
  SpecDevice device;
  if (S_ISDIR(s.st_mode)) {
    AppendDevices(path, 0, &devices);
  } else if (ToDevice(path, s, &device)) {
    devices.push_back(std::move(device));
  }
  if (devices.empty()) return absl::NotFoundError(absl::StrCat(path, " is no device"));
  return devices;
}

absl::StatusOr<std::string> ExistingSource(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return ErrnoStatus("resolve", path);
  return std::string(resolved);
}

absl::StatusOr<std::string> ResolveSource(const std::string& path) {
  // As other runtimes do: kubelet leaves it to them to make what a hostPath lacks.
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
    RETURN_IF_ERROR(MakeDirectories(path, 0755));
  }
  return ExistingSource(path);
}

// The mount's line in mountinfo: its optional fields, before the "-", have shared:N and master:N
// (proc_pid_mountinfo(5)).
absl::StatusOr<HostFacts::Propagation> PropagationOf(const std::string& path) {
  struct statx info;
  if (statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_MNT_ID, &info) != 0) {
    return ErrnoStatus("statx", path);
  }
  ASSIGN_OR_RETURN(const std::string mounts, ReadFile("/proc/self/mountinfo", kMaxMountinfo));
  const std::string begin = absl::StrCat(info.stx_mnt_id, " ");
  for (const absl::string_view line : absl::StrSplit(mounts, '\n')) {
    if (!absl::StartsWith(line, begin)) continue;
    const absl::string_view fields = line.substr(0, line.find(" - "));
    const bool shared = absl::StrContains(fields, " shared:");
    return HostFacts::Propagation{shared, shared || absl::StrContains(fields, " master:")};
  }
  return absl::NotFoundError(absl::StrCat(path, ": its mount is not in mountinfo"));
}

}  // namespace

const HostFacts& ThisHost() {
  static const HostFacts& facts = *[] {
    auto* f = new HostFacts;
    f->devices = Devices;
    f->all_devices = [] {
      std::vector<SpecDevice> devices;
      AppendDevices("/dev", 0, &devices);
      return absl::StatusOr<std::vector<SpecDevice>>(std::move(devices));
    };
    f->read_profile = [](const std::string& path) { return ReadFile(path, kMaxProfile); };
    f->resolve_source = ResolveSource;
    f->apparmor = AppArmorIsEnabled();
    // The daemon has loaded it before it serves, if it could.
    f->apparmor_default = f->apparmor && CheckAppArmorProfile(kDefaultAppArmorProfile).ok();
    f->apparmor_profile = [](const std::string& name) { return CheckAppArmorProfile(name); };
    f->propagation = PropagationOf;
    f->existing_source = ExistingSource;
    f->selinux = access("/sys/fs/selinux/enforce", F_OK) == 0;
    f->capability_limit = OwnBoundingSet();
    return f;
  }();
  return facts;
}

}  // namespace berth
