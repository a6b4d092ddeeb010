// Create and Start: a process up to its gate, and the gate.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

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
// With a user namespace nobody can trace (executor_userns.h).
bool NeedsHop(const Plan& plan) {
  if ((plan.flags & kPlanHop) == 0 || plan.pid_mode == PidMode::kNode) return false;
  if (state.user_namespace >= 0) return false;
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

bool MakeChannels(Container& c, ChildEnds* child, bool hold_stdin) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
  c.status = pair[0];
  child->status = pair[1];
  if ((c.plan_flags & kPlanTerminal) != 0) return true;  // comes from the container
  return MakePipe(&c.out, &child->stdio[1], true) && MakePipe(&c.err, &child->stdio[2], true) &&
         (!hold_stdin || MakePipe(&child->stdio[0], &c.in, false));
}

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

// EBUSY and EOPNOTSUPP: the container made an inner node of it, or its domain is invalid; EINVAL: a kernel
// before 5.7. Then the child joins by itself.
bool RetryWithoutCgroup(int error) {
  return error == -EBUSY || error == -EOPNOTSUPP || error == -EINVAL || error == -EACCES;
}

int CloneContainer(Container& c, const Plan& plan, const ChildEnds& child) {
  if ((plan.flags & kPlanExternal) != 0) {
    return CloneDriver(plan, child, &c.pidfd);
  }
  int error;
  const int pidns = PidNamespaceOf(plan, &error);
  if (error != 0) return -error;
  // With a user namespace the child makes its PID namespace when it is in there.
  const bool new_pid = plan.pid_mode == PidMode::kOwn && state.user_namespace < 0;
  const uint64_t flags = (new_pid ? CLONE_NEWPID : 0) |
                         ((plan.flags & kPlanNewNet) ? CLONE_NEWNET : 0) |
                         ((plan.flags & kPlanNewIpc) ? CLONE_NEWIPC : 0) |
                         ((plan.flags & kPlanNewUts) ? CLONE_NEWUTS : 0);
  const bool hop = NeedsHop(plan);
  const int enter = hop ? -1 : pidns;
  int cgroup = OpenUnifiedCgroup(plan);
  ExecutorInput input = InputFor(plan, child);
  const int pid =
      CloneIntoNamespaceAndCgroup(enter, flags, cgroup, &c.pidfd, &input.cgroup2_joined);
  if (pid == 0) {
    input.hop = hop;
    if (hop) input.target = pidns;
    input.mount_namespace = state.mount_namespace;
    Execute(input);
  }
  Close(cgroup);
  return pid;
}

}  // namespace

int CloneDriver(const Plan& plan, const ChildEnds& child, int* pidfd) {
  ExecutorInput input = InputFor(plan, child);
  input.mount_namespace = state.mount_namespace;
  const int pid = CloneProcess(0, -1, pidfd);
  if (pid == 0) Execute(input);
  return pid;
}

int OpenUnifiedCgroup(const Plan& plan) {
  const PlanCgroup* groups = PlanTable(plan, plan.cgroups);
  for (uint32_t i = 0; i < plan.cgroups.count; ++i) {
    if ((groups[i].flags & kCgroupV2) != 0)
      return open(PlanString(plan, groups[i].path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  return -1;
}

int CloneIntoNamespaceAndCgroup(int pidns_pidfd, uint64_t flags, int cgroup, int* pidfd,
                                bool* joined) {
  *joined = cgroup >= 0;
  const int pid = CloneIntoPidNamespace(pidns_pidfd, flags, cgroup, pidfd);
  if (cgroup < 0 || !RetryWithoutCgroup(pid)) return pid;
  *joined = false;
  return CloneIntoPidNamespace(pidns_pidfd, flags, -1, pidfd);
}

ExecutorInput InputFor(const Plan& plan, const ChildEnds& child) {
  ExecutorInput input;
  input.plan = &plan;
  input.status = child.status;
  memcpy(input.stdio, child.stdio, sizeof input.stdio);
  input.user_namespace = state.user_namespace;
  input.bounding = state.bounding;
  input.nofile_soft = state.nofile_soft;
  return input;
}

bool FitsUserNamespace(const Plan& plan) {
  return PlanHasUserNamespace(plan) == (state.user_namespace >= 0);
}

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
  if (plan == nullptr || (plan->flags & kPlanExec) != 0 || !FitsUserNamespace(*plan)) {
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

}  // namespace berth::keeper
