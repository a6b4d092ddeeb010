// An interface that an attachment has made.
#ifndef BERTH_SERVER_NETWORK_NETWORK_INTERFACE_H_
#define BERTH_SERVER_NETWORK_NETWORK_INTERFACE_H_

#include <string>

namespace berth {

struct NetworkInterface {
  std::string name;
  std::string mac;
  // The namespace it is in; empty for the host's.
  std::string sandbox;
};

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_NETWORK_INTERFACE_H_
