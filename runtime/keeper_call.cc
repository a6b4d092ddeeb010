#include "runtime/keeper_call.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace berth {

Keeper::Request::Request(RequestType type, const std::string& id) {
  message.magic = kKeeperMagic;
  message.version = kKeeperVersion;
  message.type = type;
  std::strncpy(message.id, id.c_str(), sizeof message.id - 1);
}

bool WaitReadable(int fd, absl::Time deadline) {
  for (;;) {
    const absl::Duration left = deadline - absl::Now();
    const int64_t ms =
        deadline == absl::InfiniteFuture()
            ? -1
            : std::clamp<int64_t>(absl::ToInt64Milliseconds(left + absl::Microseconds(999)), 0,
                                  1 << 30);
    pollfd p{fd, POLLIN, 0};
    const int n = poll(&p, 1, static_cast<int>(ms));
    if (n > 0) return true;
    if (n == 0 && ms < (1 << 30)) return false;
  }
}

ssize_t ReceiveWithFd(int socket, void* data, size_t size, UniqueFd* passed, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec iov{data, size};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return n;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    passed->reset(fd);
  }
  return n;
}

absl::StatusOr<UniqueFd> SealedMemfd(const char* name, absl::string_view data) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus("memfd_create", name);
  for (size_t done = 0; done < data.size();) {
    const ssize_t n = write(fd.get(), data.data() + done, data.size() - done);
    if (n < 0) return ErrnoStatus("write", name);
    done += static_cast<size_t>(n);
  }
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return ErrnoStatus("seal", name);
  return fd;
}

absl::Status CheckPlan(absl::string_view plan, bool exec) {
  const bool aligned = reinterpret_cast<uintptr_t>(plan.data()) % 8 == 0;
  if (!aligned) return absl::InvalidArgumentError("plan: not aligned");
  if (const char* field = ValidatePlan(plan.data(), plan.size()))
    return absl::InvalidArgumentError(absl::StrCat("plan: invalid ", field));
  const bool is_exec = (reinterpret_cast<const Plan*>(plan.data())->flags & kPlanExec) != 0;
  if (is_exec != exec) return absl::InvalidArgumentError("plan: of the wrong kind");
  return absl::OkStatus();
}

absl::Status CheckId(const ContainerId& id) {
  char buffer[kKeeperIdSize] = {};
  if (id.str().size() < sizeof buffer) std::memcpy(buffer, id.str().data(), id.str().size());
  if (KeeperIdIsValid(buffer)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("invalid container id \"", id.str(), "\""));
}

absl::Status RequestStatus(int error, const ContainerId& id) {
  switch (error) {
    case 0:
      return absl::OkStatus();
    case ESRCH:
      return absl::NotFoundError(absl::StrCat("container ", id.str(), " is unknown to its keeper"));
    case EEXIST:
      return absl::AlreadyExistsError(absl::StrCat("container ", id.str(), " exists"));
    case EALREADY:
      return absl::FailedPreconditionError(
          absl::StrCat("container ", id.str(), " is in another state"));
    case EBUSY:
      return absl::FailedPreconditionError(absl::StrCat("container ", id.str(), " is running"));
    case ECHILD:
      return absl::UnavailableError(absl::StrCat("container ", id.str(), ": its process has died"));
    case ECANCELED:
      return absl::CancelledError(absl::StrCat("container ", id.str(), " is being removed"));
    case EPROTONOSUPPORT:
      return absl::FailedPreconditionError(
          "the keeper is of another version and must be re-executed");
    default:
      return ErrnoStatusOf(error, absl::StrCat("keeper of container ", id.str()));
  }
}

// SEQPACKET: a request is one message, so threads may send at the same time.
absl::StatusOr<UniqueFd> Keeper::Send(const Request& request) const {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  int fds[kMaxRequestFds] = {theirs.get()};
  std::copy_n(request.fds, request.fd_count, fds + 1);
  const size_t size = static_cast<size_t>(request.fd_count + 1) * sizeof(int);

  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  iovec iov{const_cast<KeeperRequest*>(&request.message), sizeof request.message};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(header), fds, size);
  ssize_t n;
  do n = sendmsg(control_.get(), &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
      return absl::UnavailableError(absl::StrCat("keeper of pod ", pod_.str(), " is gone"));
    return ErrnoStatus("send to the keeper of pod", pod_.str());
  }
  return ours;
}

absl::StatusOr<Keeper::Reply> Keeper::Call(const Request& request, absl::Time deadline) const {
  ASSIGN_OR_RETURN(UniqueFd socket, Send(request));
  if (!WaitReadable(socket.get(), deadline))
    return absl::DeadlineExceededError(
        absl::StrCat("keeper of pod ", pod_.str(), " did not answer in time"));
  absl::StatusOr<Reply> reply(absl::in_place);
  const ssize_t n =
      ReceiveWithFd(socket.get(), &reply->message, sizeof reply->message, &reply->passed, 0);
  if (n <= 0) return absl::UnavailableError(absl::StrCat("keeper of pod ", pod_.str(), " is gone"));
  if (!ReplyIsValid(reply->message, static_cast<size_t>(n)))
    return absl::InternalError(absl::StrCat("keeper of pod ", pod_.str(), ": malformed answer"));
  return reply;
}

}  // namespace berth
