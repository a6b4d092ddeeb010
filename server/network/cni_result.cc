#include "server/network/cni_result.h"

#include <arpa/inet.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/network/bounded_json.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr size_t kMostEntries = 256;

struct Address {
  std::string canonical;
  bool is_v6 = false;
};

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

// An address that a pod can have: neither unspecified, nor loopback, nor multicast.
bool IsHostAddress(const in_addr& address) {
  const uint32_t host = ntohl(address.s_addr);
  return host != 0 && host >> 24 != 127 && host >> 28 != 14;
}
bool IsHostAddress(const in6_addr& address) {
  return !IN6_IS_ADDR_UNSPECIFIED(&address) && !IN6_IS_ADDR_LOOPBACK(&address) &&
         !IN6_IS_ADDR_MULTICAST(&address);
}

bool IsIp(const std::string& text) {
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(AF_INET, text.c_str(), buffer) == 1 ||
         inet_pton(AF_INET6, text.c_str(), buffer) == 1;
}

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  char canonical[INET6_ADDRSTRLEN];
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1 && IsHostAddress(v4)) {
    inet_ntop(AF_INET, &v4, canonical, sizeof canonical);
    return Address{canonical, false};
  }
  in6_addr v6;
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IsHostAddress(v6)) {
    inet_ntop(AF_INET6, &v6, canonical, sizeof canonical);
    return Address{canonical, true};
  }
  return Bad(absl::StrCat("`", text, "` is not the address of a host"));
}

absl::StatusOr<Address> ParseCidr(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return Bad(absl::StrCat("`", text, "` has no prefix length"));
  ASSIGN_OR_RETURN(Address address, ParseAddress(text.substr(0, slash)));
  int prefix = 0;
  if (!absl::SimpleAtoi(text.substr(slash + 1), &prefix) || prefix < 0 ||
      prefix > (address.is_v6 ? 128 : 32)) {
    return Bad(absl::StrCat("`", text, "` has a bad prefix length"));
  }
  return address;
}

// The member `key`, an array of objects; null if missing.
absl::StatusOr<json> ObjectArray(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return json::array();
  if (!found->is_array() || found->size() > kMostEntries) {
    return Bad(absl::StrCat(key, ": not an array of at most ", kMostEntries, " entries"));
  }
  for (size_t i = 0; i < found->size(); ++i) {
    if (!(*found)[i].is_object()) return Bad(absl::StrCat(key, "[", i, "]: not an object"));
  }
  return *found;
}

absl::Status CheckUnsigned(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null() || found->is_number_unsigned()) {
    return absl::OkStatus();
  }
  return Bad(absl::StrCat(key, ": not an unsigned integer"));
}

absl::StatusOr<NetworkInterface> ParseInterface(const json& object) {
  NetworkInterface interface;
  ASSIGN_OR_RETURN(interface.name, JsonString(object, "name"));
  ASSIGN_OR_RETURN(interface.mac, JsonString(object, "mac"));
  ASSIGN_OR_RETURN(interface.sandbox, JsonString(object, "sandbox"));
  // Since 1.1.0. Nobody here needs them; the next plugin may.
  RETURN_IF_ERROR(CheckUnsigned(object, "mtu"));
  RETURN_IF_ERROR(JsonString(object, "socketPath").status());
  RETURN_IF_ERROR(JsonString(object, "pciID").status());
  return interface;
}

absl::Status CheckRoutes(const json& result) {
  ASSIGN_OR_RETURN(const json routes, ObjectArray(result, "routes"));
  for (size_t i = 0; i < routes.size(); ++i) {
    const std::string where = absl::StrCat("routes[", i, "]");
    for (const char* key : {"mtu", "advmss", "priority", "table", "scope"}) {  // since 1.1.0
      RETURN_IF_ERROR_WITH(CheckUnsigned(routes[i], key), where);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CniResult::Ip> ParseIp(json* object, size_t interfaces, CniVersion version) {
  CniResult::Ip ip;
  ASSIGN_OR_RETURN(const std::string cidr, JsonString(*object, "address"));
  ASSIGN_OR_RETURN_WITH(const Address address, ParseCidr(cidr), "address");
  ip.address = address.canonical;
  ASSIGN_OR_RETURN(const std::string gateway, JsonString(*object, "gateway"));
  if (!gateway.empty() && !IsIp(gateway)) {
    return Bad(absl::StrCat("gateway: `", gateway, "` is not an IP address"));
  }
  if (const auto index = object->find("interface"); index != object->end() && !index->is_null()) {
    if (!index->is_number_unsigned() || index->get<uint64_t>() >= interfaces) {
      return Bad("interface: not an index into interfaces");
    }
    ip.interface = index->get<uint64_t>();
  }
  // Only versions before 1.0.0 have the family here, and they require it.
  object->erase("version");
  if (version < CniVersion::k1_0_0) (*object)["version"] = address.is_v6 ? "6" : "4";
  return ip;
}

absl::StatusOr<DnsConfig> ParseDns(const json& result) {
  DnsConfig dns;
  const auto found = result.find("dns");
  if (found == result.end() || found->is_null()) return dns;
  if (!found->is_object()) return Bad("dns: not an object");
  ASSIGN_OR_RETURN_WITH(dns.servers, JsonStrings(*found, "nameservers", kMostEntries), "dns");
  ASSIGN_OR_RETURN_WITH(dns.searches, JsonStrings(*found, "search", kMostEntries), "dns");
  ASSIGN_OR_RETURN_WITH(dns.options, JsonStrings(*found, "options", kMostEntries), "dns");
  return dns;
}

absl::Status CheckVersion(const json& result) {
  ASSIGN_OR_RETURN(const std::string said, JsonString(result, "cniVersion"));
  if (said.empty()) return absl::OkStatus();
  return ParseCniVersion(said).status();
}

}  // namespace

absl::StatusOr<CniResult> ParseCniResult(absl::string_view text, CniVersion version) {
  CniResult result;
  ASSIGN_OR_RETURN(result.raw, ParseJsonObject(text));
  if (result.raw.contains("ip4") || result.raw.contains("ip6")) {
    return Bad("ip4, ip6: a result in the form of cniVersion 0.2.0 or older");
  }
  RETURN_IF_ERROR(CheckVersion(result.raw));
  ASSIGN_OR_RETURN(const json interfaces, ObjectArray(result.raw, "interfaces"));
  for (size_t i = 0; i < interfaces.size(); ++i) {
    ASSIGN_OR_RETURN_WITH(NetworkInterface interface, ParseInterface(interfaces[i]),
                          absl::StrCat("interfaces[", i, "]"));
    result.interfaces.push_back(std::move(interface));
  }
  ASSIGN_OR_RETURN(json ips, ObjectArray(result.raw, "ips"));
  for (size_t i = 0; i < ips.size(); ++i) {
    ASSIGN_OR_RETURN_WITH(CniResult::Ip ip, ParseIp(&ips[i], interfaces.size(), version),
                          absl::StrCat("ips[", i, "]"));
    result.ips.push_back(std::move(ip));
  }
  RETURN_IF_ERROR(CheckRoutes(result.raw));
  ASSIGN_OR_RETURN(result.dns, ParseDns(result.raw));
  if (!ips.empty()) result.raw["ips"] = std::move(ips);
  result.raw["cniVersion"] = std::string(CniVersionText(version));
  return result;
}

absl::StatusOr<std::vector<std::string>> PodIps(const CniResult& result,
                                                const std::string& interface) {
  std::vector<std::string> ips;
  std::vector<std::string> without_sandbox;
  for (const CniResult::Ip& ip : result.ips) {
    if (!ip.interface.has_value()) {
      ips.push_back(ip.address);
      continue;
    }
    const NetworkInterface& owner = result.interfaces[*ip.interface];
    if (owner.name != interface) continue;
    (owner.sandbox.empty() ? without_sandbox : ips).push_back(ip.address);
  }
  if (ips.empty()) ips = std::move(without_sandbox);
  if (ips.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("the result has no address for ", interface));
  }
  return ips;
}

}  // namespace berth
