// The addresses that an interface inside a network namespace has.
#ifndef BERTH_SERVER_NETWORK_NETNS_ADDRESSES_H_
#define BERTH_SERVER_NETWORK_NETNS_ADDRESSES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace berth {

// In CIDR form, without IPv6 link-local ones; empty if there is no such interface. Works in a
// short-lived thread that joins the namespace.
absl::StatusOr<std::vector<std::string>> NetnsAddresses(const std::string& netns_path,
                                                        const std::string& interface);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_NETNS_ADDRESSES_H_
