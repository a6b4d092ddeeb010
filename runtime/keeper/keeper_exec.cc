// Exec: a further process in a container, with a deadline, killed with all that it started.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

// A container that was put into another one's PID namespace, as debuggers are, may trace there.
bool HasJoiners() {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    const Container& c = state.containers[i];
    const bool lives = c.phase == Phase::kStarting || c.phase == Phase::kRunning;
    if (lives && c.pid_mode == PidMode::kTarget && (c.plan_flags & kPlanHop) != 0) return true;
  }
  return false;
}

// It has been cloned: its reports, its deadline and its requester count from here on.
void WatchExec(const KeeperRequest& r, Fds& fds, const Container& c, Exec& e, int pid) {
  e.pid = pid;
  e.container = static_cast<int32_t>(Slot(c));
  e.deadline_ns = r.deadline_ns;
  e.reply = fds.fd[0];
  fds.fd[0] = -1;
  WatchFd(e.status, Source::kExecStatus, Slot(e));
  WatchFd(e.reply, Source::kExecReply, Slot(e), EPOLLRDHUP);
  if (e.deadline_ns != 0) ArmTimer();
}

void ExecByDriver(const KeeperRequest& r, Fds& fds, const Container& c, Exec& e, const Plan* plan,
                  const ChildEnds& child) {
  const int pid = CloneDriver(*plan, child, &e.pidfd);
  UnmapPlan(plan);
  if (pid >= 0) return WatchExec(r, fds, c, e, pid);
  AnswerStep(fds.reply(), Step::kClone, -pid);
  FreeExec(e);
}

bool IsExternal(const Exec& e) {
  const Plan* plan = MapPlan(e.plan);
  const bool external = plan != nullptr && (plan->flags & kPlanExternal) != 0;
  UnmapPlan(plan);
  return external;
}

bool RequesterIsGone(const Exec& e) {
  char byte;
  return e.reply >= 0 && (recv(e.reply, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0 || errno != EAGAIN);
}

}  // namespace

void OnExec(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return AnswerStep(fds.reply(), Step::kSupervisor, ESRCH);
  if (c->phase != Phase::kRunning) return AnswerStep(fds.reply(), Step::kSupervisor, EALREADY);
  Exec* e = NewExec();
  if (e == nullptr) return AnswerStep(fds.reply(), Step::kSupervisor, EMFILE);
  e->plan = fds.Take();
  const Plan* plan = MapPlan(e->plan);
  if (plan == nullptr || (plan->flags & kPlanExec) == 0 || !FitsUserNamespace(*plan)) {
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

  if ((plan->flags & kPlanExternal) != 0) return ExecByDriver(r, fds, *c, *e, plan, child);
  ExecCgroup own = TakeExecCgroup(*c, *plan);
  e->number = own.number;
  int birth = own.directory >= 0 && own.v2 ? own.directory : OpenUnifiedCgroup(*plan);
  e->hop = state.user_namespace < 0 && plan->pid_mode != PidMode::kNode &&
           ((plan->flags & kPlanHop) != 0 || HasJoiners());
  const int pidns = e->hop || plan->pid_mode == PidMode::kNode ? -1 : c->pidfd;
  ExecutorInput input = InputFor(*plan, child);
  const int pid = CloneIntoNamespaceAndCgroup(pidns, 0, birth, &e->pidfd, &input.cgroup2_joined);
  if (pid == 0) {
    input.target = c->pidfd;
    input.hop = e->hop;
    input.exec_cgroup = own.directory;
    input.exec_cgroup_index = own.index;
    input.cgroup_files = own.files;
    Execute(input);
  }
  if (birth != own.directory) Close(birth);
  Close(own.directory);
  if (pid < 0) {
    if (e->number != 0) RemoveExecCgroup(*plan, e->number);
    AnswerStep(fds.reply(), Step::kClone, -pid);
    UnmapPlan(plan);
    return FreeExec(*e);
  }
  UnmapPlan(plan);
  WatchExec(r, fds, *c, *e, pid);
}

void KillExec(Exec& e) {
  if (IsExternal(e)) return KillTree(e.pid);
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

void OnRequesterGone(uint32_t slot) {
  Exec& e = state.execs[slot];
  if (e.pid == 0 || !RequesterIsGone(e)) return;
  Close(e.reply);
  e.expired = true;
  KillExec(e);
}

void OnExecExit(Exec& e, uint32_t code) {
  if (e.status >= 0) ReadReport(e);
  // Its input or its terminal may have ended with the requester, and so it itself, before that was heard of.
  if (RequesterIsGone(e)) e.expired = true;
  // Also what was being forked when it was killed.
  if (e.number != 0 && e.expired) {
    if (const Plan* plan = MapPlan(e.plan)) {
      KillExecCgroup(*plan, e.number);
      UnmapPlan(plan);
    }
  }
  const bool reusable = e.number != 0 && !e.expired;
  if (e.number != 0 && !(reusable && KeepExecCgroup(state.containers[e.container], e.number))) {
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

}  // namespace berth::keeper
