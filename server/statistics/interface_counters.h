// The counters of a network namespace's interfaces, from /proc/PID/net/dev.
//
// That file needs no lock of the network stack (netlink dumps take the RTNL mutex on many kernels, and
// wait there for whoever sets up a pod), and an open descriptor of it goes on telling of its
// namespace, whatever became of the process. It also holds the namespace: close it with the pod.
#ifndef BERTH_SERVER_STATISTICS_INTERFACE_COUNTERS_H_
#define BERTH_SERVER_STATISTICS_INTERFACE_COUNTERS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace berth {

struct InterfaceCounters {
  std::string name;
  uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
  uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;
};

// What /proc/net/dev says, without `lo`, in its order. Lines that aren't as proc_net(5) has them are
// left out.
std::vector<InterfaceCounters> ParseInterfaceCounters(absl::string_view text);

// The network namespace of one process. Thread-safe.
class NetworkReader {
 public:
  // Reads nothing, for ever, if there is no such process.
  explicit NetworkReader(pid_t pid);
  std::vector<InterfaceCounters> Read() const;

 private:
  UniqueFd file_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STATISTICS_INTERFACE_COUNTERS_H_
