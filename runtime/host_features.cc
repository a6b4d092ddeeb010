#include "runtime/host_features.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_userns.h"

namespace berth {
namespace {

absl::Status Lacks(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", strerror(errno)));
}

// Overlayfs refuses id-mapped layers before 5.19, which no harmless call tells.
bool KernelIsAtLeast(int major, int minor) {
  utsname name{};
  int have_major = 0, have_minor = 0;
  if (uname(&name) != 0 || sscanf(name.release, "%d.%d", &have_major, &have_minor) != 2)
    return false;
  return have_major > major || (have_major == major && have_minor >= minor);
}

// A detached mount of a directory, seen by nobody.
UniqueFd Detached(const std::string& directory) {
  return UniqueFd(sys::OpenTree(AT_FDCWD, directory.c_str(), OPEN_TREE_CLONE | AT_RECURSIVE));
}

absl::Status TryUserNamespaces(const std::string& layers) {
  if (!KernelIsAtLeast(5, 19)) {
    return absl::FailedPreconditionError(
        "user namespaces need a kernel of 5.19 or newer, whose overlayfs takes id-mapped layers");
  }
  const UniqueFd userns(MakeUserNamespace("0 65536 65536\n", "0 65536 65536\n"));
  if (!userns.valid()) return Lacks("this host makes no user namespaces");
  const UniqueFd mount = Detached(layers);
  if (!mount.valid()) return Lacks(absl::StrCat("open ", layers));
  if (!IdMapMount(mount.get(), userns.get(), false)) {
    return Lacks(absl::StrCat("the file system of ", layers, " can't be id-mapped"));
  }
  return absl::OkStatus();
}

absl::Status TryRecursiveReadonly(const std::string& layers) {
  const UniqueFd mount = Detached(layers);
  if (mount.valid() &&
      sys::MountSetattr(mount.get(), "", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0) == 0) {
    return absl::OkStatus();
  }
  return Lacks("recursive read-only mounts");
}

}  // namespace

HostFeatures TryHostFeatures(const std::string& layers) {
  return {TryUserNamespaces(layers), TryRecursiveReadonly(layers)};
}

}  // namespace berth
