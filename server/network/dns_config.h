// A resolver's configuration (CRI DNSConfig; the dns object of CNI).
#ifndef BERTH_SERVER_NETWORK_DNS_CONFIG_H_
#define BERTH_SERVER_NETWORK_DNS_CONFIG_H_

#include <string>
#include <vector>

namespace berth {

struct DnsConfig {
  std::vector<std::string> servers;
  std::vector<std::string> searches;
  std::vector<std::string> options;

  bool empty() const { return servers.empty() && searches.empty() && options.empty(); }
};

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_DNS_CONFIG_H_
