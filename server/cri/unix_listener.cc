#include "server/cri/unix_listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/lock_file.h"
#include "base/status.h"

namespace berth {
namespace {

// Shorter names leave room for the real one in sun_path.
constexpr absl::string_view kTemporarySuffix = "~";

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// OK if `path` is free or a socket that nobody serves.
absl::Status CheckNotServed(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus("lstat", path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("listen on ", path, ": something that is not a socket is in the way"));
  }
  // Non-blocking: a live server whose backlog is full answers EAGAIN.
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus("socket");
  const sockaddr_un address = AddressOf(path);
  const int result =
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (result != 0 && (errno == ECONNREFUSED || errno == ENOENT)) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("listen on ", path, ": another process is serving this socket"));
}

}  // namespace

absl::StatusOr<std::string> SocketPathOf(absl::string_view address) {
  absl::string_view path = address;
  if (!absl::ConsumePrefix(&path, "unix://")) absl::ConsumePrefix(&path, "unix:");
  if (!absl::StartsWith(path, "/")) {
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", address, "\": want unix:///absolute/path"));
  }
  if (path.size() + kTemporarySuffix.size() >= sizeof(sockaddr_un::sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", address, "\": the path is longer than ",
                     sizeof(sockaddr_un::sun_path) - 1 - kTemporarySuffix.size(), " bytes"));
  }
  if (path.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("address: the path has a NUL byte");
  }
  return std::string(path);
}

UnixListener::UnixListener(std::string path, UniqueFd lock)
    : path_(std::move(path)),
      temporary_path_(absl::StrCat(path_, kTemporarySuffix)),
      lock_(std::move(lock)) {}

absl::StatusOr<std::unique_ptr<UnixListener>> UnixListener::Claim(const std::string& path) {
  ASSIGN_OR_RETURN_WITH(UniqueFd lock, LockFile(absl::StrCat(path, ".lock")),
                        absl::StrCat("listen on ", path));
  RETURN_IF_ERROR(CheckNotServed(path));
  std::unique_ptr<UnixListener> listener(new UnixListener(path, std::move(lock)));
  // The lock's owner is the only one who uses this name.
  if (unlink(listener->temporary_path_.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus("unlink", listener->temporary_path_);
  }
  return listener;
}

UnixListener::~UnixListener() {
  Unpublish();
  if (!published_) unlink(temporary_path_.c_str());
}

absl::Status UnixListener::Publish() {
  struct stat info;
  if (chmod(temporary_path_.c_str(), 0660) != 0) return ErrnoStatus("chmod", temporary_path_);
  if (stat(temporary_path_.c_str(), &info) != 0) return ErrnoStatus("stat", temporary_path_);
  if (rename(temporary_path_.c_str(), path_.c_str()) != 0) return ErrnoStatus("rename", path_);
  device_ = info.st_dev;
  inode_ = info.st_ino;
  published_ = true;
  return absl::OkStatus();
}

void UnixListener::Unpublish() {
  if (inode_ == 0) return;
  struct stat info;
  if (lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
    unlink(path_.c_str());
  }
  inode_ = 0;
}

}  // namespace berth
