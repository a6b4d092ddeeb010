#include "server/notify/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

absl::Status Send(const std::string& message) {
  const char* path = getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return absl::OkStatus();
  sockaddr_un address{.sun_family = AF_UNIX};
  const size_t length = strlen(path);
  // A path, or @NAME for an abstract socket.
  if ((path[0] != '/' && path[0] != '@') || length >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("NOTIFY_SOCKET ", path, " is no socket"));
  }
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus("socket");
  const socklen_t address_size = offsetof(sockaddr_un, sun_path) + length + (path[0] == '/');
  // A full queue of the service manager must not hold the daemon up.
  if (sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
             reinterpret_cast<sockaddr*>(&address), address_size) < 0) {
    return ErrnoStatus("notify", path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status NotifyReady() { return Send("READY=1"); }

absl::Status NotifyStopping() { return Send("STOPPING=1"); }

absl::Status NotifyReloading() {
  timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return ErrnoStatus("clock_gettime");
  return Send(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=",
                           int64_t{now.tv_sec} * 1000000 + now.tv_nsec / 1000));
}

absl::Status NotifyStatus(absl::string_view text) {
  if (std::any_of(text.begin(), text.end(),
                  [](unsigned char c) { return absl::ascii_iscntrl(c); })) {
    return absl::InvalidArgumentError("a status for the service manager has a control character");
  }
  return Send(absl::StrCat("STATUS=", text));
}

}  // namespace berth
