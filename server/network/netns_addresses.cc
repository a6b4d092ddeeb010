#include "server/network/netns_addresses.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sched.h>

#include <bit>
#include <cstdint>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

int PrefixLength(const uint8_t* mask, size_t size) {
  int length = 0;
  for (size_t i = 0; i < size; ++i) length += std::popcount(mask[i]);
  return length;
}

template <typename SocketAddress, typename Address>
std::string Cidr(const ifaddrs& entry, int family, Address SocketAddress::* member) {
  const Address& address = reinterpret_cast<const SocketAddress*>(entry.ifa_addr)->*member;
  const Address& mask = reinterpret_cast<const SocketAddress*>(entry.ifa_netmask)->*member;
  char text[INET6_ADDRSTRLEN];
  inet_ntop(family, &address, text, sizeof text);
  return absl::StrCat(text, "/",
                      PrefixLength(reinterpret_cast<const uint8_t*>(&mask), sizeof mask));
}

bool IsLinkLocal(const ifaddrs& entry) {
  return IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(entry.ifa_addr)->sin6_addr);
}

// To be run in a thread that ends after it: it stays in the namespace.
absl::StatusOr<std::vector<std::string>> JoinAndList(int netns_fd, const std::string& interface) {
  if (setns(netns_fd, CLONE_NEWNET) != 0) return ErrnoStatus("setns");
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return ErrnoStatus("getifaddrs");
  absl::Cleanup free_all = [all] { freeifaddrs(all); };
  std::vector<std::string> addresses;
  for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
    if (interface != entry->ifa_name || entry->ifa_addr == nullptr ||
        entry->ifa_netmask == nullptr) {
      continue;
    }
    if (entry->ifa_addr->sa_family == AF_INET) {
      addresses.push_back(Cidr(*entry, AF_INET, &sockaddr_in::sin_addr));
    } else if (entry->ifa_addr->sa_family == AF_INET6 && !IsLinkLocal(*entry)) {
      addresses.push_back(Cidr(*entry, AF_INET6, &sockaddr_in6::sin6_addr));
    }
  }
  return addresses;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> NetnsAddresses(const std::string& netns_path,
                                                        const std::string& interface) {
  ASSIGN_OR_RETURN(const UniqueFd netns, OpenFile(netns_path, O_RDONLY));
  absl::StatusOr<std::vector<std::string>> addresses = std::vector<std::string>();
  std::thread([&] { addresses = JoinAndList(netns.get(), interface); }).join();
  if (!addresses.ok()) {
    return Annotate(addresses.status(),
                    absl::StrCat("addresses of ", interface, " in ", netns_path));
  }
  return addresses;
}

}  // namespace berth
