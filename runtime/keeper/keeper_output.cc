// Containers' output, as the keeper sees it: to a log writer, or dropped.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

bool IsEmpty(int fd) {
  int bytes = 0;
  return fd < 0 || ioctl(fd, FIONREAD, &bytes) != 0 || bytes == 0;
}

// The file's name only: closing it never waits, as closing a written file of FUSE or NFS may.
int NameOf(int fd) {
  char name[32] = "/proc/self/fd/";
  char digits[12];
  int n = 0;
  for (int v = fd; n == 0 || v > 0; v /= 10) digits[n++] = static_cast<char>('0' + v % 10);
  char* p = name + strlen(name);
  while (n > 0) *p++ = digits[--n];
  *p = 0;
  return open(name, O_PATH | O_CLOEXEC);
}

void UnwatchOutput(const Container& c) {
  if (c.out >= 0) UnwatchFd(c.out);
  if (c.err >= 0) UnwatchFd(c.err);
}

}  // namespace

bool StartLog(Container& c, int log) {
  const int name = NameOf(log);
  c.serial = ++state.serial;
  InitLog(c);
  if (name < 0 || !AddToWriter(c, log, 0)) {
    if (name >= 0) close(name);
    return false;
  }
  c.log = name;
  return true;
}

void WatchOutput(const Container& c) {
  if (c.out >= 0) WatchFd(c.out, Source::kContainerOut, Slot(c));
  if (c.err >= 0) WatchFd(c.err, Source::kContainerErr, Slot(c));
}

// The order matters: see WriterShared.
bool LogIsComplete(const Container& c) {
  const bool terminal = (c.plan_flags & kPlanTerminal) != 0;  // FIONREAD doesn't tell all
  return !terminal && IsEmpty(c.out) && IsEmpty(c.err) && LogIsWritten(c);
}

bool GiveOutputToWriter(Container& c) {
  if (c.log >= 0) return true;
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null < 0) return false;
  UnwatchOutput(c);
  const bool given = StartLog(c, null);
  if (!given) WatchOutput(c);
  Close(null);
  return given;
}

void OnReopenLog(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return Answer(fds.reply(), ESRCH);
  if (c->phase != Phase::kRunning && c->phase != Phase::kStarting)
    return Answer(fds.reply(), EALREADY);
  if (c->log < 0) {
    UnwatchOutput(*c);
    const bool started = StartLog(*c, fds.fd[1]);
    const int error = errno;
    if (!started) WatchOutput(*c);
    return Answer(fds.reply(), started ? 0 : error);
  }
  const int name = NameOf(fds.fd[1]);
  if (name < 0 || !SendReopen(*c, fds.fd[1])) {
    const int error = errno;
    if (name >= 0) close(name);
    return Answer(fds.reply(), error);
  }
  Close(c->log);
  c->log = name;
  Answer(fds.reply(), 0);
}

void OnOutput(uint32_t slot, int stream) {
  Container& c = state.containers[slot];
  int& fd = stream == 0 ? c.out : c.err;
  if (c.phase == Phase::kFree || fd < 0) return;
  char dropped[4096];
  const ssize_t n = read(fd, dropped, sizeof dropped);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) Close(fd);  // all writers are gone
}

}  // namespace berth::keeper
