// Containers' output, as the keeper sees it: to the log writer, or dropped.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

constexpr uint32_t kMaxWriters =
    100;  // of one keeper: one that dies again and again is not the cure

WriterShared* shared = nullptr;

bool IsEmpty(int fd) {
  int bytes = 0;
  return fd < 0 || ioctl(fd, FIONREAD, &bytes) != 0 || bytes == 0;
}

bool AddToWriter(Container& c, int log, uint32_t flags) {
  const WriterMessage add = {WriterVerb::kAdd, Slot(c), c.serial, flags};
  const int fds[3] = {log, c.out, c.err};
  return HaveWriter() && c.out >= 0 && SendToWriter(state.writer, add, fds, c.err >= 0 ? 3 : 2);
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

// A memfd, since it is to survive a re-exec.
bool MapShared() {
  if (shared != nullptr) return true;
  if (state.writer_shared < 0) {
    const int fd = memfd_create("berth-log", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof(WriterShared)) != 0) {
      if (fd >= 0) close(fd);
      return false;
    }
    state.writer_shared = fd;
  }
  void* map = mmap(nullptr, sizeof(WriterShared), PROT_READ | PROT_WRITE, MAP_SHARED,
                   state.writer_shared, 0);
  if (map == MAP_FAILED) return false;
  shared = static_cast<WriterShared*>(map);
  return true;
}

bool HaveWriter() {
  if (state.writer >= 0) return true;
  int pair[2];
  if (state.writers == kMaxWriters || !MapShared() ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return false;
  const int pid = CloneProcess(0, -1, nullptr);
  if (pid == 0) RunWriter(pair[1], shared);
  close(pair[1]);
  state.writer = pair[0];
  if (pid < 0) {
    Close(state.writer);
    return false;
  }
  state.writer_pid = pid;
  ++state.writers;
  WatchFd(state.writer, Source::kWriter, 0);
  return true;
}

bool StartLog(Container& c, int log) {
  const int name = NameOf(log);
  c.serial = ++state.serial;
  if (shared != nullptr) shared->busy[Slot(c)] = shared->lost[Slot(c)] = 0;
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
  return shared != nullptr && !terminal && IsEmpty(c.out) && IsEmpty(c.err) &&
         __atomic_load_n(&shared->busy[Slot(c)], __ATOMIC_SEQ_CST) == 0;
}

bool LogIsLost(const Container& c) { return shared->lost[Slot(c)] != 0; }

// The pipes are still here, so no container has seen it; another writer takes over.
void OnWriterDeath() {
  Close(state.writer);
  state.writer_pid = 0;
  if (shared != nullptr) memset(shared, 0, sizeof *shared);
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kFlushing) FinishExit(c, true);
    if ((c.phase != Phase::kStarting && c.phase != Phase::kRunning) || c.log < 0) continue;
    c.log_lost = true;
    if (AddToWriter(c, c.log, kWriterLogIsPath)) continue;
    Close(c.log);
    WatchOutput(c);
  }
}

void OnWriter() {
  for (;;) {
    WriterMessage m;
    int fds[3];
    if (state.writer < 0 || ReceiveForWriter(state.writer, &m, fds, MSG_DONTWAIT) <= 0) return;
    if (m.verb != WriterVerb::kFlushed || m.slot >= kMaxContainers) continue;
    Container& c = state.containers[m.slot];
    if (c.phase == Phase::kFlushing && c.serial == m.serial)
      FinishExit(c, (m.flags & kWriterLost) != 0);
  }
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
  const WriterMessage reopen = {WriterVerb::kReopen, Slot(*c), c->serial, 0};
  const int name = NameOf(fds.fd[1]);
  if (name < 0 || !SendToWriter(state.writer, reopen, &fds.fd[1], 1)) {
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
