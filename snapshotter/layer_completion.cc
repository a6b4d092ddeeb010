#include "snapshotter/layer_completion.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "snapshotter/unpack/whiteout.h"

namespace berth {
namespace {

absl::StatusOr<Xattrs> ReadXattrs(int fd) {
  char names[64 << 10];
  const ssize_t size = flistxattr(fd, names, sizeof names);
  if (size < 0)
    return errno == ENOTSUP ? absl::StatusOr<Xattrs>(Xattrs()) : ErrnoStatus("listxattr");
  Xattrs xattrs;
  for (const char* name = names; name < names + size; name += strlen(name) + 1) {
    if (absl::StartsWith(name, "trusted.") || absl::StartsWith(name, "security.selinux")) continue;
    char value[64 << 10];
    const ssize_t length = fgetxattr(fd, name, value, sizeof value);
    if (length < 0) return ErrnoStatus("getxattr", name);
    xattrs.emplace_back(name, std::string(value, static_cast<size_t>(length)));
  }
  return xattrs;
}

// What one layer says about a path.
struct Sight {
  bool directory = false;
  bool stop = false;  // lower layers have no say: a whiteout, a file, an opaque directory above it
  struct stat info = {};
};

bool IsOpaque(int fd) {
  char value = 0;
  return fgetxattr(fd, kOpaqueXattr, &value, 1) == 1 && value == 'y';
}

absl::StatusOr<Sight> LookAt(int tree, bool opaque_root, const std::string& path) {
  Sight sight;
  sight.stop = opaque_root;
  UniqueFd at(openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return ErrnoStatus("open a layer");
  bool opaque = false;
  for (const absl::string_view piece : absl::StrSplit(path, '/')) {
    const std::string part(piece);
    sight.stop = sight.stop || opaque;
    if (fstatat(at.get(), part.c_str(), &sight.info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return sight;
      return ErrnoStatus("stat", path);
    }
    if (!S_ISDIR(sight.info.st_mode)) {
      sight.stop = true;
      return sight;
    }
    UniqueFd next(openat(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return ErrnoStatus("open", path);
    opaque = IsOpaque(next.get());
    at = std::move(next);
  }
  sight.directory = true;
  return sight;
}

class Completion {
 public:
  explicit Completion(absl::Span<const CompletionLayer> layers) : layers_(layers) {}

  absl::StatusOr<std::vector<BareDirectory>> Find() {
    for (const CompletionLayer& layer : layers_) {
      ASSIGN_OR_RETURN(UniqueFd tree, OpenFile(layer.tree, O_RDONLY | O_DIRECTORY));
      trees_.push_back(std::move(tree));
    }
    absl::btree_set<std::string> implied;
    for (const CompletionLayer& layer : layers_) {
      implied.insert(layer.implied.begin(), layer.implied.end());
    }
    for (const std::string& path : implied) RETURN_IF_ERROR(Consider(path));
    std::vector<BareDirectory> found;
    for (auto& [path, directory] : found_) found.push_back(std::move(directory));
    return found;
  }

 private:
  struct Origin {
    size_t layer;
    bool topmost;  // it is what overlayfs shows already
  };

  // The layer whose attributes `path` has in the image; none if it isn't a directory there.
  absl::StatusOr<std::optional<Origin>> FindOrigin(const std::string& path) {
    std::optional<size_t> top;
    for (size_t i = 0; i < layers_.size(); ++i) {
      ASSIGN_OR_RETURN(const Sight sight, LookAt(trees_[i].get(), layers_[i].opaque_root, path));
      if (sight.directory) {
        if (!top) top = i;
        // If it is opaque itself, its attributes still are those from below: only its content is new.
        // One that was removed and made anew isn't listed as implied.
        if (!layers_[i].implied.contains(path)) return std::optional(Origin{i, i == *top});
      }
      if (sight.stop) break;
    }
    if (!top) return std::optional<Origin>();
    return std::optional(Origin{*top, true});  // implied all the way down
  }

  absl::Status Consider(const std::string& path) {
    ASSIGN_OR_RETURN(const std::optional<Origin> origin, FindOrigin(path));
    if (!origin || origin->topmost) return absl::OkStatus();
    // Its parents come along, each with the attributes that it has in the image.
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      RETURN_IF_ERROR(Take(path.substr(0, slash)));
    }
    return Take(path);
  }

  absl::Status Take(const std::string& path) {
    if (found_.contains(path)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<Origin> origin, FindOrigin(path));
    if (!origin) return absl::OkStatus();
    struct open_how how = {};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const UniqueFd fd(static_cast<int>(
        syscall(SYS_openat2, trees_[origin->layer].get(), path.c_str(), &how, sizeof how)));
    struct stat info;
    if (!fd || fstat(fd.get(), &info) != 0) return ErrnoStatus("open", path);
    ASSIGN_OR_RETURN(Xattrs xattrs, ReadXattrs(fd.get()));
    found_[path] = {path,        info.st_mode & 07777, info.st_uid,
                    info.st_gid, info.st_mtim,         std::move(xattrs)};
    return absl::OkStatus();
  }

  const absl::Span<const CompletionLayer> layers_;
  std::vector<UniqueFd> trees_;
  absl::btree_map<std::string, BareDirectory> found_;
};

absl::Status MakeBare(const BareDirectory& directory, int tree) {
  const char* path = directory.path.c_str();
  if (mkdirat(tree, path, 0700) != 0) return ErrnoStatus("mkdir", directory.path);
  const UniqueFd fd(openat(tree, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd || fchown(fd.get(), directory.uid, directory.gid) != 0 ||
      fchmod(fd.get(), directory.mode) != 0) {
    return ErrnoStatus("set the attributes of", directory.path);
  }
  for (const auto& [name, value] : directory.xattrs) {
    if (fsetxattr(fd.get(), name.c_str(), value.data(), value.size(), 0) != 0) {
      return ErrnoStatus(absl::StrCat("set ", name, " of ", directory.path));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<BareDirectory>> FindBareDirectories(
    absl::Span<const CompletionLayer> layers) {
  return Completion(layers).Find();
}

absl::StatusOr<Sha256Value> WriteBareDirectories(absl::Span<const BareDirectory> directories,
                                                 int tree, int digests) {
  DigestListWriter list(digests);
  for (const BareDirectory& directory : directories) {
    RETURN_IF_ERROR(MakeBare(directory, tree));
    RETURN_IF_ERROR(list.Add({.kind = DigestKind::kDirectory,
                              .mode = directory.mode,
                              .uid = directory.uid,
                              .gid = directory.gid,
                              .mtime = directory.mtime.tv_sec,
                              .mtime_ns = static_cast<uint32_t>(directory.mtime.tv_nsec),
                              .digest = "-",
                              .xattrs = XattrDigest(directory.xattrs),
                              .path = directory.path}));
  }
  // Children change their parents' times.
  for (const BareDirectory& directory : directories) {
    const timespec times[2] = {directory.mtime, directory.mtime};
    if (utimensat(tree, directory.path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoStatus("utimensat", directory.path);
    }
  }
  RETURN_IF_ERROR(list.AddImplied({}).status());
  return list.Finish();
}

}  // namespace berth
