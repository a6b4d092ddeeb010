// The other life of this program: a process that opens paths for the daemon (runtime/path_process.h).
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
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

int Send(int error, uint32_t index, int fd) {
  const PathAnswer answer = {error, index};
  return SendWithFds(kPathProcessFd, &answer, sizeof answer, &fd, fd >= 0 ? 1 : 0) ? 0 : 1;
}

}  // namespace

int RunPathProcess(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "--open-log") == 0) {
    const int fd = OpenLog(argv[2]);
    return Send(fd < 0 ? errno : 0, 0, fd);
  }
  for (int i = 2; i < argc; ++i) {
    struct stat st;
    if (lstat(argv[i], &st) == 0 || errno != ENOENT) continue;  // a mount will say what is wrong
    const int error = MakeDirectories(argv[i], strlen(argv[i]));
    if (error != 0) return Send(error, static_cast<uint32_t>(i - 2), -1);
  }
  return Send(0, 0, -1);
}

}  // namespace berth::keeper
