#include "snapshotter/unpack/rooted_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "snapshotter/unpack/whiteout.h"

namespace berth {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel's own walk (path_resolution(7))

int OpenBelow(int root, const std::string& path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(
      syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how));
}

std::pair<std::string, std::string> SplitLast(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string Join(const std::string& parent, absl::string_view name) {
  return parent.empty() ? std::string(name) : absl::StrCat(parent, "/", name);
}

absl::StatusOr<std::string> ReadLinkAt(int parent, const std::string& name) {
  char target[PATH_MAX];
  const ssize_t size = readlinkat(parent, name.c_str(), target, sizeof target);
  if (size < 0) return ErrnoStatus("readlink", name);
  return std::string(target, static_cast<size_t>(size));
}

}  // namespace

absl::StatusOr<std::string> CleanTarPath(absl::string_view name, size_t limit) {
  if (name.size() > limit) {
    return absl::InvalidArgumentError(absl::StrCat("the name is longer than ", limit, " bytes"));
  }
  if (name.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("the name contains a NUL byte");
  }
  std::string clean;
  for (absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..") return absl::InvalidArgumentError("the name contains \"..\"");
    if (part.size() > NAME_MAX) {
      return absl::InvalidArgumentError("a part of the name is longer than 255 bytes");
    }
    if (!clean.empty()) clean += '/';
    clean.append(part.data(), part.size());
  }
  return clean;
}

RootedTree::RootedTree(int root, OnImplied on_implied)
    : root_(root), on_implied_(std::move(on_implied)) {}

absl::StatusOr<UniqueFd> RootedTree::OpenDirectory(const std::string& path) const {
  UniqueFd fd(OpenBelow(root_, path, O_RDONLY | O_DIRECTORY));
  if (!fd) return ErrnoStatus("open directory", path);
  return fd;
}

absl::StatusOr<RootedTree::Place> RootedTree::Locate(const std::string& path, bool make_parents) {
  auto [parent, name] = SplitLast(path);
  if (!cached_ || asked_ != parent) {
    cached_ = false;
    std::string canonical = parent;
    parent_.reset(OpenBelow(root_, parent, O_PATH | O_DIRECTORY));
    if (!parent_) {
      if (errno != ENOENT && errno != ELOOP && errno != ENOTDIR) {
        return ErrnoStatus("open directory", parent);
      }
      ASSIGN_OR_RETURN(canonical, ResolveSlowly(parent, make_parents));
      parent_.reset(OpenBelow(root_, canonical, O_PATH | O_DIRECTORY));
      if (!parent_) return ErrnoStatus("open directory", canonical);
    }
    asked_ = parent;
    canonical_ = std::move(canonical);
    cached_ = true;
  }
  return Place{parent_.get(), name, Join(canonical_, name)};
}

// Walks one component at a time; keeps the invariant that `done` is an existing directory without
// links in its path.
absl::StatusOr<std::string> RootedTree::ResolveSlowly(const std::string& path, bool make_parents) {
  std::deque<std::string> todo = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::string done;
  int links = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.front());
    todo.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      done = SplitLast(done).first;  // the parent of "" is "": as in a chroot
      continue;
    }
    const std::string here = Join(done, part);
    UniqueFd parent(OpenBelow(root_, done, O_PATH | O_DIRECTORY));
    if (!parent) return ErrnoStatus("open directory", done);
    struct stat info;
    const bool missing = fstatat(parent.get(), part.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0;
    if (missing && errno != ENOENT) return ErrnoStatus("stat", here);
    const bool whiteout = !missing && IsWhiteout(info);
    if (missing || whiteout) {
      if (!make_parents) return absl::NotFoundError(absl::StrCat(here, " does not exist"));
      if (whiteout && unlinkat(parent.get(), part.c_str(), 0) != 0) {
        return ErrnoStatus("unlink", here);
      }
      RETURN_IF_ERROR(MakeImplied(here, whiteout));
      done = here;
    } else if (S_ISDIR(info.st_mode)) {
      done = here;
    } else if (S_ISLNK(info.st_mode)) {
      if (++links > kMaxLinks) {
        return absl::FailedPreconditionError(absl::StrCat("too many links at ", here));
      }
      ASSIGN_OR_RETURN(const std::string target, ReadLinkAt(parent.get(), part));
      if (!target.empty() && target[0] == '/') done.clear();
      const std::vector<std::string> parts = absl::StrSplit(target, '/', absl::SkipEmpty());
      todo.insert(todo.begin(), parts.begin(), parts.end());
      if (todo.size() > PATH_MAX) {
        return absl::FailedPreconditionError(absl::StrCat("the path is too long at ", here));
      }
    } else {
      return absl::FailedPreconditionError(absl::StrCat("its parent ", here, " is no directory"));
    }
  }
  return done;
}

absl::Status RootedTree::MakeImplied(const std::string& path, bool replaced_whiteout) {
  auto [parent, name] = SplitLast(path);
  UniqueFd fd(OpenBelow(root_, parent, O_PATH | O_DIRECTORY));
  if (!fd) return ErrnoStatus("open directory", parent);
  if (mkdirat(fd.get(), name.c_str(), 0755) != 0) return ErrnoStatus("mkdir", path);
  // A set-group-ID parent would hand its group down.
  if (fchownat(fd.get(), name.c_str(), geteuid(), getegid(), AT_SYMLINK_NOFOLLOW) != 0 ||
      fchmodat(fd.get(), name.c_str(), 0755, 0) != 0) {
    return ErrnoStatus("chown", path);
  }
  return on_implied_(path, replaced_whiteout);
}

absl::Status RootedTree::Remove(const Place& place) {
  if (unlinkat(place.parent, place.name.c_str(), 0) == 0 || errno == ENOENT) {
    cached_ = false;  // it may have been a link on the way to the cached parent
    return absl::OkStatus();
  }
  if (errno != EISDIR && errno != EPERM) return ErrnoStatus("unlink", place.path);
  RETURN_IF_ERROR(RemoveContents(place.path));
  if (unlinkat(place.parent, place.name.c_str(), AT_REMOVEDIR) != 0) {
    return ErrnoStatus("rmdir", place.path);
  }
  cached_ = false;
  return absl::OkStatus();
}

// Holds one directory open at a time, whatever the depth: a tar chooses the depth, RLIMIT_NOFILE
// bounds us. The depth itself is at most PATH_MAX / 2.
absl::Status RootedTree::RemoveContents(const std::string& path) {
  std::vector<std::string> directories;
  {
    ASSIGN_OR_RETURN(UniqueFd fd, OpenDirectory(path));
    std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(fd.get()), closedir);
    if (!dir) return ErrnoStatus("open directory", path);
    fd.release();
    while (const dirent* entry = readdir(dir.get())) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (unlinkat(dirfd(dir.get()), entry->d_name, 0) == 0) continue;
      if (errno != EISDIR && errno != EPERM) return ErrnoStatus("unlink", Join(path, name));
      directories.push_back(name);
    }
  }
  for (const std::string& name : directories) {
    RETURN_IF_ERROR(RemoveContents(Join(path, name)));
    ASSIGN_OR_RETURN(UniqueFd fd, OpenDirectory(path));
    if (unlinkat(fd.get(), name.c_str(), AT_REMOVEDIR) != 0) {
      return ErrnoStatus("rmdir", Join(path, name));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth
