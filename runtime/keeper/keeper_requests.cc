// Requests that need no more than a few lines: Signal, Forget, List, Shutdown.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {

void OnSignal(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return Answer(fds.reply(), ESRCH);
  if (c->phase >= Phase::kFlushing) return Answer(fds.reply(), EALREADY);
  const bool sent = syscall(__NR_pidfd_send_signal, c->pidfd, r.value, nullptr, 0) == 0;
  Answer(fds.reply(), sent ? 0 : errno == ESRCH ? EALREADY : errno);
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
      if (c.leader != 0) kill(c.leader, SIGKILL);
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

}  // namespace berth::keeper
