#include "base/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/files.h"
#include "base/status.h"

namespace berth {
namespace {

// A killed owner's child has the lock, too, while it is between fork and execve.
constexpr absl::Duration kPatience = absl::Seconds(2);

// 0 if the file doesn't tell.
pid_t OwnerOf(int fd) {
  char text[32];
  const ssize_t length = pread(fd, text, sizeof(text), 0);
  pid_t pid = 0;
  return absl::SimpleAtoi(absl::string_view(text, length > 0 ? length : 0), &pid) ? pid : 0;
}

bool HasEnded(pid_t pid) { return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH; }

}  // namespace

absl::StatusOr<UniqueFd> LockFile(const std::string& path) {
  ASSIGN_OR_RETURN_WITH(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600),
                        "lock file");
  const absl::Time end = absl::Now() + kPatience;
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return ErrnoStatus("flock", path);
    const pid_t owner = OwnerOf(fd.get());
    if (HasEnded(owner) && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(1));
      continue;
    }
    return absl::AlreadyExistsError(
        absl::StrCat("lock ", path, ": held by ",
                     owner > 0 ? absl::StrCat("process ", owner) : "another process"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd.get(), 0) != 0) return ErrnoStatus("ftruncate", path);
  if (pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) return ErrnoStatus("write", path);
  return fd;
}

}  // namespace berth
