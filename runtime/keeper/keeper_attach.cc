// Attach: a client's socket goes to the log writer, stdin or the terminal to the client.
//
// The keeper is not in the data path, and forgets the client: berthd writes to the pipe or terminal itself,
// and the writer sees when the socket's other end has gone. So a client outlives nothing but berthd.
#include <errno.h>

#include "runtime/keeper/keeper.h"

namespace berth::keeper {

void OnAttach(const KeeperRequest& r, Fds& fds) {
  Container* c = FindContainer(r.id);
  if (c == nullptr) return Answer(fds.reply(), ESRCH);
  if (c->phase != Phase::kRunning) return Answer(fds.reply(), EALREADY);
  // A container that closed its output before anybody listened has no writer; its client hears the end.
  if (GiveOutputToWriter(*c) && !SendAttach(*c, fds.fd[1])) return Answer(fds.reply(), errno);
  const bool terminal = (c->plan_flags & kPlanTerminal) != 0;
  const bool wants_stdin = (r.flags & kWantsStdin) != 0;
  KeeperReply reply;
  InitReply(&reply, ReplyKind::kDone, 0);
  reply.state = terminal ? 1 : 0;
  SendReply(fds.reply(), reply, terminal ? c->out : wants_stdin ? c->in : -1);
  Close(fds.reply());
  // Then the end of the client is the end of the pipe, even if berthd dies with it.
  if (wants_stdin && !terminal && (c->plan_flags & kPlanStdinOnce) != 0) Close(c->in);
}

}  // namespace berth::keeper
