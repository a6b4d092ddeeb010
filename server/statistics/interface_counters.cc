#include "server/statistics/interface_counters.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth {
namespace {

// proc_net(5): eight numbers received, eight transmitted.
constexpr size_t kNumbers = 16;
constexpr size_t kMostBytes = 1 << 20;

bool ParseLine(absl::string_view line, InterfaceCounters* out) {
  const size_t colon = line.rfind(':');
  if (colon == absl::string_view::npos) return false;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(line.substr(colon + 1), ' ', absl::SkipEmpty());
  if (fields.size() < kNumbers) return false;
  uint64_t numbers[kNumbers];
  for (size_t i = 0; i < kNumbers; ++i) {
    if (!absl::SimpleAtoi(fields[i], &numbers[i])) return false;
  }
  // A pod names its interfaces: any bytes but blanks, '/' and ':'. One that is no UTF-8 would make the whole
  // answer unreadable. Ordinary names stay as they are.
  out->name = absl::CHexEscape(absl::StripAsciiWhitespace(line.substr(0, colon)));
  uint64_t* const into[] = {&out->rx_bytes, &out->rx_packets, &out->rx_errors, &out->rx_dropped,
                            &out->tx_bytes, &out->tx_packets, &out->tx_errors, &out->tx_dropped};
  for (size_t i = 0; i < std::size(into); ++i) *into[i] = numbers[i < 4 ? i : i + 4];
  return true;
}

}  // namespace

std::vector<InterfaceCounters> ParseInterfaceCounters(absl::string_view text) {
  std::vector<InterfaceCounters> interfaces;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    InterfaceCounters counters;
    if (ParseLine(line, &counters) && counters.name != "lo") {
      interfaces.push_back(std::move(counters));
    }
  }
  return interfaces;
}

NetworkReader::NetworkReader(pid_t pid)
    : file_(open(absl::StrCat("/proc/", pid, "/net/dev").c_str(), O_RDONLY | O_CLOEXEC)) {}

std::vector<InterfaceCounters> NetworkReader::Read() const {
  if (!file_) return {};
  std::string text;
  char buffer[8192];
  while (text.size() < kMostBytes) {
    const ssize_t n = pread(file_.get(), buffer, sizeof buffer, static_cast<off_t>(text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  return ParseInterfaceCounters(text);
}

}  // namespace berth
