// What a CNI plugin prints for ADD (CNI specification, "Section 5: Result Types").
#ifndef BERTH_SERVER_NETWORK_CNI_RESULT_H_
#define BERTH_SERVER_NETWORK_CNI_RESULT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/network/cni_config.h"
#include "server/network/dns_config.h"
#include "server/network/network_interface.h"

namespace berth {

struct CniResult {
  struct Ip {
    // Canonical, without the prefix length.
    std::string address;
    // An index into `interfaces`.
    std::optional<size_t> interface;
  };
  std::vector<NetworkInterface> interfaces;
  std::vector<Ip> ips;
  DnsConfig dns;
  // The whole result in the form of the version asked for, to be the next plugin's prevResult.
  nlohmann::json raw;
};

// InvalidArgument names the field: types, addresses, prefix lengths, indexes and counts are
// checked. A result without ips or interfaces is fine here. One that says another served version is
// taken and converted; the form of 0.1.0 and 0.2.0 (ip4, ip6) is refused.
absl::StatusOr<CniResult> ParseCniResult(absl::string_view text, CniVersion version);

// The addresses of the pod's interface, in the order of the result: those tied to an interface
// named `interface` in a sandbox, and those tied to none. A plugin that calls others tells of more
// interfaces (net1, the host's ends), which are left out. Only if nothing else is left, those of an
// interface of that name without a sandbox: some plugins forget it, but the host may have an eth0.
// FailedPrecondition if there is no such address.
absl::StatusOr<std::vector<std::string>> PodIps(const CniResult& result,
                                                const std::string& interface);

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_RESULT_H_
