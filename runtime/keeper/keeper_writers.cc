// The log writers: one, as a rule. One that is stuck in a log's disk keeps that log, and another takes over
// the others; the same when one dies, and after a re-exec, for its new program.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

constexpr uint32_t kMostWriters = 100;  // in all: one that dies again and again is not the cure
constexpr int kStallSeconds = 1;

WriterShared* shared = nullptr;

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

bool HaveTimer() {
  if (state.writer_timer >= 0) return true;
  state.writer_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  return state.writer_timer >= 0 && WatchFd(state.writer_timer, Source::kWriterTimer, 0);
}

bool IsUsed(uint32_t index) {
  if (index == state.writer) return true;
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Container& c = state.containers[i];
    if (c.phase != Phase::kFree && c.phase != Phase::kExited && c.log >= 0 && c.writer == index)
      return true;
  }
  return false;
}

// Forks one that gets the logs to come.
bool MakeWriter() {
  uint32_t index = 0;
  while (index < kMaxWriters && state.writers[index].pid != 0) ++index;
  int pair[2];
  if (index == kMaxWriters || state.writers_made == kMostWriters || !MapShared() || !HaveTimer() ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return false;
  const uint32_t token = ++state.writers_made * kMaxWriters + index;
  shared->steps[index] = 0;
  const int pid = CloneProcess(0, -1, nullptr);
  if (pid == 0) RunWriter(pair[1], state.writer_timer, token, shared);
  close(pair[1]);
  if (pid < 0) {
    close(pair[0]);
    return false;
  }
  state.writers[index] = {pair[0], pid, token};
  state.writer = index;
  __atomic_store_n(&shared->present, token, __ATOMIC_SEQ_CST);
  WatchFd(pair[0], Source::kWriter, index);
  return true;
}

bool HasLog(const Container& c) {
  return (c.phase == Phase::kStarting || c.phase == Phase::kRunning ||
          c.phase == Phase::kFlushing) &&
         c.log >= 0;
}

// It has died, or retired after a re-exec. ECONNRESET: with messages unread (unix_release_sock).
bool WriterIsGone(int error) { return error == EPIPE || error == ECONNRESET; }

// Makes the present writer the log's owner, and tells it.
bool SendLog(Container& c, int log, uint32_t flags) {
  const WriterMessage add = {WriterVerb::kAdd, Slot(c), c.serial, flags};
  const int fds[3] = {log, c.out, c.err};
  c.writer = state.writer;
  __atomic_store_n(&shared->owner[Slot(c)], state.writers[c.writer].token, __ATOMIC_SEQ_CST);
  return SendToWriter(state.writers[c.writer].socket, add, fds, c.err >= 0 ? 3 : 2);
}

// To the present writer, which then is its owner already.
void HandOver(Container& c) {
  c.writer = state.writer;
  if (!AddToWriter(c, c.log, kWriterLogIsPath)) {
    c.log_lost = true;
    if (c.phase == Phase::kFlushing) return FinishExit(c, true);
    Close(c.log);
    return WatchOutput(c);
  }
  // It may have been finished meanwhile, if one writer after the other dies.
  if (c.phase == Phase::kFlushing && !FlushLog(c) && c.phase == Phase::kFlushing)
    FinishExit(c, true);
}

// To the log's writer. If that has ended and its end has not been heard of yet, it is heard of now: then its
// logs have another one.
bool SendToOwner(Container& c, const WriterMessage& message, const int* fds, int count) {
  for (;;) {
    const Writer& owner = state.writers[c.writer];
    if (SendToWriter(owner.socket, message, fds, count)) return true;
    const int error = errno;
    const int pid = owner.pid;
    if (WriterIsGone(error) && pid != 0) OnWriterDeath(pid);
    if (!WriterIsGone(error) || pid == 0 || !HasLog(c)) {
      errno = error;
      return false;
    }
  }
}

// Another writer takes what the present one is not at work on this very moment.
void OnStall() {
  const uint32_t stuck = state.writer;
  if (!MakeWriter()) return;
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (!HasLog(c) || c.writer != stuck) continue;
    uint32_t owner = state.writers[stuck].token;
    if (__atomic_compare_exchange_n(&shared->owner[i], &owner, state.writers[state.writer].token,
                                    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      HandOver(c);
  }
  ReleaseWriters();
}

}  // namespace

bool ResumeWriters() {
  if (state.writer_shared >= 0 && !MapShared()) return false;
  if (state.writer_timer >= 0) WatchFd(state.writer_timer, Source::kWriterTimer, 0);
  for (uint32_t i = 0; i < kMaxWriters; ++i) {
    if (state.writers[i].socket >= 0) WatchFd(state.writers[i].socket, Source::kWriter, i);
  }
  // It ends between two steps, and its successor is of this program.
  const int present = state.writers[state.writer].socket;
  if (present >= 0) SendToWriter(present, {WriterVerb::kRetire, 0, 0, 0}, nullptr, 0);
  return true;
}

bool HaveWriter() { return state.writers[state.writer].socket >= 0 || MakeWriter(); }

bool AddToWriter(Container& c, int log, uint32_t flags) {
  if (!HaveWriter() || c.out < 0) return false;
  if (SendLog(c, log, flags)) return true;
  // Its end has not been heard of yet.
  return WriterIsGone(errno) && MakeWriter() && SendLog(c, log, flags);
}

void InitLog(const Container& c) {
  const uint32_t slot = Slot(c);
  if (shared == nullptr) return;  // and new, with the first writer
  shared->owner[slot] = 0;
  shared->busy[slot] = shared->lost[slot] = 0;
  shared->carry_size[slot][0] = shared->carry_size[slot][1] = 0;
}

bool SendReopen(Container& c, int log) {
  const WriterMessage reopen = {WriterVerb::kReopen, Slot(c), c.serial, 0};
  return SendToOwner(c, reopen, &log, 1);
}

bool SendAttach(Container& c, int client) {
  const WriterMessage attach = {WriterVerb::kAttach, Slot(c), c.serial, 0};
  return SendToOwner(c, attach, &client, 1);
}

bool FlushLog(Container& c) {
  const WriterMessage flush = {WriterVerb::kFlush, Slot(c), c.serial, 0};
  return SendToOwner(c, flush, nullptr, 0);
}

bool LogIsWritten(const Container& c) {
  return shared != nullptr && __atomic_load_n(&shared->busy[Slot(c)], __ATOMIC_SEQ_CST) == 0;
}

bool LogIsLost(const Container& c) { return shared != nullptr && shared->lost[Slot(c)] != 0; }

// A writer that was left behind is stuck in this slot's log, and will touch its state once more.
bool LogIsHeld(uint32_t slot) {
  if (shared == nullptr) return false;
  for (const Writer& writer : state.writers) {
    if (writer.pid != 0 && shared->owner[slot] == (writer.token | kOwnerAtWork)) return true;
  }
  return false;
}

// One that is stuck reads the end of its socket when its write has come back.
void ReleaseWriters() {
  for (uint32_t i = 0; i < kMaxWriters; ++i) {
    if (state.writers[i].socket >= 0 && !IsUsed(i)) Close(state.writers[i].socket);
  }
}

// The pipes are still here, so no container has seen it. What it had read and not written is lost.
void OnWriterDeath(int pid) {
  uint32_t index = 0;
  while (index < kMaxWriters && state.writers[index].pid != pid) ++index;
  if (index == kMaxWriters) return;
  const uint32_t token = state.writers[index].token;
  state.writers[index].pid = 0;
  Close(state.writers[index].socket);
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (!HasLog(c) || c.writer != index) continue;
    if (shared->owner[i] == (token | kOwnerAtWork)) c.log_lost = true;
    HandOver(c);
  }
}

void OnWriter(uint32_t index) {
  for (;;) {
    WriterMessage m;
    int fds[3];
    if (state.writers[index].socket < 0 ||
        ReceiveForWriter(state.writers[index].socket, &m, fds, MSG_DONTWAIT) <= 0)
      return;
    if (m.verb != WriterVerb::kFlushed || m.slot >= kMaxContainers) continue;
    Container& c = state.containers[m.slot];
    if (c.phase == Phase::kFlushing && c.serial == m.serial && c.writer == index)
      FinishExit(c, (m.flags & kWriterLost) != 0 || LogIsLost(c));
  }
}

void OnWriterTimer() {
  uint64_t ticks;
  if (read(state.writer_timer, &ticks, sizeof ticks) < 0 || shared == nullptr) return;
  // In this order: a step that begins now either finds it unarmed, or is seen here.
  __atomic_store_n(&shared->armed, 0, __ATOMIC_SEQ_CST);
  const uint32_t steps = __atomic_load_n(&shared->steps[state.writer], __ATOMIC_SEQ_CST);
  if (state.writers[state.writer].socket < 0 || steps % 2 == 0) return;
  if (steps == shared->armed_at) return OnStall();
  shared->armed_at = steps;
  __atomic_store_n(&shared->armed, 1, __ATOMIC_SEQ_CST);
  ArmWriterTimer(state.writer_timer);
}

void ArmWriterTimer(int timer) {
  struct itimerspec when = {};
  when.it_value.tv_sec = kStallSeconds;
  timerfd_settime(timer, 0, &when, nullptr);
}

}  // namespace berth::keeper
