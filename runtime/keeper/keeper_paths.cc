// The other life of this program: a process that opens paths for the daemon (runtime/path_process.h).
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/keeper/keeper.h"
#include "runtime/keeper/path_answer.h"

namespace berth::keeper {
namespace {

// Makes what is missing of the first `length` bytes of `path`. Zero, or an errno.
int MakeDirectories(const char* path, size_t length) {
  char text[PATH_MAX];
  if (length >= sizeof text) return ENAMETOOLONG;
  memcpy(text, path, length);
  text[length] = 0;
  for (size_t i = 1; i <= length; ++i) {
    if (text[i] != '/' && text[i] != 0) continue;
    const char saved = text[i];
    text[i] = 0;
    if (mkdir(text, 0755) != 0 && errno != EEXIST) return errno;
    text[i] = saved;
  }
  return 0;
}

int OpenLog(const char* path) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC;
  const int fd = open(path, kFlags, 0640);
  const char* slash = strrchr(path, '/');
  if (fd >= 0 || errno != ENOENT || slash == nullptr) return fd;
  const int error = MakeDirectories(path, static_cast<size_t>(slash - path));
  if (error == 0) return open(path, kFlags, 0640);
  errno = error;
  return -1;
}

int MakeMissing(const char* path) {
  struct stat st;
  if (lstat(path, &st) == 0 || errno != ENOENT) return 0;  // a mount will say what is wrong
  return MakeDirectories(path, strlen(path));
}

bool Send(int error, int fd) {
  const PathAnswer answer = {error};
  return SendWithFds(kPathProcessFd, &answer, sizeof answer, &fd, fd >= 0 ? 1 : 0);
}

bool Serve(PathRequest kind, const char* path) {
  switch (kind) {
    case PathRequest::kOpenLog: {
      const int fd = OpenLog(path);
      const bool sent = Send(fd < 0 ? errno : 0, fd);
      if (fd >= 0) close(fd);
      return sent;
    }
    case PathRequest::kMakeMissing:
      return Send(MakeMissing(path), -1);
  }
  return false;
}

}  // namespace

int RunPathProcess() {
  prctl(PR_SET_NAME, "berth-path", 0, 0, 0);
  char request[1 + PATH_MAX];
  for (;;) {
    const ssize_t n = recv(kPathProcessFd, request, sizeof request, MSG_TRUNC);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) return 0;  // the daemon has ended
    if (n < 2 || n > static_cast<ssize_t>(sizeof request) || request[n - 1] != 0) return 1;
    if (!Serve(static_cast<PathRequest>(request[0]), request + 1)) return 1;
  }
}

}  // namespace berth::keeper
