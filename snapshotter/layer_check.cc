#include "snapshotter/layer_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "snapshotter/unpack/digest_list.h"
#include "snapshotter/unpack/sha256.h"
#include "snapshotter/unpack/whiteout.h"

namespace berth {
namespace {

constexpr size_t kListLimit = size_t{1} << 30;

absl::Status Differs(const std::string& path, absl::string_view how) {
  return absl::DataLossError(absl::StrCat("damaged: ", absl::CHexEscape(path), ": ", how));
}

mode_t TypeOf(DigestKind kind) {
  switch (kind) {
    case DigestKind::kFile:
      return S_IFREG;
    case DigestKind::kSymlink:
      return S_IFLNK;
    case DigestKind::kCharDevice:
    case DigestKind::kWhiteout:
      return S_IFCHR;
    case DigestKind::kBlockDevice:
      return S_IFBLK;
    case DigestKind::kFifo:
      return S_IFIFO;
    default:
      return S_IFDIR;
  }
}

absl::StatusOr<std::string> HashFd(int fd) {
  Sha256 sha256;
  std::vector<char> buffer(256 << 10);
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0) return ErrnoStatus("read");
    if (got == 0) return HexOf(sha256.Finish());
    sha256.Add(absl::string_view(buffer.data(), static_cast<size_t>(got)));
  }
}

absl::StatusOr<Xattrs> XattrsOf(int fd) {
  std::vector<char> names(64 << 10);
  const ssize_t size = flistxattr(fd, names.data(), names.size());
  if (size < 0)
    return errno == ENOTSUP ? absl::StatusOr<Xattrs>(Xattrs()) : ErrnoStatus("listxattr");
  Xattrs xattrs;
  std::vector<char> value(64 << 10);
  for (const char* name = names.data(); name < names.data() + size; name += strlen(name) + 1) {
    if (name != absl::string_view("security.capability") && !absl::StartsWith(name, "user.")) {
      continue;
    }
    const ssize_t length = fgetxattr(fd, name, value.data(), value.size());
    if (length < 0) return ErrnoStatus("getxattr", name);
    xattrs.emplace_back(name, std::string(value.data(), static_cast<size_t>(length)));
  }
  return xattrs;
}

class Check {
 public:
  Check(UniqueFd tree, absl::btree_map<std::string, DigestRecord> records)
      : tree_(std::move(tree)), records_(std::move(records)) {}

  absl::Status Run() {
    for (const auto& [path, record] : records_) {
      if (!path.empty()) RETURN_IF_ERROR(CheckOne(path, record));
    }
    return FindStrangers(tree_.get(), "");
  }

 private:
  absl::Status CheckOne(const std::string& path, const DigestRecord& record) {
    struct stat info;
    if (fstatat(tree_.get(), path.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno == ENOENT || errno == ENOTDIR ? Differs(path, "missing")
                                                 : ErrnoStatus("stat", path);
    }
    if ((info.st_mode & S_IFMT) != TypeOf(record.kind)) return Differs(path, "another type");
    if (record.kind == DigestKind::kWhiteout) {
      return IsWhiteout(info) ? absl::OkStatus() : Differs(path, "no whiteout");
    }
    if (info.st_uid != record.uid || info.st_gid != record.gid) {
      return Differs(path, "another owner");
    }
    if (record.kind == DigestKind::kSymlink) return CheckLink(path, record);
    if ((info.st_mode & 07777) != record.mode) return Differs(path, "another mode");
    if (info.st_mtim.tv_sec != record.mtime || info.st_mtim.tv_nsec != record.mtime_ns) {
      return Differs(path, "another time");
    }
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
      return info.st_rdev == record.size ? absl::OkStatus() : Differs(path, "another device");
    }
    if (S_ISREG(info.st_mode)) return CheckFile(path, record, info);
    return S_ISDIR(info.st_mode) ? CheckDirectory(path, record) : absl::OkStatus();
  }

  absl::Status CheckLink(const std::string& path, const DigestRecord& record) {
    char target[PATH_MAX];
    const ssize_t size = readlinkat(tree_.get(), path.c_str(), target, sizeof target);
    if (size < 0) return ErrnoStatus("readlink", path);
    Sha256 sha256;
    sha256.Add(absl::string_view(target, static_cast<size_t>(size)));
    return HexOf(sha256.Finish()) == record.digest ? absl::OkStatus()
                                                   : Differs(path, "another target");
  }

  absl::Status CheckFile(const std::string& path, const DigestRecord& record,
                         const struct stat& info) {
    if (static_cast<uint64_t>(info.st_size) != record.size) return Differs(path, "another size");
    if (!checked_.try_emplace(info.st_ino, record.digest).second &&
        checked_[info.st_ino] == record.digest) {
      return absl::OkStatus();  // another name of the same file
    }
    const UniqueFd fd(openat(tree_.get(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return ErrnoStatus("open", path);
    RETURN_IF_ERROR(CheckXattrs(fd.get(), path, record));
    if (record.digest == "-") return absl::OkStatus();
    ASSIGN_OR_RETURN_WITH(const std::string digest, HashFd(fd.get()), path);
    return digest == record.digest ? absl::OkStatus() : Differs(path, "another content");
  }

  absl::Status CheckDirectory(const std::string& path, const DigestRecord& record) {
    const UniqueFd fd(
        openat(tree_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return ErrnoStatus("open", path);
    char value = 0;
    const bool opaque = fgetxattr(fd.get(), kOpaqueXattr, &value, 1) == 1 && value == 'y';
    if (opaque != record.opaque) return Differs(path, opaque ? "opaque" : "not opaque");
    return CheckXattrs(fd.get(), path, record);
  }

  absl::Status CheckXattrs(int fd, const std::string& path, const DigestRecord& record) {
    ASSIGN_OR_RETURN_WITH(const Xattrs xattrs, XattrsOf(fd), path);
    return XattrDigest(xattrs) == record.xattrs ? absl::OkStatus()
                                                : Differs(path, "other attributes");
  }

  // What nobody recorded doesn't belong here.
  absl::Status FindStrangers(int at, const std::string& below) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names,
                     ListDirectory(absl::StrCat("/proc/self/fd/", at)));
    for (const std::string& name : names) {
      const std::string path = below.empty() ? name : absl::StrCat(below, "/", name);
      const auto found = records_.find(path);
      if (found == records_.end()) return Differs(path, "nobody put it here");
      if (TypeOf(found->second.kind) != S_IFDIR) continue;
      const UniqueFd fd(openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!fd) return ErrnoStatus("open", path);
      RETURN_IF_ERROR(FindStrangers(fd.get(), path));
    }
    return absl::OkStatus();
  }

  const UniqueFd tree_;
  const absl::btree_map<std::string, DigestRecord> records_;
  absl::flat_hash_map<ino_t, std::string> checked_;
};

}  // namespace

absl::Status CheckLayer(const std::string& tree, const std::string& digests,
                        const std::string& expected_list_digest) {
  const absl::StatusOr<std::string> text = ReadFile(digests, kListLimit);
  if (absl::IsNotFound(text.status()))
    return absl::DataLossError("damaged: the digest list is gone");
  RETURN_IF_ERROR(text.status());
  Sha256 sha256;
  sha256.Add(*text);
  if (HexOf(sha256.Finish()) != expected_list_digest) {
    return absl::DataLossError("damaged: the digest list");
  }
  ASSIGN_OR_RETURN(auto records, ParseDigestList(*text));
  absl::StatusOr<UniqueFd> fd = OpenFile(tree, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(fd.status())) return absl::DataLossError("damaged: the layer is gone");
  RETURN_IF_ERROR(fd.status());
  return Check(*std::move(fd), std::move(records)).Run();
}

}  // namespace berth
