#include "base/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"

namespace berth {
namespace {

std::string OwnerOf(int fd) {
  char text[32];
  const ssize_t length = pread(fd, text, sizeof(text), 0);
  std::string pid(text, length > 0 ? length : 0);
  absl::StripAsciiWhitespace(&pid);
  return pid.empty() ? "another process" : absl::StrCat("process ", pid);
}

}  // namespace

absl::StatusOr<UniqueFd> LockFile(const std::string& path) {
  ASSIGN_OR_RETURN_WITH(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600),
                        "lock file");
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return ErrnoStatus("flock", path);
    return absl::AlreadyExistsError(absl::StrCat("lock ", path, ": held by ", OwnerOf(fd.get())));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd.get(), 0) != 0) return ErrnoStatus("ftruncate", path);
  if (pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) return ErrnoStatus("write", path);
  return fd;
}

}  // namespace berth
