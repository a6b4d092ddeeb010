// berth-keeper: one pod's supervisor. See protocol.h for what it serves and state.h for what it knows.
//
// One thread, one epoll loop, nothing that waits: Create and Exec are state machines driven by their child's
// socket. It makes no path-based call on volumes, images or logs.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/state.h"

namespace berth::keeper {

State state;

namespace {

int epoll = -1;
int signals = -1;
int timer = -1;
WriterShared* shared = nullptr;

enum class Source : uint32_t {
  kSignals,
  kTimer,
  kListener,
  kControl,  // slot of controls
  kContainerStatus,
  kContainerOut,
  kContainerErr,
  kExecStatus,
  kExecReply,  // the requester went away
  kWriter,
};

// ---- small pieces ----

void Close(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

bool WatchFd(int fd, Source source, uint32_t slot, uint32_t events = EPOLLIN) {
  struct epoll_event event;
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(source) << 32 | slot;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void SendReply(int fd, const KeeperReply& reply, int pass = -1) {
  struct iovec iov = {const_cast<KeeperReply*>(&reply),
                      offsetof(KeeperReply, groups) + reply.group_count * sizeof(uint32_t)};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (pass >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &pass, sizeof pass);
  }
  sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Leaves groups as they are: only group_count of them are sent.
void InitReply(KeeperReply* reply, ReplyKind kind, int error) {
  memset(reply, 0, offsetof(KeeperReply, groups));
  reply->magic = kKeeperMagic;
  reply->version = kKeeperVersion;
  reply->kind = kind;
  reply->error = error;
}

// Answers and closes.
void Answer(int& fd, int error, const Failure* failure = nullptr, uint32_t exit_code = 0,
            int32_t pid = 0) {
  if (fd < 0) return;
  KeeperReply reply;
  InitReply(&reply, ReplyKind::kDone, error);
  if (failure != nullptr) reply.failure = *failure;
  reply.exit_code = exit_code;
  reply.pid = pid;
  SendReply(fd, reply);
  Close(fd);
}

void AnswerStep(int& fd, Step step, int error) {
  const Failure failure = {static_cast<uint32_t>(step), 0, error};
  Answer(fd, error, &failure);
}

Container* FindContainer(const char* id) {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase != Phase::kFree && strcmp(c.id, id) == 0) return &c;
  }
  return nullptr;
}

Container* NewContainer() {
  for (uint32_t i = 0; i < kMaxContainers; ++i) {
    Container& c = state.containers[i];
    if (c.phase != Phase::kFree) continue;
    if (i >= state.container_top) state.container_top = i + 1;
    memset(&c, 0, sizeof c);
    c.pidfd = c.status = c.reply = c.plan = c.log = c.out = c.err = c.in = -1;
    return &c;
  }
  return nullptr;
}

uint32_t Slot(const Container& c) { return static_cast<uint32_t>(&c - state.containers); }
uint32_t Slot(const Exec& e) { return static_cast<uint32_t>(&e - state.execs); }

void CloseStreams(Container& c) {
  if (c.err == c.out) c.err = -1;
  Close(c.out);
  Close(c.err);
  Close(c.in);
}

void FreeContainer(Container& c) {
  if (c.log >= 0)
    SendToWriter(state.writer, {WriterVerb::kFlush, Slot(c), c.serial, 0}, nullptr, 0);
  CloseStreams(c);
  int* const each1[] = {&c.pidfd, &c.status, &c.reply, &c.plan, &c.log};
  for (int* fd : each1) Close(*fd);
  c.phase = Phase::kFree;
  while (state.container_top > 0 && state.containers[state.container_top - 1].phase == Phase::kFree)
    --state.container_top;
}

Exec* NewExec() {
  for (uint32_t i = 0; i < kMaxExecs; ++i) {
    Exec& e = state.execs[i];
    if (e.pid != 0) continue;
    if (i >= state.exec_top) state.exec_top = i + 1;
    memset(&e, 0, sizeof e);
    e.pidfd = e.status = e.reply = e.plan = e.terminal = -1;
    return &e;
  }
  return nullptr;
}

void FreeExec(Exec& e) {
  int* const each2[] = {&e.pidfd, &e.status, &e.reply, &e.plan, &e.terminal};
  for (int* fd : each2) Close(*fd);
  e.pid = 0;
  while (state.exec_top > 0 && state.execs[state.exec_top - 1].pid == 0) --state.exec_top;
}

void SendEvent(const KeeperEvent& event) {
  for (int fd : state.controls) {
    if (fd >= 0) send(fd, &event, sizeof event, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

void InitEvent(KeeperEvent* event, EventType type) {
  memset(event, 0, sizeof *event);
  event->magic = kKeeperMagic;
  event->version = kKeeperVersion;
  event->type = type;
  event->pid = getpid();
}

// ---- deadlines of execs and flushes ----

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

void KillExec(Exec& e) {
  if (e.number != 0) {
    if (const Plan* plan = MapPlan(e.plan)) {
      KillExecCgroup(*plan, e.number);
      UnmapPlan(plan);
    }
  }
  // Its own session, if it has come so far; and itself in any case.
  kill(-e.pid, SIGKILL);
  if (e.leader != 0) kill(e.leader, SIGKILL);
  syscall(__NR_pidfd_send_signal, e.pidfd, SIGKILL, nullptr, 0);
}

void FinishExit(Container& c, bool lost);

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

// ---- exits ----

void RecordName(char (&name)[kKeeperIdSize + 16], const char* id) {
  strcpy(name, kExitRecordPrefix);
  strcat(name, id);  // at most kKeeperIdSize, which CheckRequest saw to
}

bool WriteExitRecord(const KeeperExit& record) {
  char name[kKeeperIdSize + 16], temporary[kKeeperIdSize + 24];
  RecordName(name, record.id);
  temporary[0] = '.';
  strcpy(temporary + 1, name);
  const int fd = openat(state.state_dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool good = write(fd, &record, sizeof record) == static_cast<ssize_t>(sizeof record);
  close(fd);
  return good && syscall(__NR_renameat2, state.state_dir, temporary, state.state_dir, name, 0) == 0;
}

void RemoveExitRecord(const char* id) {
  char name[kKeeperIdSize + 16];
  RecordName(name, id);
  unlinkat(state.state_dir, name, 0);
}

// The plan's cgroup after its main process has gone: whether the OOM killer was there; and without a PID
// namespace of its own, nothing else ends what is left.
bool CleanUpCgroup(Container& c) {
  const Plan* plan = MapPlan(c.plan);
  if (plan == nullptr) return false;
  const bool oom = OomKilled(*plan);
  if (c.pid_mode != PidMode::kOwn) KillContainerCgroup(*plan);
  UnmapPlan(plan);
  return oom;
}

void ReadReport(Container& c);
void ReadReport(Exec& e);

// The plan goes back with the failure: the daemon needs it for the sentence, and may have restarted since.
void AnswerFailure(Container& c) {
  if (c.reply < 0) return;
  if (c.start_error == 0) return AnswerStep(c.reply, Step::kSupervisor, ECHILD);
  KeeperReply reply;
  InitReply(&reply, ReplyKind::kDone, c.start_error);
  reply.failure = c.failure;
  SendReply(c.reply, reply, c.plan);
  Close(c.reply);
}

bool IsEmpty(int fd) {
  int bytes = 0;
  return fd < 0 || ioctl(fd, FIONREAD, &bytes) != 0 || bytes == 0;
}

// The order matters: see WriterShared.
bool LogIsComplete(const Container& c) {
  const bool terminal = (c.plan_flags & kPlanTerminal) != 0;  // FIONREAD doesn't tell all
  return shared != nullptr && !terminal && IsEmpty(c.out) && IsEmpty(c.err) &&
         __atomic_load_n(&shared->busy[Slot(c)], __ATOMIC_SEQ_CST) == 0;
}

constexpr int64_t kFlushNs = 2000000000;

// No exit record: the container stays created, and its slot is free.
void SendGatedExit(const Container& c) {
  KeeperEvent event;
  InitEvent(&event, EventType::kExit);
  event.exit.magic = kKeeperMagic;
  event.exit.version = kKeeperVersion;
  memcpy(event.exit.id, c.id, sizeof event.exit.id);
  event.exit.exit_code = 128;
  event.exit.finished_ns = RealtimeNs();
  SendEvent(event);
}

void OnContainerExit(Container& c, uint32_t code, uint32_t signal) {
  if (c.status >= 0) ReadReport(c);  // what it said last
  if (c.phase == Phase::kCreating || c.phase == Phase::kCreated) {
    // Nobody waits for an answer: the daemon has to hear that the gate is empty.
    const bool unasked = c.phase == Phase::kCreated && c.reply < 0 && !c.forgetting;
    if (c.forgetting) Answer(c.reply, 0);
    AnswerFailure(c);
    if (unasked) SendGatedExit(c);
    FreeContainer(c);
    return;
  }
  KeeperExit& record = c.exit;
  memset(&record, 0, sizeof record);
  record.magic = kKeeperMagic;
  record.version = kKeeperVersion;
  memcpy(record.id, c.id, sizeof record.id);
  const bool started = c.phase == Phase::kRunning;
  record.flags = started ? kExitStarted : 0u;
  record.exit_code = started ? code : 128;
  record.signal = started ? signal : 0;
  record.started_ns = c.started_ns;
  record.finished_ns = RealtimeNs();
  if (CleanUpCgroup(c)) record.flags |= kExitOomKilled;
  if (c.log < 0) return FinishExit(c, false);
  const WriterMessage flush = {WriterVerb::kFlush, Slot(c), c.serial, 0};
  const bool complete = LogIsComplete(c);
  const bool sent = SendToWriter(state.writer, flush, nullptr, 0);
  if (complete || !sent) return FinishExit(c, !complete || shared->lost[Slot(c)] != 0);
  c.phase = Phase::kFlushing;
  c.flush_deadline_ns = MonotonicNs() + kFlushNs;
  ArmTimer();
}

// The log is complete, or has had its time: what still comes is written late, if at all.
void FinishExit(Container& c, bool lost) {
  if (lost || c.log_lost) c.exit.flags |= kExitLogLost;
  CloseStreams(c);
  Close(c.log);
  WriteExitRecord(c.exit);
  c.phase = Phase::kExited;
  AnswerFailure(c);
  Close(c.plan);
  KeeperEvent event;
  InitEvent(&event, EventType::kExit);
  event.exit = c.exit;
  SendEvent(event);
}

void OnExecExit(Exec& e, uint32_t code) {
  if (e.status >= 0) ReadReport(e);
  if (e.number != 0) {
    if (const Plan* plan = MapPlan(e.plan)) {
      RemoveExecCgroup(*plan, e.number);
      UnmapPlan(plan);
    }
  }
  const int error = e.expired ? ETIMEDOUT : e.failed ? e.failure.error : 0;
  Answer(e.reply, error, e.failed ? &e.failure : nullptr, code, e.pid);
  FreeExec(e);
  ArmTimer();
}

void OnWriterDeath();

// A hop's passenger starts when the report about it has been sent, so that is heard before its end.
void ReadHops() {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kStarting && (c.plan_flags & kPlanHop) != 0 && c.status >= 0)
      ReadReport(c);
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid != 0 && e.hop && e.status >= 0) ReadReport(e);
  }
}

// True when both the main process and the leader of its hop, if there was one, have ended.
template <typename Entry>
bool BothEnded(Entry& entry, int pid, int status) {
  if (entry.pid == pid && entry.over == 0) entry.over = 1 + status;
  if (entry.leader == pid) entry.leader = 0;
  return entry.over != 0 && entry.leader == 0;
}

void OnChild(int pid, int status) {
  auto signal = [](int s) { return WIFSIGNALED(s) ? static_cast<uint32_t>(WTERMSIG(s)) : 0; };
  auto code = [](int s) {
    return static_cast<uint32_t>(WIFSIGNALED(s) ? 128 + WTERMSIG(s) : WEXITSTATUS(s));
  };
  ReadHops();
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kFree || c.phase >= Phase::kFlushing || (c.pid != pid && c.leader != pid))
      continue;
    if (BothEnded(c, pid, status)) OnContainerExit(c, code(c.over - 1), signal(c.over - 1));
    return;
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid == 0 || (e.pid != pid && e.leader != pid)) continue;
    if (BothEnded(e, pid, status)) OnExecExit(e, code(e.over - 1));
    return;
  }
  if (pid == state.pod_init) state.pod_init = 0;
  if (pid == state.writer_pid) OnWriterDeath();
}

void ReapChildren() {
  struct signalfd_siginfo ignored[4];
  while (read(signals, ignored, sizeof ignored) > 0) continue;
  for (;;) {
    int status;
    const int pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    OnChild(pid, status);
  }
}

// ---- what a child reports ----

// 1: a report; 0: end of file; -1: nothing now.
int ReceiveReport(int fd, ExecutorReport* report, int* passed) {
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct iovec iov = {report, sizeof *report};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  *passed = -1;
  const ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    memcpy(passed, CMSG_DATA(header), sizeof(int));
  }
  const bool good =
      n >= static_cast<ssize_t>(offsetof(ExecutorReport, groups)) &&
      report->group_count <= kMaxPlanGroups &&
      n == static_cast<ssize_t>(offsetof(ExecutorReport, groups) + report->group_count * 4);
  if (good) return 1;
  Close(*passed);
  return 0;
}

// Another process takes over; what happens to the container or exec happens to that one now.
template <typename Entry>
void OnHopped(Entry& entry, const ExecutorReport& report, int& pidfd) {
  if (entry.leader != 0 || pidfd < 0 || report.pid <= 0) return Close(pidfd);
  entry.leader = entry.pid;
  entry.pid = report.pid;
  Close(entry.pidfd);
  entry.pidfd = pidfd;
}

void OnReady(Container& c, const ExecutorReport& report) {
  c.phase = Phase::kCreated;
  KeeperReply reply;
  InitReply(&reply, ReplyKind::kDone, 0);
  reply.pid = c.pid;
  reply.uid = report.uid;
  reply.gid = report.gid;
  reply.group_count = report.group_count;
  memcpy(reply.groups, report.groups, report.group_count * sizeof(uint32_t));
  if (c.reply >= 0) SendReply(c.reply, reply);
  Close(c.reply);
}

void OnStarted(Container& c) {
  Close(c.status);
  if (c.phase != Phase::kStarting || c.start_error != 0) return;  // its exit answers
  c.phase = Phase::kRunning;
  c.started_ns = RealtimeNs();
  Answer(c.reply, 0, nullptr, 0, c.pid);
}

void ReadReport(Container& c) {
  for (;;) {
    ExecutorReport report;
    int passed;
    const int what = ReceiveReport(c.status, &report, &passed);
    if (what < 0) return;
    if (what == 0) return OnStarted(c);
    const auto kind = static_cast<ReportKind>(report.kind);
    if (kind == ReportKind::kTerminal && c.phase == Phase::kCreating && passed >= 0 && c.out < 0) {
      fcntl(passed, F_SETFL, O_NONBLOCK);
      c.out = passed;
      continue;
    }
    if (kind == ReportKind::kHopped && c.phase == Phase::kStarting) {
      OnHopped(c, report, passed);
      continue;
    }
    Close(passed);
    if (kind == ReportKind::kReady && c.phase == Phase::kCreating) {
      OnReady(c, report);
    } else if (kind == ReportKind::kFailed) {
      c.start_error = report.failure.error ? report.failure.error : EIO;
      c.failure = report.failure;  // answered when the process is gone
    }
  }
}

void ReadReport(Exec& e) {
  for (;;) {
    ExecutorReport report;
    int passed;
    const int what = ReceiveReport(e.status, &report, &passed);
    if (what < 0) return;
    if (what == 0) {
      Close(e.status);
      if (e.failed || e.expired || e.reply < 0) return;
      KeeperReply reply;
      InitReply(&reply, ReplyKind::kExecStarted, 0);
      reply.pid = e.pid;
      if (e.terminal >= 0) SendReply(e.reply, reply, e.terminal);
      Close(e.terminal);
      return;
    }
    if (static_cast<ReportKind>(report.kind) == ReportKind::kTerminal && passed >= 0 &&
        e.terminal < 0) {
      e.terminal = passed;
      continue;
    }
    if (static_cast<ReportKind>(report.kind) == ReportKind::kHopped && e.hop) {
      OnHopped(e, report, passed);
      continue;
    }
    Close(passed);
    if (static_cast<ReportKind>(report.kind) == ReportKind::kFailed) {
      e.failed = true;
      e.failure = report.failure;
      if (e.failure.error == 0) e.failure.error = EIO;
    }
  }
}

// ---- requests ----

struct Fds {
  int fd[kMaxRequestFds + 1] = {-1, -1, -1, -1, -1, -1};
  int count = 0;
  int next = 1;
  ~Fds() {
    for (int& f : fd) Close(f);
  }
  int& reply() { return fd[0]; }
  int Take() {
    const int f = fd[next];
    fd[next++] = -1;
    return f;
  }
};

// Enters the PID namespace that children are to be born in, clones, and comes back at once: with a foreign
// one for children, CLONE_NEWPID and threads would be refused.
int CloneIntoPidNamespace(int pidns_pidfd, uint64_t flags, int cgroup, int* pidfd) {
  if (pidns_pidfd >= 0 && sys::SetNs(pidns_pidfd, CLONE_NEWPID) != 0) return -errno;
  const int pid = CloneProcess(flags, cgroup, pidfd);
  if (pid != 0 && pidns_pidfd >= 0 && sys::SetNs(state.own_pidns, CLONE_NEWPID) != 0) {
    _exit(70);  // every later child would be born in a container's namespace
  }
  return pid;
}

// The v2 directory of the plan for CLONE_INTO_CGROUP, or -1.
int OpenUnifiedCgroup(const Plan& plan) {
  const PlanCgroup* groups = PlanTable(plan, plan.cgroups);
  for (uint32_t i = 0; i < plan.cgroups.count; ++i) {
    if ((groups[i].flags & kCgroupV2) != 0)
      return open(PlanString(plan, groups[i].path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  return -1;
}

// EBUSY and EOPNOTSUPP: the container made an inner node of it, or its domain is invalid; EINVAL: a kernel
// before 5.7. Then the child joins by itself.
bool RetryWithoutCgroup(int error) {
  return error == -EBUSY || error == -EOPNOTSUPP || error == -EINVAL || error == -EACCES;
}

// Since 6.17. Before, a container in another one's PID namespace is prepared inside.
bool ProcTakesPidNamespace() {
  const int fs = sys::FsOpen("proc");
  const bool good =
      fs >= 0 && sys::FsConfig(fs, FSCONFIG_SET_FD, "pidns", nullptr, state.own_pidns) == 0;
  if (fs >= 0) close(fs);
  return good;
}

int PidNamespaceOf(const Plan& plan, int* error) {
  *error = 0;
  if (plan.pid_mode == PidMode::kPod) {
    if (state.pod_init == 0) *error = ESRCH;
    return state.pod_init_pidfd;
  }
  if (plan.pid_mode == PidMode::kTarget) {
    const Container* target = FindContainer(PlanString(plan, plan.pid_target));
    if (target == nullptr || target->phase != Phase::kRunning) *error = ESRCH;
    return target == nullptr ? -1 : target->pidfd;
  }
  return -1;
}

// Whether a container's process stays outside of its PID namespace until the end. In a new one (kOwn) nobody is there yet;
// in the host's nothing would be hidden from those who may trace.
bool NeedsHop(const Plan& plan) {
  if ((plan.flags & kPlanHop) == 0 || plan.pid_mode == PidMode::kNode) return false;
  if (plan.pid_mode == PidMode::kPod) return true;
  return plan.pid_mode == PidMode::kTarget && ProcTakesPidNamespace();
}

bool MakePipe(int* read_end, int* write_end, bool reader_is_ours) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  *read_end = ends[0];
  *write_end = ends[1];
  fcntl(reader_is_ours ? ends[0] : ends[1], F_SETFL, O_NONBLOCK);
  return true;
}

struct ChildEnds {
  int stdio[3] = {-1, -1, -1};
  int status = -1;
  ~ChildEnds() {
    for (int& fd : stdio) Close(fd);
    Close(status);
  }
};

bool MakeChannels(Container& c, ChildEnds* child, bool hold_stdin) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
  c.status = pair[0];
  child->status = pair[1];
  if ((c.plan_flags & kPlanTerminal) != 0) return true;  // comes from the container
  return MakePipe(&c.out, &child->stdio[1], true) && MakePipe(&c.err, &child->stdio[2], true) &&
         (!hold_stdin || MakePipe(&child->stdio[0], &c.in, false));
}

int CloneContainer(Container& c, const Plan& plan, const ChildEnds& child) {
  int error;
  const int pidns = PidNamespaceOf(plan, &error);
  if (error != 0) return -error;
  const uint64_t flags = (plan.pid_mode == PidMode::kOwn ? CLONE_NEWPID : 0) |
                         ((plan.flags & kPlanNewNet) ? CLONE_NEWNET : 0) |
                         ((plan.flags & kPlanNewIpc) ? CLONE_NEWIPC : 0) |
                         ((plan.flags & kPlanNewUts) ? CLONE_NEWUTS : 0);
  const bool hop = NeedsHop(plan);
  const int enter = hop ? -1 : pidns;
  int cgroup = OpenUnifiedCgroup(plan);
  int pid = CloneIntoPidNamespace(enter, flags, cgroup, &c.pidfd);
  const bool joined = cgroup >= 0 && !RetryWithoutCgroup(pid);
  if (cgroup >= 0 && !joined) pid = CloneIntoPidNamespace(enter, flags, -1, &c.pidfd);
  if (pid == 0) {
    ExecutorInput input;
    input.hop = hop;
    if (hop) input.target = pidns;
    input.plan = &plan;
    input.status = child.status;
    input.mount_namespace = state.mount_namespace;
    input.cgroup2_joined = joined;
    memcpy(input.stdio, child.stdio, sizeof input.stdio);
    input.bounding = state.bounding;
    input.nofile_soft = state.nofile_soft;
    Execute(input);
  }
  Close(cgroup);
  return pid;
}

// True if a child is at work; its outcome is answered later.
bool OnCreate(const KeeperRequest& r, Fds& fds) {
  if (FindContainer(r.id) != nullptr) {
    AnswerStep(fds.reply(), Step::kSupervisor, EEXIST);
    return false;
  }
  Container* c = NewContainer();
  if (c == nullptr) {
    AnswerStep(fds.reply(), Step::kSupervisor, EMFILE);
    return false;
  }
  c->plan = fds.Take();
  const Plan* plan = MapPlan(c->plan);
  if (plan == nullptr || (plan->flags & kPlanExec) != 0) {
    AnswerStep(fds.reply(), Step::kSupervisor, EBADMSG);
    UnmapPlan(plan);
    FreeContainer(*c);
    return false;
  }
  memcpy(c->id, r.id, sizeof c->id);
  c->plan_flags = plan->flags;
  c->pid_mode = plan->pid_mode;
  ChildEnds child;
  const bool hold_stdin = ((plan->flags & kPlanStdin) | (r.flags & kHasStdin)) != 0;
  int pid = -1;
  if (!MakeChannels(*c, &child, hold_stdin)) {
    AnswerStep(fds.reply(), Step::kSupervisor, errno);
  } else if ((pid = CloneContainer(*c, *plan, child)) < 0) {
    AnswerStep(fds.reply(), Step::kClone, -pid);
  }
  UnmapPlan(plan);
  if (pid < 0) {
    FreeContainer(*c);
    return false;
  }
  c->pid = pid;
  c->phase = Phase::kCreating;
  c->reply = fds.fd[0];
  fds.fd[0] = -1;
  WatchFd(c->status, Source::kContainerStatus, Slot(*c));
  return true;
}

// ---- logs ----

constexpr uint32_t kMaxWriters =
    100;  // of one keeper: one that dies again and again is not the cure

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

// From now on the writer reads the container's output.
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

// Output without a log is dropped here: nothing waits for a disk.
void WatchOutput(const Container& c) {
  if (c.out >= 0) WatchFd(c.out, Source::kContainerOut, Slot(c));
  if (c.err >= 0) WatchFd(c.err, Source::kContainerErr, Slot(c));
}

void UnwatchOutput(const Container& c) {
  if (c.out >= 0) epoll_ctl(epoll, EPOLL_CTL_DEL, c.out, nullptr);
  if (c.err >= 0) epoll_ctl(epoll, EPOLL_CTL_DEL, c.err, nullptr);
}

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

void OnStart(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return AnswerStep(fds.reply(), Step::kSupervisor, ESRCH);
  if (c->phase != Phase::kCreated || c->reply >= 0 || c->forgetting)
    return AnswerStep(fds.reply(), Step::kSupervisor, EALREADY);
  if ((r.flags & kHasLog) == 0) {
    WatchOutput(*c);
  } else if (!StartLog(*c, fds.fd[1])) {
    return AnswerStep(fds.reply(), Step::kSupervisor, errno ? errno : EIO);
  }
  c->reply = fds.fd[0];
  fds.fd[0] = -1;
  c->phase = Phase::kStarting;
  if (send(c->status, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
    // It died at the gate a moment ago: its exit frees the slot, so that it is made again.
    c->phase = Phase::kCreated;
  }
}

// A container that was put into another one's PID namespace, as debuggers are, may trace there.
bool HasJoiners() {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Container& c = state.containers[i];
    const bool lives = c.phase == Phase::kStarting || c.phase == Phase::kRunning;
    if (lives && c.pid_mode == PidMode::kTarget && (c.plan_flags & kPlanHop) != 0) return true;
  }
  return false;
}

void OnExec(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return AnswerStep(fds.reply(), Step::kSupervisor, ESRCH);
  if (c->phase != Phase::kRunning) return AnswerStep(fds.reply(), Step::kSupervisor, EALREADY);
  Exec* e = NewExec();
  if (e == nullptr) return AnswerStep(fds.reply(), Step::kSupervisor, EMFILE);
  e->plan = fds.Take();
  const Plan* plan = MapPlan(e->plan);
  if (plan == nullptr || (plan->flags & kPlanExec) == 0) {
    AnswerStep(fds.reply(), Step::kSupervisor, EBADMSG);
    UnmapPlan(plan);
    return FreeExec(*e);
  }
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    AnswerStep(fds.reply(), Step::kSupervisor, errno);
    UnmapPlan(plan);
    return FreeExec(*e);
  }
  e->status = pair[0];
  ChildEnds child;
  child.status = pair[1];
  if (r.flags & kHasStdin) child.stdio[0] = fds.Take();
  if (r.flags & kHasStdout) child.stdio[1] = fds.Take();
  if (r.flags & kHasStderr) child.stdio[2] = fds.Take();

  uint32_t index = 0;
  bool v2 = false;
  const uint32_t number = ++state.exec_number;
  int own_cgroup = OpenExecCgroup(*plan, number, &index, &v2);
  if (own_cgroup >= 0) e->number = number;
  int birth = own_cgroup >= 0 && v2 ? own_cgroup : OpenUnifiedCgroup(*plan);
  e->hop = plan->pid_mode != PidMode::kNode && ((plan->flags & kPlanHop) != 0 || HasJoiners());
  const int pidns = e->hop || plan->pid_mode == PidMode::kNode ? -1 : c->pidfd;
  int pid = CloneIntoPidNamespace(pidns, 0, birth, &e->pidfd);
  const bool joined = birth >= 0 && !RetryWithoutCgroup(pid);
  if (birth >= 0 && !joined) pid = CloneIntoPidNamespace(pidns, 0, -1, &e->pidfd);
  if (pid == 0) {
    ExecutorInput input;
    input.plan = plan;
    input.status = child.status;
    input.target = c->pidfd;
    input.hop = e->hop;
    input.exec_cgroup = own_cgroup;
    input.exec_cgroup_index = index;
    input.cgroup2_joined = joined;
    memcpy(input.stdio, child.stdio, sizeof input.stdio);
    input.bounding = state.bounding;
    input.nofile_soft = state.nofile_soft;
    Execute(input);
  }
  if (birth != own_cgroup) Close(birth);
  Close(own_cgroup);
  if (pid < 0) {
    if (e->number != 0) RemoveExecCgroup(*plan, e->number);
    AnswerStep(fds.reply(), Step::kClone, -pid);
    UnmapPlan(plan);
    return FreeExec(*e);
  }
  UnmapPlan(plan);
  e->pid = pid;
  e->container = static_cast<int32_t>(Slot(*c));
  e->deadline_ns = r.deadline_ns;
  e->reply = fds.fd[0];
  fds.fd[0] = -1;
  WatchFd(e->status, Source::kExecStatus, Slot(*e));
  WatchFd(e->reply, Source::kExecReply, Slot(*e), EPOLLRDHUP);
  if (e->deadline_ns != 0) ArmTimer();
}

void OnSignal(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return Answer(fds.reply(), ESRCH);
  if (c->phase >= Phase::kFlushing) return Answer(fds.reply(), EALREADY);
  const bool sent = syscall(__NR_pidfd_send_signal, c->pidfd, r.value, nullptr, 0) == 0;
  Answer(fds.reply(), sent ? 0 : errno == ESRCH ? EALREADY : errno);
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

void OnForget(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) {
    RemoveExitRecord(r.id);
    return Answer(fds.reply(), 0);
  }
  switch (c->phase) {
    case Phase::kExited:
      RemoveExitRecord(c->id);
      FreeContainer(*c);
      return Answer(fds.reply(), 0);
    case Phase::kCreating:
    case Phase::kCreated:
      Answer(c->reply, ECANCELED);
      c->forgetting = true;
      c->reply = fds.fd[0];  // answered at its exit
      fds.fd[0] = -1;
      syscall(__NR_pidfd_send_signal, c->pidfd, SIGKILL, nullptr, 0);
      return;
    default:
      return Answer(fds.reply(), EBUSY);
  }
}

void OnList(Fds& fds) {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Container& c = state.containers[i];
    if (c.phase == Phase::kFree) continue;
    KeeperReply reply;
    InitReply(&reply, ReplyKind::kListEntry, 0);
    reply.pid = c.pid;
    reply.started_ns = c.started_ns;
    reply.state =
        static_cast<uint32_t>(c.phase == Phase::kExited    ? KeeperContainerState::kExited
                              : c.phase >= Phase::kRunning ? KeeperContainerState::kRunning
                                                           : KeeperContainerState::kCreated);
    memcpy(reply.id, c.id, sizeof reply.id);
    SendReply(fds.reply(), reply);
  }
  Answer(fds.reply(), 0, nullptr, 0, getpid());
}

void OnShutdown(Fds& fds) {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Phase phase = state.containers[i].phase;
    const bool lives =
        phase == Phase::kStarting || phase == Phase::kRunning || phase == Phase::kFlushing;
    if (lives) return Answer(fds.reply(), EBUSY);
  }
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kCreating || c.phase == Phase::kCreated) {
      kill(c.pid, SIGKILL);
      waitpid(c.pid, nullptr, 0);  // SIGKILL of a gated process: nothing of it can block
    }
  }
  if (state.pod_init > 0) {
    kill(state.pod_init, SIGKILL);
    waitpid(state.pod_init, nullptr, 0);
  }
  unlinkat(state.state_dir, kKeeperSocketName, 0);
  Answer(fds.reply(), 0);
  _exit(0);
}

// ---- re-exec ----

template <typename Function>
void EachDescriptor(Function f) {
  int* const each3[] = {&state.state_dir,      &state.mount_namespace, &state.own_pidns,
                        &state.pod_init_pidfd, &state.listener,        &state.writer,
                        &state.writer_shared};
  for (int* fd : each3) {
    f(*fd);
  }
  for (int& fd : state.controls) f(fd);
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kFree) continue;
    int* const each4[] = {&c.pidfd, &c.status, &c.reply, &c.plan, &c.log, &c.out, &c.err, &c.in};
    for (int* fd : each4) f(*fd);
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid == 0) continue;
    int* const each5[] = {&e.pidfd, &e.status, &e.reply, &e.plan, &e.terminal};
    for (int* fd : each5) f(*fd);
  }
}

void SetCloexec(bool on) {
  EachDescriptor([on](int fd) {
    if (fd >= 0) fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
  });
}

bool WriteAll(int fd, const void* data, size_t size) {
  return size == 0 || write(fd, data, size) == static_cast<ssize_t>(size);
}

// The state and the reply socket's number.
int SaveState(int reply) {
  const int fd = memfd_create("berth-keeper-state", 0);
  if (fd < 0) return -1;
  state.magic = kKeeperMagic;
  state.version = kKeeperVersion;
  state.size = sizeof state;
  const bool good = WriteAll(fd, &state, sizeof state) && WriteAll(fd, &reply, sizeof reply);
  if (good && lseek(fd, 0, SEEK_SET) == 0) return fd;
  close(fd);
  return -1;
}

void OnReexec(Fds& fds, int program) {
  int saved = SaveState(fds.reply());
  if (saved < 0) {
    Answer(fds.reply(), errno);
    Close(program);
    return;
  }
  SetCloexec(false);
  fcntl(fds.reply(), F_SETFD, 0);
  char number[12];
  char* digit = number + sizeof number - 1;
  *digit = 0;
  for (int n = saved; n > 0; n /= 10) *--digit = static_cast<char>('0' + n % 10);
  const char* argv[] = {"berth-keeper", "--resume", digit, nullptr};
  const char* envp[] = {nullptr};
  syscall(__NR_execveat, program, "", argv, envp, AT_EMPTY_PATH);
  const int error = errno;
  SetCloexec(true);
  Close(saved);
  Close(program);
  Answer(fds.reply(), error);
}

bool ReadAll(int fd, void* data, size_t size) {
  return size == 0 || read(fd, data, size) == static_cast<ssize_t>(size);
}

bool RestoreState(int fd, int* reply) {
  if (!ReadAll(fd, &state, sizeof state) || state.magic != kKeeperMagic ||
      state.version != kKeeperVersion || state.size != sizeof state ||
      !ReadAll(fd, reply, sizeof *reply)) {
    return false;
  }
  close(fd);
  SetCloexec(true);
  if (state.writer_shared >= 0 && !MapShared()) return false;
  return true;
}

void WatchAll() {
  WatchFd(state.listener, Source::kListener, 0);
  if (state.writer >= 0) WatchFd(state.writer, Source::kWriter, 0);
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

// ---- the sockets ----

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

void OnOutput(uint32_t slot, int stream) {
  Container& c = state.containers[slot];
  int& fd = stream == 0 ? c.out : c.err;
  if (c.phase == Phase::kFree || fd < 0) return;
  char dropped[4096];
  const ssize_t n = read(fd, dropped, sizeof dropped);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) Close(fd);  // all writers are gone
}

void OnRequesterGone(uint32_t slot) {
  Exec& e = state.execs[slot];
  if (e.pid == 0 || e.reply < 0) return;
  char byte;
  if (recv(e.reply, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN) return;
  Close(e.reply);
  e.expired = true;
  KillExec(e);
}

void Handle(const struct epoll_event& event) {
  const uint32_t slot = static_cast<uint32_t>(event.data.u64);
  switch (static_cast<Source>(event.data.u64 >> 32)) {
    case Source::kSignals:
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
      return OnWriter();
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
  state.writer = state.writer_shared = -1;
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

int Resume(const char* number) {
  int fd = 0, reply = -1;
  for (; *number >= '0' && *number <= '9'; ++number) fd = fd * 10 + (*number - '0');
  prctl(PR_SET_NAME, "berth-keeper", 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // execve has set it
  if (!RestoreState(fd, &reply) || !OpenLoop()) return 1;
  fcntl(reply, F_SETFD, FD_CLOEXEC);
  WatchAll();
  Answer(reply, 0, nullptr, 0, getpid());
  ReapChildren();
  return 0;
}

}  // namespace

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

// Sealed, so that nothing changes between the check and the use.
const Plan* MapPlan(int fd) {
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
  struct stat st;
  if ((fcntl(fd, F_GET_SEALS) & kSeals) != kSeals || fstat(fd, &st) != 0) return nullptr;
  if (st.st_size < static_cast<off_t>(sizeof(Plan)) || st.st_size > kMaxPlanSize) return nullptr;
  void* map =
      mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (map == MAP_FAILED) return nullptr;
  if (ValidatePlan(map, static_cast<size_t>(st.st_size)) == nullptr)
    return static_cast<const Plan*>(map);
  munmap(map, static_cast<size_t>(st.st_size));
  return nullptr;
}

void UnmapPlan(const Plan* plan) {
  if (plan != nullptr) munmap(const_cast<Plan*>(plan), plan->size);
}

}  // namespace berth::keeper

int main(int argc, char** argv) {
  using namespace berth::keeper;
  const int rc = argc == 3 && strcmp(argv[1], "--resume") == 0 ? Resume(argv[2]) : Main();
  if (rc != 0) return rc;
  Loop();
}
