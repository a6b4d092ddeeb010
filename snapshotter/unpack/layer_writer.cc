#include "snapshotter/unpack/layer_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

// An entry can imply two thousand directories; no honest layer implies this many in all.
constexpr uint64_t kMaxImplied = 100'000;

absl::Status Refused(absl::string_view why) { return absl::InvalidArgumentError(why); }

// A file system's refusal of what the tar asks for is the tar's fault; a full disk is not.
absl::Status Failed(absl::string_view call) { return ErrnoStatus(call); }

bool WantedXattr(const std::string& name) {
  return name == "security.capability" ||
         (absl::StartsWith(name, "user.") && !absl::StartsWith(name, "user.overlay."));
}

Xattrs WantedXattrs(const Xattrs& all) {
  Xattrs wanted;
  for (const auto& xattr : all) {
    if (WantedXattr(xattr.first)) wanted.push_back(xattr);
  }
  return wanted;
}

absl::Status CheckOwner(const TarEntry& entry) {
  // (uid_t)-1 means "leave alone" to chown(2).
  if (entry.uid < 0 || entry.uid >= int64_t{UINT32_MAX}) {
    return Refused(absl::StrCat("user ID ", entry.uid, " is out of range"));
  }
  if (entry.gid < 0 || entry.gid >= int64_t{UINT32_MAX}) {
    return Refused(absl::StrCat("group ID ", entry.gid, " is out of range"));
  }
  return absl::OkStatus();
}

absl::Status SetOwner(int parent, const char* name, const TarEntry& entry, int flags) {
  if (fchownat(parent, name, static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid), flags) !=
      0) {
    return Failed("chown");
  }
  return absl::OkStatus();
}

timespec SaneTime(timespec time) {
  if (time.tv_nsec < 0 || time.tv_nsec > 999'999'999) time.tv_nsec = 0;
  return time;
}

absl::Status SetMtime(int parent, const char* name, timespec mtime) {
  const timespec times[2] = {mtime, mtime};
  if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) != 0) return Failed("utimensat");
  return absl::OkStatus();
}

}  // namespace

LayerWriter::LayerWriter(int root, int digests, const LayerWriterOptions& options)
    : root_(root),
      options_(options),
      tree_(root,
            [this](const std::string& path, bool whiteout) { return OnImplied(path, whiteout); }),
      digests_(digests) {}

absl::Status LayerWriter::Add(const TarEntry& entry, const ContentReader& content) {
  const std::string context =
      absl::StrCat("entry ", absl::CHexEscape(absl::string_view(entry.path).substr(0, 300)));
  if (++entries_ > options_.entries) {
    return absl::ResourceExhaustedError(
        absl::StrCat(context, ": the layer has more than ", options_.entries, " entries"));
  }
  if (entry.path.empty()) return Refused("an entry without a name");
  ASSIGN_OR_RETURN_WITH(const std::string path, CleanTarPath(entry.path, options_.path_bytes),
                        context);
  absl::Status status = path.empty() ? SetRoot(entry) : AddNamed(path, entry, content);
  // What the tree refuses (a file for a parent, a name too long for the file system) is the tar's doing.
  if (status.code() == absl::StatusCode::kFailedPrecondition ||
      status.code() == absl::StatusCode::kNotFound) {
    status = absl::InvalidArgumentError(status.message());
  }
  return Annotate(status, context);
}

absl::Status LayerWriter::AddNamed(const std::string& path, const TarEntry& entry,
                                   const ContentReader& content) {
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (absl::StartsWith(name, kWhiteoutPrefix)) return AddWhiteout(path, name);
  RETURN_IF_ERROR(CheckOwner(entry));
  if (entry.hard_link) return AddHardLink(path, entry);
  ASSIGN_OR_RETURN(const Place place, tree_.Locate(path, /*make_parents=*/true));
  switch (entry.mode & S_IFMT) {
    case S_IFREG:
      return AddFile(place, entry, content);
    case S_IFDIR:
      return AddDirectory(place, entry);
    case S_IFLNK:
      return AddSymlink(place, entry);
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
      return AddNode(place, entry);
    default:
      return Refused("its type is none that a layer may hold");
  }
}

absl::Status LayerWriter::SetRoot(const TarEntry& entry) {
  if (!S_ISDIR(entry.mode) || entry.hard_link) return Refused("the root is no directory");
  RETURN_IF_ERROR(CheckOwner(entry));
  RETURN_IF_ERROR(SetOwner(root_, "", entry, AT_EMPTY_PATH));
  if (fchmodat(root_, ".", entry.mode & 07777, 0) != 0) return Failed("chmod");
  const Xattrs xattrs = WantedXattrs(entry.xattrs);
  if (!xattrs.empty()) {
    ASSIGN_OR_RETURN(const UniqueFd fd, tree_.OpenDirectory(""));
    RETURN_IF_ERROR(SetXattrs(fd.get(), xattrs));
  }
  directories_[""] = {false, SaneTime(entry.mtime)};
  return absl::OkStatus();
}

absl::Status LayerWriter::AddWhiteout(const std::string& path, const std::string& name) {
  ASSIGN_OR_RETURN(Place place, tree_.Locate(path, /*make_parents=*/true));
  const std::string parent = place.path.size() > name.size()
                                 ? place.path.substr(0, place.path.size() - name.size() - 1)
                                 : "";
  if (name == kOpaqueMarker) return SetOpaque(parent);
  if (absl::StartsWith(name, kAufsPrefix)) return absl::OkStatus();
  place.name = name.substr(sizeof kWhiteoutPrefix - 1);
  if (place.name.empty() || place.name == "." || place.name == "..") {
    return Refused("a whiteout of nothing");
  }
  place.path = parent.empty() ? place.name : absl::StrCat(parent, "/", place.name);
  if (mknodat(place.parent, place.name.c_str(), S_IFCHR, makedev(0, 0)) == 0) {
    return digests_.Add({.kind = DigestKind::kWhiteout, .path = place.path});
  }
  if (errno != EEXIST) return Failed("make a whiteout");
  struct stat info;
  if (fstatat(place.parent, place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed("stat");
  }
  // It hides the lower layers' NAME only: this layer's own stays (OCI image-spec, "Whiteouts").
  if (!S_ISDIR(info.st_mode)) return absl::OkStatus();
  directories_[place.path].implied = false;  // nothing of a lower directory is to shine through
  return SetOpaque(place.path);
}

absl::Status LayerWriter::AddDirectory(const Place& place, const TarEntry& entry) {
  Before before = Before::kNothing;
  if (mkdirat(place.parent, place.name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return Failed("mkdir");
    struct stat info;
    if (fstatat(place.parent, place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return Failed("stat");
    }
    if (!S_ISDIR(info.st_mode)) {
      ASSIGN_OR_RETURN(before, Clear(place));
      if (mkdirat(place.parent, place.name.c_str(), 0700) != 0) return Failed("mkdir");
    }
  }
  RETURN_IF_ERROR(SetOwner(place.parent, place.name.c_str(), entry, AT_SYMLINK_NOFOLLOW));
  if (fchmodat(place.parent, place.name.c_str(), entry.mode & 07777, 0) != 0) {
    return Failed("chmod");
  }
  const Xattrs xattrs = WantedXattrs(entry.xattrs);
  if (!xattrs.empty()) {
    ASSIGN_OR_RETURN(const UniqueFd fd, tree_.OpenDirectory(place.path));
    RETURN_IF_ERROR(SetXattrs(fd.get(), xattrs));
  }
  directories_[place.path] = {false, SaneTime(entry.mtime)};
  RETURN_IF_ERROR(Record(DigestKind::kDirectory, place, entry, "-"));
  return before == Before::kNothing ? absl::OkStatus() : SetOpaque(place.path);
}

absl::Status LayerWriter::AddFile(const Place& place, const TarEntry& entry,
                                  const ContentReader& content) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd fd(openat(place.parent, place.name.c_str(), kFlags, 0600));
  if (!fd && errno == EEXIST) {
    RETURN_IF_ERROR(Clear(place).status());
    fd.reset(openat(place.parent, place.name.c_str(), kFlags, 0600));
  }
  if (!fd) return Failed("create");
  ASSIGN_OR_RETURN(std::string digest, WriteContent(fd.get(), entry, content));
  // In this order: chown clears set-ID bits and security.capability, and all change the times.
  if (fchown(fd.get(), static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid)) != 0) {
    return Failed("chown");
  }
  if (fchmod(fd.get(), entry.mode & 07777) != 0) return Failed("chmod");
  RETURN_IF_ERROR(SetXattrs(fd.get(), WantedXattrs(entry.xattrs)));
  const timespec mtime = SaneTime(entry.mtime);
  const timespec times[2] = {mtime, mtime};
  if (futimens(fd.get(), times) != 0) return Failed("futimens");
  return Record(DigestKind::kFile, place, entry, std::move(digest));
}

absl::StatusOr<std::string> LayerWriter::WriteContent(int fd, const TarEntry& entry,
                                                      const ContentReader& content) {
  if (entry.size < 0) return Refused("its size is negative");
  const auto size = static_cast<uint64_t>(entry.size);
  if (size > options_.file_bytes - file_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the layer's files hold more than ", options_.file_bytes, " bytes"));
  }
  file_bytes_ += size;
  uint64_t end = 0;
  bool holes = false;
  ContentPiece piece;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, content(&piece));
    if (!more) break;
    if (piece.bytes.empty()) continue;
    if (piece.offset < end || piece.offset > size || piece.bytes.size() > size - piece.offset) {
      return Refused("its content doesn't fit its size");
    }
    holes |= piece.offset != end;
    end = piece.offset + piece.bytes.size();
    sha256_.Add(piece.bytes);
    while (!piece.bytes.empty()) {
      const ssize_t wrote =
          pwrite(fd, piece.bytes.data(), piece.bytes.size(), static_cast<off_t>(piece.offset));
      if (wrote < 0) return Failed("write");
      piece.bytes.remove_prefix(static_cast<size_t>(wrote));
      piece.offset += static_cast<uint64_t>(wrote);
    }
  }
  const std::string digest = HexOf(sha256_.Finish());
  if (end == size && !holes) return digest;
  if (ftruncate(fd, entry.size) != 0) return Failed("ftruncate");
  return std::string("-");  // hashing a terabyte of holes is what a bomb would want
}

absl::Status LayerWriter::AddSymlink(const Place& place, const TarEntry& entry) {
  if (entry.target.empty()) return Refused("a symbolic link to nothing");
  if (entry.target.find('\0') != std::string::npos)
    return Refused("its target contains a NUL byte");
  if (symlinkat(entry.target.c_str(), place.parent, place.name.c_str()) != 0) {
    if (errno != EEXIST) return Failed("symlink");
    RETURN_IF_ERROR(Clear(place).status());
    if (symlinkat(entry.target.c_str(), place.parent, place.name.c_str()) != 0) {
      return Failed("symlink");
    }
  }
  RETURN_IF_ERROR(SetOwner(place.parent, place.name.c_str(), entry, AT_SYMLINK_NOFOLLOW));
  RETURN_IF_ERROR(SetMtime(place.parent, place.name.c_str(), SaneTime(entry.mtime)));
  sha256_.Add(entry.target);
  return Record(DigestKind::kSymlink, place, entry, HexOf(sha256_.Finish()));
}

absl::Status LayerWriter::AddNode(const Place& place, const TarEntry& entry) {
  const mode_t type = entry.mode & S_IFMT;
  if (mknodat(place.parent, place.name.c_str(), type | 0600, entry.device) != 0) {
    if (errno != EEXIST) return Failed("mknod");
    RETURN_IF_ERROR(Clear(place).status());
    if (mknodat(place.parent, place.name.c_str(), type | 0600, entry.device) != 0) {
      return Failed("mknod");
    }
  }
  RETURN_IF_ERROR(SetOwner(place.parent, place.name.c_str(), entry, AT_SYMLINK_NOFOLLOW));
  if (fchmodat(place.parent, place.name.c_str(), entry.mode & 07777, 0) != 0) {
    return Failed("chmod");
  }
  RETURN_IF_ERROR(SetMtime(place.parent, place.name.c_str(), SaneTime(entry.mtime)));
  const DigestKind kind = type == S_IFCHR   ? DigestKind::kCharDevice
                          : type == S_IFBLK ? DigestKind::kBlockDevice
                                            : DigestKind::kFifo;
  return Record(kind, place, entry, "-");
}

absl::Status LayerWriter::AddHardLink(const std::string& path, const TarEntry& entry) {
  const std::string shown = absl::CHexEscape(absl::string_view(entry.target).substr(0, 300));
  const auto missing = [&shown] {
    return Refused(absl::StrCat("a hard link to ", shown, ", which this layer doesn't have"));
  };
  ASSIGN_OR_RETURN_WITH(const std::string target, CleanTarPath(entry.target, options_.path_bytes),
                        "its link's target");
  if (target.empty()) return Refused("a hard link to the root");
  const absl::StatusOr<Place> found = tree_.Locate(target, /*make_parents=*/false);
  if (absl::IsNotFound(found.status())) return missing();
  RETURN_IF_ERROR(found.status());
  // The next Locate() closes the target's parent.
  const UniqueFd target_parent(fcntl(found->parent, F_DUPFD_CLOEXEC, 0));
  if (!target_parent) return Failed("dup");
  struct stat from;
  if (fstatat(target_parent.get(), found->name.c_str(), &from, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? missing() : Failed("stat");
  }
  if (IsWhiteout(from)) return missing();
  if (S_ISDIR(from.st_mode)) return Refused(absl::StrCat("a hard link to the directory ", shown));

  ASSIGN_OR_RETURN(const Place place, tree_.Locate(path, /*make_parents=*/true));
  const auto link = [&] {
    return linkat(target_parent.get(), found->name.c_str(), place.parent, place.name.c_str(), 0);
  };
  if (link() != 0) {
    if (errno != EEXIST) return Failed("link");
    struct stat to;
    if (fstatat(place.parent, place.name.c_str(), &to, AT_SYMLINK_NOFOLLOW) == 0 &&
        to.st_ino == from.st_ino && to.st_dev == from.st_dev) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Clear(place).status());
    if (link() != 0) return errno == ENOENT ? missing() : Failed("link");
  }
  return digests_.Add({.kind = DigestKind::kHardLink, .digest = found->path, .path = place.path});
}

absl::StatusOr<LayerWriter::Before> LayerWriter::Clear(const Place& place) {
  struct stat info;
  if (fstatat(place.parent, place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed("stat");
  }
  RETURN_IF_ERROR(tree_.Remove(place));
  RETURN_IF_ERROR(digests_.Add({.kind = DigestKind::kRemoved, .path = place.path}));
  directories_.erase(place.path);
  directories_.erase(directories_.lower_bound(place.path + "/"),
                     directories_.lower_bound(place.path + "0"));  // '0' follows '/'
  return IsWhiteout(info) ? Before::kWhiteout : Before::kOther;
}

absl::Status LayerWriter::SetOpaque(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, tree_.OpenDirectory(path));
  if (fsetxattr(fd.get(), options_.opaque_xattr, "y", 1, 0) != 0) {
    return Failed("make opaque");
  }
  return digests_.Add({.kind = DigestKind::kOpaque, .path = path});
}

absl::Status LayerWriter::SetXattrs(int fd, const Xattrs& xattrs) {
  for (const auto& [name, value] : xattrs) {
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    // Some file systems have no user.*; a file without its capabilities would be another program.
    if (errno == ENOTSUP && name != "security.capability") continue;
    return Failed(absl::StrCat("set ", absl::CHexEscape(name)));
  }
  return absl::OkStatus();
}

absl::Status LayerWriter::Record(DigestKind kind, const Place& place, const TarEntry& entry,
                                 std::string digest) {
  const timespec mtime = SaneTime(entry.mtime);
  const bool content = kind == DigestKind::kFile;
  const bool device = kind == DigestKind::kCharDevice || kind == DigestKind::kBlockDevice;
  return digests_.Add({
      .kind = kind,
      .mode = entry.mode & 07777,
      .uid = static_cast<uint32_t>(entry.uid),
      .gid = static_cast<uint32_t>(entry.gid),
      .size = content  ? static_cast<uint64_t>(entry.size)
              : device ? entry.device
                       : 0,
      .mtime = mtime.tv_sec,
      .mtime_ns = static_cast<uint32_t>(mtime.tv_nsec),
      .digest = std::move(digest),
      .xattrs =
          content || kind == DigestKind::kDirectory ? XattrDigest(WantedXattrs(entry.xattrs)) : "-",
      .path = place.path,
  });
}

absl::Status LayerWriter::OnImplied(const std::string& path, bool replaced_whiteout) {
  if (++implied_ > kMaxImplied) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the layer implies more than ", kMaxImplied, " directories"));
  }
  // Where a whiteout stood, the directory is new: it takes no attributes from below.
  directories_[path] = {.implied = !replaced_whiteout};
  RETURN_IF_ERROR(digests_.Add({.kind = DigestKind::kImplied, .mode = 0755, .path = path}));
  return replaced_whiteout ? SetOpaque(path) : absl::OkStatus();
}

absl::StatusOr<LayerWriter::Summary> LayerWriter::Finish() {
  std::vector<std::string> implied;
  for (const auto& [path, directory] : directories_) {
    if (directory.implied) implied.push_back(path);
    RETURN_IF_ERROR_WITH(SetMtime(root_, path.empty() ? "." : path.c_str(), directory.mtime),
                         absl::StrCat("directory ", absl::CHexEscape(path)));
  }
  Summary summary = {.entries = entries_, .file_bytes = file_bytes_};
  ASSIGN_OR_RETURN(summary.implied_offset, digests_.AddImplied(implied));
  ASSIGN_OR_RETURN(summary.digest_list, digests_.Finish());
  return summary;
}

}  // namespace berth
