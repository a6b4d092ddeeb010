#include "base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"

namespace berth {
namespace {

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status ReplaceFile(const std::string& path, absl::string_view data, mode_t mode,
                         bool durable) {
  const std::string temporary = absl::StrCat(path, ".tmp-", RandomHexId().substr(0, 12));
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
  absl::Cleanup remove_temporary = [&temporary] { unlink(temporary.c_str()); };
  RETURN_IF_ERROR_WITH(WriteFd(fd.get(), data), temporary);
  if (fchmod(fd.get(), mode) != 0) return ErrnoStatus("fchmod", temporary);
  if (durable && fsync(fd.get()) != 0) return ErrnoStatus("fsync", temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus("rename to", path);
  std::move(remove_temporary).Cancel();
  return durable ? FsyncPath(ParentOf(path)) : absl::OkStatus();
}

// Removes what `dir_fd` holds. `device` bounds the walk to one file system.
absl::Status RemoveChildren(UniqueFd dir_fd, dev_t device, const std::string& where) {
  DIR* dir = fdopendir(dir_fd.get());
  if (dir == nullptr) return ErrnoStatus("fdopendir", where);
  dir_fd.release();
  absl::Cleanup close_dir = [dir] { closedir(dir); };
  const int fd = dirfd(dir);
  while (true) {
    errno = 0;
    const dirent* entry = readdir(dir);
    if (entry == nullptr) return errno == 0 ? absl::OkStatus() : ErrnoStatus("readdir", where);
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string child = absl::StrCat(where, "/", name);
    if (unlinkat(fd, name.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) return ErrnoStatus("unlink", child);
    UniqueFd child_fd(openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child_fd) return ErrnoStatus("open", child);
    struct stat st;
    if (fstat(child_fd.get(), &st) != 0) return ErrnoStatus("fstat", child);
    if (st.st_dev != device) {
      return absl::FailedPreconditionError(
          absl::StrCat("remove ", child, ": another file system is mounted there"));
    }
    RETURN_IF_ERROR(RemoveChildren(std::move(child_fd), device, child));
    if (unlinkat(fd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      return ErrnoStatus("rmdir", child);
    }
  }
}

}  // namespace

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return ErrnoStatus("open", path);
  return fd;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN_WITH(std::string data, ReadFd(fd.get(), limit), path);
  return data;
}

absl::StatusOr<std::string> ReadFd(int fd, size_t limit) {
  std::string data;
  char buffer[16384];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus("read");
    if (got == 0) return data;
    if (data.size() + static_cast<size_t>(got) > limit) {
      return absl::ResourceExhaustedError(absl::StrCat("read: larger than ", limit, " bytes"));
    }
    data.append(buffer, static_cast<size_t>(got));
  }
}

absl::Status WriteFd(int fd, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("write");
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WriteKernelFile(const std::string& path, absl::string_view value) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_WRONLY));
  const ssize_t written = write(fd.get(), value.data(), value.size());
  if (written < 0) return ErrnoStatus("write", absl::StrCat(path, " (", value, ")"));
  if (static_cast<size_t>(written) != value.size()) {
    return absl::InternalError(absl::StrCat("write ", path, ": short"));
  }
  return absl::OkStatus();
}

absl::Status WriteFileDurably(const std::string& path, absl::string_view data, mode_t mode) {
  return ReplaceFile(path, data, mode, /*durable=*/true);
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view data, mode_t mode) {
  return ReplaceFile(path, data, mode, /*durable=*/false);
}

absl::Status MakeDirectories(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  if (errno == EEXIST) {
    struct stat st;
    if (stat(path.c_str(), &st) != 0) return ErrnoStatus("stat", path);
    if (S_ISDIR(st.st_mode)) return absl::OkStatus();
    return ErrnoStatusOf(ENOTDIR, absl::StrCat("mkdir ", path));
  }
  if (errno != ENOENT) return ErrnoStatus("mkdir", path);
  const std::string parent = ParentOf(path);
  if (parent == path || parent == ".") return ErrnoStatusOf(ENOENT, absl::StrCat("mkdir ", path));
  RETURN_IF_ERROR(MakeDirectories(parent, mode));
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return ErrnoStatus("mkdir", path);
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR && errno != EPERM) return ErrnoStatus("unlink", path);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? absl::OkStatus() : ErrnoStatus("open", path);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoStatus("fstat", path);
  RETURN_IF_ERROR(RemoveChildren(std::move(fd), st.st_dev, path));
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus("rmdir", path);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return ErrnoStatus("opendir", path);
  absl::Cleanup close_dir = [dir] { closedir(dir); };
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(dir);
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return ErrnoStatus("readdir", path);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status FsyncPath(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  if (fsync(fd.get()) != 0) return ErrnoStatus("fsync", path);
  return absl::OkStatus();
}

}  // namespace berth
