#include "base/ids.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdlib>

namespace berth {

std::string RandomHexId() {
  std::array<unsigned char, 32> bytes;
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = getrandom(bytes.data() + filled, bytes.size() - filled, 0);
    if (got < 0 && errno != EINTR) abort();  // getrandom fails only for a bad pointer or flag
    if (got > 0) filled += static_cast<size_t>(got);
  }
  constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  id.reserve(64);
  for (const unsigned char byte : bytes) {
    id.push_back(kHex[byte >> 4]);
    id.push_back(kHex[byte & 15]);
  }
  return id;
}

PodId NewPodId() { return PodId(RandomHexId()); }
ContainerId NewContainerId() { return ContainerId(RandomHexId()); }

}  // namespace berth
