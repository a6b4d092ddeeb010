// One request to a keeper and its answer: what keeper_client.cc and keeper_exec.cc share.
#ifndef BERTH_RUNTIME_KEEPER_CALL_H_
#define BERTH_RUNTIME_KEEPER_CALL_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "base/unique_fd.h"
#include "runtime/keeper/protocol.h"
#include "runtime/keeper_client.h"

namespace berth {

struct Keeper::Request {
  KeeperRequest message{};
  int fds[kMaxRequestFds - 1];
  int fd_count = 0;

  Request(RequestType type, const std::string& id);
  void Attach(int fd, uint32_t flag) {
    fds[fd_count++] = fd;
    message.flags |= flag;
  }
};

struct Keeper::Reply {
  KeeperReply message;
  UniqueFd passed;
};

// Waits until `fd` is readable; false at the deadline.
bool WaitReadable(int fd, absl::Time deadline);
// A datagram and at most one descriptor. 0 bytes: end of file.
ssize_t ReceiveWithFd(int socket, void* data, size_t size, UniqueFd* passed, int flags);
absl::StatusOr<UniqueFd> SealedMemfd(const char* name, absl::string_view data);
absl::Status CheckPlan(absl::string_view plan, bool exec);
absl::Status CheckId(const ContainerId& id);
// An answer whose failure, if any, is about the request itself.
absl::Status RequestStatus(int error, const ContainerId& id);

}  // namespace berth

#endif  // BERTH_RUNTIME_KEEPER_CALL_H_
