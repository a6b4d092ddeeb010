#include "server/network/netns.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

constexpr size_t kPodDigits = 16;

std::string PrefixOf(const InstanceId& instance) {
  return absl::StrCat("berth-", instance.str(), "-");
}

bool IsNetnsFd(int fd) { return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET; }

// Unmounts whatever lies on `path` (propagation may have stacked mounts) and removes the file.
absl::Status UnpinPath(const std::string& path) {
  constexpr int kMostMounts = 16;
  for (int i = 0; i < kMostMounts; ++i) {
    if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
    if (errno == EINVAL || errno == ENOENT) break;
    return ErrnoStatus("umount", path);
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus("unlink", path);
  return absl::OkStatus();
}

// An empty file to mount on. One that is there already is a crash's.
absl::Status MakeMountPoint(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (file) return absl::OkStatus();
  if (errno != EEXIST) return ErrnoStatus("create", path);
  RETURN_IF_ERROR(UnpinPath(path));
  file.reset(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  return file ? absl::OkStatus() : ErrnoStatus("create", path);
}

struct LinkUpRequest {
  nlmsghdr header;
  ifinfomsg link;
};

struct Acknowledgement {
  nlmsghdr header;
  nlmsgerr error;
};

// `lo` has index 1 in every network namespace (LOOPBACK_IFINDEX).
absl::Status SetLoopbackUp(int socket_fd) {
  LinkUpRequest request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_family = AF_UNSPEC;
  request.link.ifi_index = 1;
  request.link.ifi_flags = IFF_UP;
  request.link.ifi_change = IFF_UP;
  if (send(socket_fd, &request, sizeof request, 0) != sizeof request) {
    return ErrnoStatus("netlink send");
  }
  Acknowledgement reply = {};
  const ssize_t got = recv(socket_fd, &reply, sizeof reply, 0);
  if (got < 0) return ErrnoStatus("netlink recv");
  if (static_cast<size_t>(got) < sizeof reply || reply.header.nlmsg_type != NLMSG_ERROR) {
    return absl::InternalError("netlink: no acknowledgement");
  }
  if (reply.error.error != 0) return ErrnoStatusOf(-reply.error.error, "netlink RTM_NEWLINK");
  return absl::OkStatus();
}

// To be run in a thread that ends after it: it stays in the namespace.
absl::Status JoinAndSetLoopbackUp(int netns_fd) {
  if (setns(netns_fd, CLONE_NEWNET) != 0) return ErrnoStatus("setns");
  UniqueFd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!netlink) return ErrnoStatus("socket AF_NETLINK");
  return SetLoopbackUp(netlink.get());
}

}  // namespace

std::string NetnsDirectory::NameOf(const PodId& pod) const {
  return absl::StrCat(PrefixOf(instance_), pod.str().substr(0, kPodDigits));
}

std::string NetnsDirectory::PathOf(const PodId& pod) const {
  return absl::StrCat(directory_, "/", NameOf(pod));
}

absl::Status NetnsDirectory::Prepare() {
  {
    MutexLock lock(&mu_);
    if (prepared_) return absl::OkStatus();
  }
  RETURN_IF_ERROR(MakeDirectories(directory_, 0755));
  // `ip netns` does the same at any time, and holds the same lock meanwhile.
  ASSIGN_OR_RETURN(UniqueFd directory, OpenFile(directory_, O_RDONLY | O_DIRECTORY));
  if (flock(directory.get(), LOCK_EX) != 0) return ErrnoStatus("flock", directory_);
  const char* path = directory_.c_str();
  if (mount("", path, "none", MS_SHARED | MS_REC, nullptr) != 0) {
    if (errno != EINVAL) return ErrnoStatus("make shared", directory_);
    // Not a mount point yet.
    if (mount(path, path, "none", MS_BIND | MS_REC, nullptr) != 0) {
      return ErrnoStatus("bind", directory_);
    }
    if (mount("", path, "none", MS_SHARED | MS_REC, nullptr) != 0) {
      return ErrnoStatus("make shared", directory_);
    }
  }
  MutexLock lock(&mu_);
  prepared_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> NetnsDirectory::Pin(const PodId& pod, int netns_fd) {
  if (pod.str().size() < kPodDigits) {
    return absl::InvalidArgumentError(absl::StrCat("pin netns: pod id `", pod.str(), "` is short"));
  }
  if (!IsNetnsFd(netns_fd)) {
    return absl::InvalidArgumentError("pin netns: the descriptor is no network namespace");
  }
  RETURN_IF_ERROR(Prepare());
  const std::string path = PathOf(pod);
  RETURN_IF_ERROR_WITH(Failpoint("network.netns.pin"), path);
  RETURN_IF_ERROR(MakeMountPoint(path));
  absl::Cleanup remove_mount_point = [&path] { unlink(path.c_str()); };
  const std::string source = absl::StrCat("/proc/self/fd/", netns_fd);
  if (mount(source.c_str(), path.c_str(), "none", MS_BIND, nullptr) != 0) {
    return ErrnoStatus("bind netns to", path);
  }
  std::move(remove_mount_point).Cancel();
  return path;
}

absl::Status NetnsDirectory::Unpin(const PodId& pod) { return UnpinName(NameOf(pod)); }

absl::Status NetnsDirectory::UnpinName(const std::string& name) {
  if (!absl::StartsWith(name, PrefixOf(instance_)) || absl::StrContains(name, '/')) {
    return absl::InvalidArgumentError(
        absl::StrCat("unpin netns `", name, "`: not of this instance"));
  }
  RETURN_IF_ERROR_WITH(Failpoint("network.netns.unpin"), name);
  return UnpinPath(absl::StrCat(directory_, "/", name));
}

absl::StatusOr<std::vector<std::string>> NetnsDirectory::List() const {
  absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory_);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  RETURN_IF_ERROR(names.status());
  const std::string prefix = PrefixOf(instance_);
  std::erase_if(*names, [&](const std::string& name) { return !absl::StartsWith(name, prefix); });
  return names;
}

bool IsNetns(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  return fd.valid() && IsNetnsFd(fd.get());
}

absl::Status BringLoopbackUp(int netns_fd) {
  absl::Status status;
  std::thread([&status, netns_fd] { status = JoinAndSetLoopbackUp(netns_fd); }).join();
  return Annotate(status, "bring lo up");
}

}  // namespace berth
