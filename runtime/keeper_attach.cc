// Attaching to a container's streams.
#include <sys/socket.h>

#include <utility>

#include "base/status.h"
#include "runtime/keeper_call.h"

namespace berth {
namespace {

// What the log writer may be ahead of this process before a client is cut off. More than the default
// limit needs CAP_NET_ADMIN.
constexpr int kOutputBuffer = 2 << 20;

}  // namespace

absl::StatusOr<Keeper::Attachment> Keeper::Attach(const ContainerId& id, bool wants_stdin,
                                                  absl::Time deadline) {
  RETURN_IF_ERROR(CheckId(id));
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  Attachment attachment;
  attachment.output.reset(pair[0]);
  const UniqueFd theirs(pair[1]);
  if (setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kOutputBuffer, sizeof kOutputBuffer) !=
      0) {
    setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &kOutputBuffer, sizeof kOutputBuffer);
  }
  Request request(RequestType::kAttach, id.str());
  request.Attach(theirs.get(), 0);
  if (wants_stdin) request.message.flags |= kWantsStdin;
  ASSIGN_OR_RETURN(Reply reply, Call(request, deadline));
  RETURN_IF_ERROR(RequestStatus(reply.message.error, id));
  if (reply.message.state == 1) {
    attachment.terminal = std::move(reply.passed);
  } else {
    attachment.in = std::move(reply.passed);
  }
  return attachment;
}

}  // namespace berth
