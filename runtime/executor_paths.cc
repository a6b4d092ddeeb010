#include "runtime/executor_paths.h"

#include <errno.h>
#include <sys/stat.h>

#include "runtime/executor_sys.h"

namespace berth {
namespace {

constexpr uint64_t kBeneathRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

// Splices the link that stands at the first `prefix` bytes of `path` into it, so that what it points to can
// be made: an image may have /var/run → /run without /run.
bool FollowDanglingLink(ExecutorContext& c, char* path, size_t prefix) {
  char saved = path[prefix];
  path[prefix] = 0;
  char* slash = strrchr(path, '/');
  const size_t parent_length = static_cast<size_t>(slash - path);
  *slash = 0;
  const int parent = sys::OpenAt2(c.rootfs, *path ? path : "/", O_PATH | O_DIRECTORY, kBeneathRoot);
  *slash = '/';
  if (parent < 0) return false;
  char link[PATH_MAX];
  const ssize_t n = readlinkat(parent, slash + 1, link, sizeof link);
  path[prefix] = saved;
  close(parent);
  if (n <= 0 || n >= PATH_MAX) return false;

  const size_t head = link[0] == '/' ? 0 : parent_length + 1;  // keep "PARENT/"
  const size_t tail = strlen(path + prefix);
  if (head + static_cast<size_t>(n) + tail >= PATH_MAX) {
    errno = ENAMETOOLONG;
    return false;
  }
  memmove(path + head + n, path + prefix, tail + 1);
  memcpy(path + head, link, static_cast<size_t>(n));
  return true;
}

// Makes the entry named by the first `prefix` bytes of `path`.
bool MakeEntry(ExecutorContext& c, char* path, size_t prefix, Make make) {
  const char saved = path[prefix];
  path[prefix] = 0;
  char* slash = strrchr(path, '/');
  *slash = 0;
  const int parent = sys::OpenAt2(c.rootfs, *path ? path : "/", O_PATH | O_DIRECTORY, kBeneathRoot);
  *slash = '/';
  int rc = -1;
  if (parent >= 0) {
    if (make == Make::kDirectory) {
      rc = mkdirat(parent, slash + 1, 0755);
    } else {
      rc = openat(parent, slash + 1, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (rc >= 0) close(rc);
    }
    const int error = errno;
    close(parent);
    errno = error;
  }
  path[prefix] = saved;
  return rc >= 0;
}

}  // namespace

int OpenTarget(ExecutorContext& c, const char* target, Make make, uint64_t more_resolve) {
  int fd = sys::OpenAt2(c.rootfs, target, O_PATH, kBeneathRoot | more_resolve);
  if (fd >= 0 || errno != ENOENT || make == Make::kNothing) return fd;
  char* path = c.path2;
  if (strlen(target) >= PATH_MAX) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(path, target);
  // As a rule only the last component is missing, and nothing stands in its place.
  const bool one_level = strrchr(path, '/') == path;
  if ((more_resolve == 0 || one_level) && MakeEntry(c, path, strlen(path), make))
    return sys::OpenAt2(c.rootfs, target, O_PATH, kBeneathRoot | more_resolve);
  int links = 0;
  for (size_t end = 1; path[end - 1] != 0;) {
    while (path[end] == '/') ++end;
    while (path[end] != 0 && path[end] != '/') ++end;
    const bool last = path[end + (path[end] ? 1 : 0)] == 0;
    const char saved = path[end];
    path[end] = 0;
    fd = sys::OpenAt2(c.rootfs, path, O_PATH, kBeneathRoot | more_resolve);
    const int error = errno;
    path[end] = saved;
    if (fd >= 0) {
      if (last) return fd;
      close(fd);
    } else if (error != ENOENT) {
      errno = error;
      return -1;
    } else if (!MakeEntry(c, path, end, last ? make : Make::kDirectory)) {
      if (errno != EEXIST || ++links > 40 || !FollowDanglingLink(c, path, end)) return -1;
      end = 1;  // from the start of the spliced path
      continue;
    }
    if (path[end] == 0) break;
    ++end;
  }
  return sys::OpenAt2(c.rootfs, target, O_PATH, kBeneathRoot | more_resolve);
}

int OpenParent(ExecutorContext& c, const char* path, const char** leaf) {
  const char* slash = strrchr(path, '/');
  const size_t length = static_cast<size_t>(slash - path);
  if (length >= sizeof c.path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(c.path, path, length);
  c.path[length] = 0;
  *leaf = slash + 1;
  return OpenTarget(c, length ? c.path : "/", Make::kDirectory);
}

}  // namespace berth
