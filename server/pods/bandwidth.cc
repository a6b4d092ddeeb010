#include "server/pods/bandwidth.h"

#include <algorithm>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr uint64_t kLargestQuantity = 1000000000000000000;  // 10^18
constexpr uint64_t kLeastRate = 1000;
constexpr uint64_t kMostRate = 1000000000000000;  // 10^15
// In bits; what containerd gives: the largest burst that is accepted everywhere.
constexpr uint64_t kBurst = UINT32_MAX;

// What a suffix multiplies with: a power of ten, or of two (k8s.io/apimachinery, "resource").
struct Suffix {
  absl::string_view text;
  int tens;
  int twos;
};
constexpr Suffix kSuffixes[] = {{"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},
                                {"k", 3, 0},   {"M", 6, 0},   {"G", 9, 0},   {"T", 12, 0},
                                {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
                                {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60}};

absl::StatusOr<Suffix> SuffixOf(absl::string_view text) {
  for (const Suffix& suffix : kSuffixes) {
    if (text == suffix.text) return suffix;
  }
  int exponent = 0;
  if ((text[0] == 'e' || text[0] == 'E') && absl::SimpleAtoi(text.substr(1), &exponent) &&
      exponent >= -18 && exponent <= 18) {
    return Suffix{text, exponent, 0};
  }
  return absl::InvalidArgumentError("not a quantity");
}

}  // namespace

absl::StatusOr<uint64_t> ParseQuantity(absl::string_view text) {
  constexpr size_t kMostDigits = 18;
  uint64_t digits = 0;
  size_t count = 0;
  int fraction = 0;
  bool point = false;
  size_t i = !text.empty() && text[0] == '+' ? 1 : 0;
  for (; i < text.size() && (absl::ascii_isdigit(text[i]) || (text[i] == '.' && !point)); ++i) {
    if (text[i] == '.') {
      point = true;
      continue;
    }
    if (++count > kMostDigits) return absl::InvalidArgumentError("not a quantity");
    digits = digits * 10 + static_cast<uint64_t>(text[i] - '0');
    if (point) ++fraction;
  }
  if (count == 0) return absl::InvalidArgumentError("not a quantity");
  ASSIGN_OR_RETURN(const Suffix suffix, SuffixOf(text.substr(i)));
  // Below 2^60 and times 2^60 at most: it fits.
  absl::uint128 value = absl::uint128(digits) << suffix.twos;
  int tens = suffix.tens - fraction;
  for (; tens > 0 && value <= kLargestQuantity; --tens) value *= 10;
  for (; tens < 0 && value > 0; ++tens) value = (value + 9) / 10;
  if (value > kLargestQuantity) return absl::InvalidArgumentError("too large");
  return static_cast<uint64_t>(value);
}

absl::StatusOr<std::optional<BandwidthLimit>> BandwidthOf(
    const std::map<std::string, std::string>& annotations) {
  BandwidthLimit limit;
  const struct {
    const char* annotation;
    uint64_t* rate;
    uint64_t* burst;
  } directions[] = {{"kubernetes.io/ingress-bandwidth", &limit.ingress_rate, &limit.ingress_burst},
                    {"kubernetes.io/egress-bandwidth", &limit.egress_rate, &limit.egress_burst}};
  bool any = false;
  for (const auto& direction : directions) {
    const auto found = annotations.find(direction.annotation);
    if (found == annotations.end()) continue;
    const std::string field = absl::StrCat("config.annotations[", direction.annotation, "]");
    ASSIGN_OR_RETURN_WITH(*direction.rate, ParseQuantity(found->second), field);
    if (*direction.rate < kLeastRate || *direction.rate > kMostRate) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": `", found->second, "` is not between 1k and 1P bits per second"));
    }
    *direction.burst = kBurst;
    any = true;
  }
  if (!any) return std::optional<BandwidthLimit>();
  return std::make_optional(limit);
}

}  // namespace berth
