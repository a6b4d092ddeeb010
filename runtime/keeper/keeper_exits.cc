// What follows the end of a process: the rest of its output, its record, the news of it.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

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
  const bool complete = LogIsComplete(c);
  const bool sent = FlushLog(c);
  if (complete || !sent) return FinishExit(c, !complete || LogIsLost(c));
  c.phase = Phase::kFlushing;
  c.flush_deadline_ns = MonotonicNs() + kFlushNs;
  ArmTimer();
}

// A hop's passenger starts when the report about it has been sent, so that is heard before its end.
void ReadHops() {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    const bool hops = (c.phase == Phase::kStarting && (c.plan_flags & kPlanHop) != 0) ||
                      (c.phase == Phase::kCreating && HopsAtCreation(c));
    if (hops && c.status >= 0) ReadReport(c);
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid != 0 && e.hop && e.status >= 0) ReadReport(e);
  }
}

// While its zombie tells whether it ever executed its program.
void ReadLastReport(int pid) {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kStarting && c.pid == pid && c.status >= 0) ReadReport(c);
  }
}

// True when both the main process and the leader of its hop, if there was one, have ended.
template <typename Entry>
bool BothEnded(Entry& entry, int pid, int status) {
  if (entry.pid == pid && entry.over == 0) entry.over = 1 + status;
  if (entry.leader == pid) entry.leader = 0;
  return entry.over != 0 && entry.leader == 0;
}

// Nobody is left who could start an external runtime's container.
void LoseDriver(const Container& c) {
  if ((c.plan_flags & kPlanExternal) != 0)
    syscall(__NR_pidfd_send_signal, c.pidfd, SIGKILL, nullptr, 0);
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
    if (BothEnded(c, pid, status))
      OnContainerExit(c, code(c.over - 1), signal(c.over - 1));
    else if (c.leader == 0 && c.phase <= Phase::kCreated)
      LoseDriver(c);
    return;
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid == 0 || (e.pid != pid && e.leader != pid)) continue;
    if (BothEnded(e, pid, status)) OnExecExit(e, code(e.over - 1));
    return;
  }
  if (pid == state.pod_init) state.pod_init = 0;
  OnWriterDeath(pid);
}

}  // namespace

void RemoveExitRecord(const char* id) {
  char name[kKeeperIdSize + 16];
  RecordName(name, id);
  unlinkat(state.state_dir, name, 0);
}

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

// What still comes is written late, if at all.
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

void ReapChildren() {
  for (;;) {
    siginfo_t ended;
    ended.si_pid = 0;
    if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
    ReadLastReport(ended.si_pid);
    int status;
    const int pid = waitpid(ended.si_pid, &status, WNOHANG);
    if (pid <= 0) return;
    OnChild(pid, status);
  }
}

}  // namespace berth::keeper
