// berth-keeper: one pod's supervisor. See protocol.h for what it serves and state.h for what it knows.
//
// One thread, one epoll loop, nothing that waits: Create and Exec are state machines driven by their child's
// socket. It makes no path-based call on volumes, images or logs.
#include "runtime/keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include "runtime/executor_sys.h"

namespace berth::keeper {

State state;

namespace {

int epoll = -1;
int signals = -1;
int timer = -1;

void DrainSignals() {
  struct signalfd_siginfo ignored[4];
  while (read(signals, ignored, sizeof ignored) > 0) continue;
}

void OnTimer() {
  uint64_t ticks;
  if (read(timer, &ticks, sizeof ticks) < 0) return;
  const int64_t now = MonotonicNs();
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kFlushing && c.flush_deadline_ns <= now) FinishExit(c, true);
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid == 0 || e.expired || e.deadline_ns == 0 || e.deadline_ns > now) continue;
    e.expired = true;
    KillExec(e);
  }
  ArmTimer();
}

void WatchAll() {
  WatchFd(state.listener, Source::kListener, 0);
  for (uint32_t i = 0; i < kMaxControls; ++i) {
    if (state.controls[i] >= 0) WatchFd(state.controls[i], Source::kControl, i);
  }
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Container& c = state.containers[i];
    if (c.phase == Phase::kFree) continue;
    if (c.status >= 0) WatchFd(c.status, Source::kContainerStatus, i);
    if ((c.phase == Phase::kStarting || c.phase == Phase::kRunning) && c.log < 0) WatchOutput(c);
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    const Exec& e = state.execs[i];
    if (e.pid == 0) continue;
    if (e.status >= 0) WatchFd(e.status, Source::kExecStatus, i);
    if (e.reply >= 0) WatchFd(e.reply, Source::kExecReply, i, EPOLLRDHUP);
  }
  ArmTimer();
}

void Dispatch(const KeeperRequest& r, Fds& fds) {
  switch (r.type) {
    case RequestType::kCreate:
      if (!OnCreate(r, fds)) return;
      // While the child is at work, and after its ends of pipes and socket were closed here: the writer would
      // hold them until it has closed them itself. If it can't be had now, the start says so.
      HaveWriter();
      return;
    case RequestType::kStart:
      return OnStart(r, fds);
    case RequestType::kExec:
      return OnExec(r, fds);
    case RequestType::kSignal:
      return OnSignal(r, fds);
    case RequestType::kReopenLog:
      return OnReopenLog(r, fds);
    case RequestType::kAttach:
      return OnAttach(r, fds);
    case RequestType::kForget:
      return OnForget(r, fds);
    case RequestType::kList:
      return OnList(fds);
    case RequestType::kReexec:
      return OnReexec(fds, fds.Take());
    case RequestType::kShutdown:
      return OnShutdown(fds);
  }
}

void OnControl(uint32_t slot) {
  KeeperRequest request;
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * (kMaxRequestFds + 1))];
  struct iovec iov = {&request, sizeof request};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(state.controls[slot], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return Close(state.controls[slot]);
  Fds fds;
  for (struct cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      if (fds.count <= kMaxRequestFds)
        fds.fd[fds.count++] = fd;
      else
        close(fd);
    }
  }
  // The end, or an empty message, which may have brought descriptors.
  if (n == 0) return Close(state.controls[slot]);
  if (fds.count == 0) return;  // nowhere to answer
  int error = CheckRequest(request, static_cast<size_t>(n), fds.count);
  if (error == 0 && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) error = EPROTO;
  if (error != 0) return AnswerStep(fds.reply(), Step::kSupervisor, error);
  Dispatch(request, fds);
}

void OnConnection() {
  int fd = accept4(state.listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  struct ucred peer = {};
  socklen_t size = sizeof peer;
  const bool root = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0;
  for (uint32_t i = 0; root && i < kMaxControls; ++i) {
    if (state.controls[i] >= 0) continue;
    KeeperEvent ready;
    InitEvent(&ready, EventType::kReady);
    send(fd, &ready, sizeof ready, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (!WatchFd(fd, Source::kControl, i)) break;
    state.controls[i] = fd;
    return;
  }
  Close(fd);
}

void Handle(const struct epoll_event& event) {
  const uint32_t slot = static_cast<uint32_t>(event.data.u64);
  switch (static_cast<Source>(event.data.u64 >> 32)) {
    case Source::kSignals:
      DrainSignals();
      return ReapChildren();
    case Source::kTimer:
      return OnTimer();
    case Source::kListener:
      return OnConnection();
    case Source::kControl:
      if (state.controls[slot] >= 0) OnControl(slot);
      return;
    case Source::kContainerStatus:
      if (state.containers[slot].phase != Phase::kFree && state.containers[slot].status >= 0)
        ReadReport(state.containers[slot]);
      return;
    case Source::kContainerOut:
      return OnOutput(slot, 0);
    case Source::kContainerErr:
      return OnOutput(slot, 1);
    case Source::kExecStatus:
      if (state.execs[slot].pid != 0 && state.execs[slot].status >= 0)
        ReadReport(state.execs[slot]);
      return;
    case Source::kExecReply:
      return OnRequesterGone(slot);
    case Source::kWriter:
      return OnWriter(slot);
    case Source::kWriterTimer:
      return OnWriterTimer();
  }
}

bool OpenLoop() {
  // SIGPIPE: a container's stdin may be closed.
  sigset_t set;
  sigfillset(&set);
  sigprocmask(SIG_SETMASK, &set, nullptr);
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  return epoll >= 0 && signals >= 0 && timer >= 0 && WatchFd(signals, Source::kSignals, 0) &&
         WatchFd(timer, Source::kTimer, 0);
}

[[noreturn]] void Loop() {
  for (;;) {
    struct epoll_event events[16];
    const int n = epoll_wait(epoll, events, 16, -1);
    for (int i = 0; i < n; ++i) Handle(events[i]);
  }
}

// What an ancestor ignores would be ignored by every container. posix_spawn leaves 32 and 33 alone.
void ResetDispositions() {
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  } action = {};
  for (int signal = 1; signal <= 64; ++signal)
    syscall(__NR_rt_sigaction, signal, &action, nullptr, sizeof action.mask);
}

int Main() {
  ResetDispositions();
  static_assert(kMaxKeeperParameters <= 65536);
  alignas(8) char parameters[kMaxKeeperParameters];
  const ssize_t n = recv(kKeeperControlFd, parameters, sizeof parameters, MSG_DONTWAIT);
  KeeperEvent ready;
  InitEvent(&ready, EventType::kReady);
  ready.failure.step = static_cast<uint32_t>(SetupStep::kParameters);
  for (int& fd : state.controls) fd = -1;
  state.mount_namespace = state.own_pidns = state.pod_init_pidfd = state.listener = -1;
  state.writer_shared = state.writer_timer = state.user_namespace = -1;
  for (Writer& writer : state.writers) writer.socket = -1;
  errno = EPROTO;
  bool good = n > 0 && ParametersAreValid(parameters, static_cast<size_t>(n));
  // Inherited descriptors at their fixed numbers, and nothing else.
  sys::CloseRange(kKeeperNetworkFd + 1, ~0u, 0);
  for (int fd = kKeeperControlFd; fd <= kKeeperNetworkFd; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
  good = good && SetUp(parameters, &ready.failure);
  if (good) {
    ready.failure.step = static_cast<uint32_t>(SetupStep::kLoop);
    state.controls[0] = kKeeperControlFd;
    good = OpenLoop();
  }
  if (good) {
    WatchAll();
    ready.failure = {};
  } else {
    ready.failure.error = errno;
  }
  const bool heard = send(kKeeperControlFd, &ready, sizeof ready, MSG_NOSIGNAL) > 0;
  if (!good || !heard) {
    if (state.pod_init > 0) kill(state.pod_init, SIGKILL);
    if (state.listener >= 0) unlinkat(state.state_dir, kKeeperSocketName, 0);
    return 1;
  }
  return 0;
}

// A process and no more, until its stdin ends: systemd starts no scope without one (runtime/cgroup_systemd.h).
[[noreturn]] void Hold() {
  char byte;
  sys::CloseRange(3, ~0u, 0);
  while (read(0, &byte, 1) < 0 && errno == EINTR) continue;
  _exit(0);
}

int Resume(const char* number) {
  int fd = 0, reply = -1;
  for (; *number >= '0' && *number <= '9'; ++number) fd = fd * 10 + (*number - '0');
  prctl(PR_SET_NAME, "berth-keeper", 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // execve has set it
  if (!RestoreState(fd, &reply) || !OpenLoop()) return 1;
  fcntl(reply, F_SETFD, FD_CLOEXEC);
  WatchAll();
  if (!ResumeWriters()) return 1;
  Answer(reply, 0, nullptr, 0, getpid());
  ReapChildren();
  return 0;
}

}  // namespace

bool WatchFd(int fd, Source source, uint32_t slot, uint32_t events) {
  struct epoll_event event;
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(source) << 32 | slot;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void UnwatchFd(int fd) { epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr); }

void ArmTimer() {
  int64_t first = 0;
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Container& c = state.containers[i];
    if (c.phase == Phase::kFlushing && (first == 0 || c.flush_deadline_ns < first))
      first = c.flush_deadline_ns;
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    const Exec& e = state.execs[i];
    if (e.pid == 0 || e.expired || e.deadline_ns == 0) continue;
    if (first == 0 || e.deadline_ns < first) first = e.deadline_ns;
  }
  struct itimerspec when = {};
  when.it_value.tv_sec = first / 1000000000;
  when.it_value.tv_nsec = first % 1000000000;
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, nullptr);
}

int64_t RealtimeNs() {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * int64_t{1000000000} + t.tv_nsec;
}

int64_t MonotonicNs() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * int64_t{1000000000} + t.tv_nsec;
}

}  // namespace berth::keeper

int main(int argc, char** argv) {
  using namespace berth::keeper;
  if (argc == 2 && strcmp(argv[1], "--hold") == 0) Hold();
  if (argc == 2 && strcmp(argv[1], "--paths") == 0) return RunPathProcess();
  const int rc = argc == 3 && strcmp(argv[1], "--resume") == 0 ? Resume(argv[2]) : Main();
  if (rc != 0) return rc;
  Loop();
}
