// A machine of its own for a network test: fresh network and mount namespaces, an empty /run.
#ifndef BERTH_TESTS_NETWORK_SANDBOX_H_
#define BERTH_TESTS_NETWORK_SANDBOX_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace berth {

// Moves this process into new namespaces: from here on no bridge, route or iptables rule that it or
// a plugin makes touches the host, and all of it goes when the process ends. Call before any
// thread.
absl::Status EnterSandbox();

// A new network namespace, held by the descriptor.
absl::StatusOr<UniqueFd> NewNetns();

// The stdout of a program (looked up in /usr/sbin, /usr/bin, /sbin, /bin); an error if it fails or
// runs for more than 20 s.
absl::StatusOr<std::string> Output(const std::vector<std::string>& argv);

// Answers `answer` to one TCP connection to `port` in the namespace, in a thread. Listens when it
// returns.
class TcpAnswer {
 public:
  TcpAnswer(int netns_fd, int port, std::string answer);
  ~TcpAnswer();

 private:
  UniqueFd listener_;
  struct Thread;
  Thread* thread_;
};

// What a TCP peer says until it closes, from the namespace of the calling thread.
absl::StatusOr<std::string> TcpRead(const std::string& ip, int port);

}  // namespace berth

#endif  // BERTH_TESTS_NETWORK_SANDBOX_H_
