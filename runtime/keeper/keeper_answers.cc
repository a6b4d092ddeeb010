// Messages to the daemon: answers on reply sockets, events on control connections.
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/keeper/keeper.h"

namespace berth::keeper {

bool SendWithFds(int socket, const void* data, size_t size, const int* fds, int count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(int);
  struct iovec iov = {const_cast<void*>(data), size};
  alignas(struct cmsghdr) char control[CMSG_SPACE(kMostSentFds * sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(header), fds, bytes);
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

void SendReply(int fd, const KeeperReply& reply, int pass) {
  SendWithFds(fd, &reply, offsetof(KeeperReply, groups) + reply.group_count * sizeof(uint32_t),
              &pass, pass >= 0 ? 1 : 0);
}

void InitReply(KeeperReply* reply, ReplyKind kind, int error) {
  memset(reply, 0, offsetof(KeeperReply, groups));
  reply->magic = kKeeperMagic;
  reply->version = kKeeperVersion;
  reply->kind = kind;
  reply->error = error;
}

void Answer(int& fd, int error, const Failure* failure, uint32_t exit_code, int32_t pid) {
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

}  // namespace berth::keeper
