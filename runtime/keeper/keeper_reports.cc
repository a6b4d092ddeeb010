// What a child reports on its way to execve.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

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

// The status socket closes at execve, and also when the process dies on its way there. Who ends (PF_EXITING)
// and has never executed anything (PF_FORKNOEXEC) has done that, as its zombie tells, too (include/linux/sched.h;
// field 9 of /proc/PID/stat). One that is just executing may still carry the second: after a hop the
// socket closes in the midst of execve. False if it can't be told.
bool DiedBeforeExecve(int pid) {
  constexpr uint32_t kExiting = 0x4, kForkNoExec = 0x40;
  char path[32], text[512];
  Append(AppendNumber(Append(path, "/proc/"), static_cast<uint32_t>(pid)), "/stat");
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  const char* field = strrchr(text, ')');  // the name before it may be anything
  for (int i = 2; i < 9 && field != nullptr; ++i) field = strchr(field + 1, ' ');
  if (field == nullptr) return false;
  uint32_t flags = 0;
  for (++field; *field >= '0' && *field <= '9'; ++field)
    flags = flags * 10 + static_cast<uint32_t>(*field - '0');
  return (flags & kExiting) != 0 && (flags & kForkNoExec) != 0;
}

void OnStarted(Container& c) {
  Close(c.status);
  if (c.phase != Phase::kStarting || c.start_error != 0) return;  // its exit answers
  if (DiedBeforeExecve(c.pid)) return;                            // so does its death
  c.phase = Phase::kRunning;
  c.started_ns = RealtimeNs();
  Answer(c.reply, 0, nullptr, 0, c.pid);
}

}  // namespace

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
    // At the start into a PID namespace, at creation into a user namespace or to what a runtime has made.
    if (kind == ReportKind::kHopped &&
        (c.phase == Phase::kStarting || (c.phase == Phase::kCreating && HopsAtCreation(c)))) {
      OnHopped(c, report, passed);
      // Whoever was told to go may be gone already.
      if (c.forgetting) syscall(__NR_pidfd_send_signal, c.pidfd, SIGKILL, nullptr, 0);
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

}  // namespace berth::keeper
