#include "tests/network/sandbox.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "server/network/netns.h"

namespace berth {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

sockaddr_in AddressOf(const std::string& ip, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return address;
}

absl::StatusOr<UniqueFd> Listen(int netns_fd, int port) {
  absl::StatusOr<UniqueFd> listener = absl::UnknownError("not run");
  std::thread([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      listener = ErrnoStatus("setns");
      return;
    }
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = AddressOf("0.0.0.0", port);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(fd.get(), 8) != 0) {
      listener = ErrnoStatus("listen");
      return;
    }
    listener = std::move(fd);
  }).join();
  return listener;
}

}  // namespace

absl::Status EnterSandbox() {
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) return ErrnoStatus("unshare");
  if (mount("", "/", "none", MS_REC | MS_PRIVATE, nullptr) != 0)
    return ErrnoStatus("make private /");
  if (mount("run", "/run", "tmpfs", MS_NOSUID, "mode=755") != 0) return ErrnoStatus("mount /run");
  ASSIGN_OR_RETURN(const UniqueFd own, OpenFile("/proc/self/ns/net", O_RDONLY));
  return BringLoopbackUp(own.get());
}

absl::StatusOr<UniqueFd> NewNetns() {
  absl::StatusOr<UniqueFd> netns = absl::UnknownError("not run");
  std::thread([&netns] {
    if (unshare(CLONE_NEWNET) != 0) {
      netns = ErrnoStatus("unshare");
    } else {
      netns = OpenFile("/proc/thread-self/ns/net", O_RDONLY);
    }
  }).join();
  return netns;
}

absl::StatusOr<std::string> Output(const std::vector<std::string>& argv) {
  SubprocessOptions options;
  options.argv = argv;
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  for (const char* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
    options.argv[0] = absl::StrCat(directory, argv[0]);
    if (access(options.argv[0].c_str(), X_OK) == 0) break;
  }
  ASSIGN_OR_RETURN(SubprocessResult result, RunSubprocess(options, absl::Now() + kPatience));
  if (result.exit_code == 0) return std::move(result.stdout_data);
  return absl::InternalError(absl::StrCat(absl::StrJoin(argv, " "), ": exit code ",
                                          result.exit_code, ": ", result.stdout_data,
                                          result.stderr_tail));
}

struct TcpAnswer::Thread {
  std::thread thread;
};

TcpAnswer::TcpAnswer(int netns_fd, int port, std::string answer) : thread_(new Thread) {
  absl::StatusOr<UniqueFd> listener = Listen(netns_fd, port);
  if (!listener.ok()) return;
  listener_ = *std::move(listener);
  thread_->thread = std::thread([fd = listener_.get(), answer = std::move(answer)] {
    while (true) {
      const UniqueFd peer(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer) return;
      (void)WriteFd(peer.get(), answer);
    }
  });
}

TcpAnswer::~TcpAnswer() {
  shutdown(listener_.get(), SHUT_RDWR);  // Ends accept.
  if (thread_->thread.joinable()) thread_->thread.join();
  delete thread_;
}

absl::StatusOr<std::string> TcpRead(const std::string& ip, int port) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience = {.tv_sec = 5};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const sockaddr_in address = AddressOf(ip, port);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoStatus("connect", absl::StrCat(ip, ":", port));
  }
  return ReadFd(fd.get(), 4096);
}

}  // namespace berth
