// The log writer: one process of a pod, forked from its keeper, the only one that touches the disk of logs.
//
// A log that stalls (a frozen or full disk, FUSE) stalls this process, and when its pipe is full what writes
// there; the pod's other logs get another process then. Nothing waits for this one without a bound.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"
#include "runtime/keeper/state.h"

namespace berth::keeper {
namespace {

constexpr uint64_t kSocketEvent = ~uint64_t{0};
constexpr int kIdleMilliseconds = 200;  // then buffers are given back

LogSlot slots[kMaxContainers];
WriterShared* shared = nullptr;
int keeper_socket = -1;
int writer_epoll = -1;
int stall_timer = -1;
uint32_t token = 0;

uint32_t& Steps() { return shared->steps[token % kMaxWriters]; }

// Around whatever may wait for a disk: the keeper looks on.
class WatchedStep {
 public:
  WatchedStep() {
    const uint32_t steps = __atomic_add_fetch(&Steps(), 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&shared->armed, __ATOMIC_SEQ_CST) != 0 ||
        __atomic_load_n(&shared->present, __ATOMIC_SEQ_CST) != token)
      return;
    shared->armed_at = steps;
    __atomic_store_n(&shared->armed, 1, __ATOMIC_SEQ_CST);
    ArmWriterTimer(stall_timer);
  }
  ~WatchedStep() { __atomic_add_fetch(&Steps(), 1, __ATOMIC_SEQ_CST); }
  WatchedStep(const WatchedStep&) = delete;
  WatchedStep& operator=(const WatchedStep&) = delete;
};

// While it lives and is good, the slot's pipes and its log are this writer's.
class Work {
 public:
  explicit Work(uint32_t slot) : owner_(&shared->owner[slot]) {
    uint32_t mine = token;
    good_ = __atomic_compare_exchange_n(owner_, &mine, token | kOwnerAtWork, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
  ~Work() {
    uint32_t mine = token | kOwnerAtWork;
    if (good_) {
      __atomic_compare_exchange_n(owner_, &mine, token, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  bool good() const { return good_; }

 private:
  uint32_t* const owner_;
  bool good_;
};

void CloseFd(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

// The keeper holds the same pipe, so that closing this descriptor alone would leave it watched.
void ClosePipe(int& fd) {
  if (fd >= 0) epoll_ctl(writer_epoll, EPOLL_CTL_DEL, fd, nullptr);
  CloseFd(fd);
}

void Free(LogSlot& s) {
  EndSinks(s, /*ended=*/false);
  CloseFd(s.log);
  ClosePipe(s.pipe[0]);
  ClosePipe(s.pipe[1]);
  s.serial = 0;
}

// After a writer's death its successor gets descriptors that name the files only.
int OpenLogAgain(int path) {
  char name[32] = "/proc/self/fd/";
  char* p = name + strlen(name);
  char digits[12];
  int n = 0;
  for (int v = path; n == 0 || v > 0; v /= 10) digits[n++] = static_cast<char>('0' + v % 10);
  while (n > 0) *p++ = digits[--n];
  *p = 0;
  const int fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
  close(path);
  return fd;
}

void Watch(uint32_t slot, int stream) {
  struct epoll_event event;
  event.events = EPOLLIN;
  event.data.u64 = slot * 2 + static_cast<uint32_t>(stream);
  if (slots[slot].pipe[stream] >= 0)
    epoll_ctl(writer_epoll, EPOLL_CTL_ADD, slots[slot].pipe[stream], &event);
}

void Add(const WriterMessage& m, int (&fds)[3]) {
  LogSlot& s = slots[m.slot];
  if (s.serial != 0) Free(s);
  s = {};
  s.serial = m.serial;
  for (int stream = 0; stream < 2; ++stream) s.carry[stream] = shared->carry[m.slot][stream];
  s.carry_size = shared->carry_size[m.slot];
  s.touched = s.carry_size[0] > 0 || s.carry_size[1] > 0;
  s.log = (m.flags & kWriterLogIsPath) != 0 ? OpenLogAgain(fds[0]) : fds[0];
  s.lost = s.log < 0;
  s.terminal = fds[2] < 0;
  for (int stream = 0; stream < 2; ++stream) {
    s.pipe[stream] = fds[1 + stream];
    Watch(m.slot, stream);
  }
  fds[0] = fds[1] = fds[2] = -1;
}

void OnMessage(const WriterMessage& m, int (&fds)[3]) {
  if (m.verb == WriterVerb::kRetire) _exit(0);
  if (m.slot >= kMaxContainers) return;
  LogSlot& s = slots[m.slot];
  const WatchedStep step;
  const Work work(m.slot);
  if (!work.good()) {
    if (s.serial != 0 && m.verb != WriterVerb::kAdd) Free(s);
    return;
  }
  switch (m.verb) {
    case WriterVerb::kAdd:
      return Add(m, fds);
    case WriterVerb::kReopen:
      if (s.serial != m.serial) return;
      CloseFd(s.log);
      s.log = fds[0];
      s.torn = false;
      fds[0] = -1;
      return;
    case WriterVerb::kFlush: {
      WriterMessage answer = m;
      answer.verb = WriterVerb::kFlushed;
      answer.flags = kWriterLost;
      if (s.serial == m.serial) {
        DrainOutput(s);
        ReleaseCarry(s);
        answer.flags = s.lost ? uint32_t{kWriterLost} : 0u;
        EndSinks(s, /*ended=*/true);
        Free(s);
      }
      SendToWriter(keeper_socket, answer, nullptr, 0);
      return;
    }
    case WriterVerb::kFlushed:
    case WriterVerb::kRetire:
      return;
    case WriterVerb::kAttach:
      if (s.serial != m.serial || fds[0] < 0) return;
      AddSink(s, writer_epoll, fds[0]);
      fds[0] = -1;
      return;
  }
}

// Believes the pipe and not the event, which may be of the slot's last container: its end, and the next one's
// beginning, may have come with it.
void OnPipe(uint32_t slot, int stream) {
  LogSlot& s = slots[slot];
  if (s.serial == 0 || s.pipe[stream] < 0) return;
  const WatchedStep step;
  const Work work(slot);
  if (!work.good()) return Free(s);  // another goes on
  __atomic_store_n(&shared->busy[slot], 1, __ATOMIC_SEQ_CST);
  // At the end an unfinished line stays until the exit.
  if (CopyOutput(s, stream, ~0u) == 0) ClosePipe(s.pipe[stream]);
  if (s.lost) shared->lost[slot] = 1;
  if (s.carry_size[0] == 0 && s.carry_size[1] == 0)
    __atomic_store_n(&shared->busy[slot], 0, __ATOMIC_SEQ_CST);
}

void ReleaseMemory() {
  ReleaseBuffer();
  for (uint32_t i = 0; i < kMaxContainers; ++i) {
    if (slots[i].serial == 0 || !slots[i].touched) continue;
    const Work work(i);
    if (work.good()) ReleaseCarry(slots[i]);
  }
}

// All that is there: a log is reopened before what comes after is read.
void ReadMessages() {
  for (;;) {
    WriterMessage message;
    int fds[3];
    const int n = ReceiveForWriter(keeper_socket, &message, fds, MSG_DONTWAIT);
    if (n == 0) _exit(0);  // the keeper is gone
    if (n < 0) return;
    OnMessage(message, fds);
    for (int& fd : fds) CloseFd(fd);
  }
}

}  // namespace

bool SendToWriter(int socket, const WriterMessage& message, const int* fds, int count) {
  return SendWithFds(socket, &message, sizeof message, fds, count);
}

int ReceiveForWriter(int socket, WriterMessage* message, int (&fds)[3], int flags) {
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fds)];
  struct iovec iov = {message, sizeof *message};
  struct msghdr header = {};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  for (int& fd : fds) fd = -1;
  const ssize_t n = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
  struct cmsghdr* c = CMSG_FIRSTHDR(&header);
  if (c != nullptr && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
    memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
  return n == sizeof *message ? static_cast<int>(n) : 0;
}

void RunWriter(int socket, int timer, uint32_t given_token, WriterShared* page) {
  shared = page;
  token = given_token;
  stall_timer = timer;
  prctl(PR_SET_NAME, "berth-log", 0, 0, 0);
  // Also if it sits in a write that never ends. A re-exec of the keeper is not its death.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  const auto low = static_cast<unsigned>(socket < timer ? socket : timer);
  const auto high = static_cast<unsigned>(socket < timer ? timer : socket);
  sys::CloseRange(3, low - 1, 0);
  if (high > low + 1) sys::CloseRange(low + 1, high - 1, 0);
  sys::CloseRange(high + 1, ~0u, 0);
  keeper_socket = socket;
  writer_epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event;
  event.events = EPOLLIN;
  event.data.u64 = kSocketEvent;
  if (writer_epoll < 0 || epoll_ctl(writer_epoll, EPOLL_CTL_ADD, socket, &event) != 0) _exit(1);
  for (bool idle = true;;) {
    struct epoll_event events[16];
    const int n = epoll_wait(writer_epoll, events, 16, idle ? -1 : kIdleMilliseconds);
    if (n == 0) ReleaseMemory();
    idle = n == 0;
    for (int i = 0; i < n; ++i) {
      ReadMessages();
      if (events[i].data.u64 == kSocketEvent) continue;
      if (events[i].data.u64 >= kSinkKey) {
        CheckSink(slots, events[i].data.u64);
        continue;
      }
      OnPipe(static_cast<uint32_t>(events[i].data.u64 / 2),
             static_cast<int>(events[i].data.u64 % 2));
    }
  }
}

}  // namespace berth::keeper
