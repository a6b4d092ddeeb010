#include "runtime/unit_properties.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr uint64_t kInfinity = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kUsPerSecond = 1'000'000;
// systemd keeps a quota as a percentage: it is rounded up to one, so that the delegated cgroup's own quota,
// which is exact, is the one that counts.
constexpr uint64_t kQuotaStep = kUsPerSecond / 100;
constexpr uint64_t kDefaultPeriod = 100'000;
constexpr uint32_t kMaxCpu = 8192;

uint64_t LimitOf(int64_t value) { return value < 0 ? kInfinity : static_cast<uint64_t>(value); }

uint64_t QuotaPerSecond(const CgroupResources& r) {
  if (*r.cpu_quota <= 0) return kInfinity;
  const uint64_t quota = static_cast<uint64_t>(*r.cpu_quota);
  const uint64_t period = std::max<uint64_t>(r.cpu_period.value_or(kDefaultPeriod), 1);
  if (quota >= kInfinity / kUsPerSecond / 4) return kInfinity;
  const uint64_t per_second = (quota * kUsPerSecond + period - 1) / period;
  return (per_second + kQuotaStep - 1) / kQuotaStep * kQuotaStep;
}

// What OCI's `unified` sets, where a property says the same: else the next daemon-reload would undo it in the
// unit's own cgroup.
void AppendUnified(const CgroupResources& r, UnitProperties* out) {
  static constexpr std::pair<const char*, const char*> kSame[] = {
      {"memory.min", "MemoryMin"},   {"memory.low", "MemoryLow"},
      {"memory.high", "MemoryHigh"}, {"memory.max", "MemoryMax"},
      {"pids.max", "TasksMax"},      {"memory.swap.max", "MemorySwapMax"},
      {"cpu.weight", "CPUWeight"},
  };
  for (const auto& [file, property] : kSame) {
    const auto found = r.unified.find(file);
    if (found == r.unified.end()) continue;
    const absl::string_view text = absl::StripAsciiWhitespace(found->second);
    uint64_t value = kInfinity;
    if (text != "max" && !absl::SimpleAtoi(text, &value))
      continue;  // the kernel says what is wrong
    out->emplace_back(property, value);
  }
}

}  // namespace

uint64_t CpuWeightOfShares(uint64_t shares) {
  const uint64_t bounded = std::clamp<uint64_t>(shares, 2, 262144);
  return 1 + (bounded - 2) * 9999 / 262142;
}

absl::StatusOr<std::vector<uint8_t>> CpuListMask(absl::string_view list) {
  std::vector<uint8_t> mask;
  for (absl::string_view part : absl::StrSplit(list, ',', absl::SkipEmpty())) {
    const std::vector<absl::string_view> ends =
        absl::StrSplit(absl::StripAsciiWhitespace(part), absl::MaxSplits('-', 1));
    uint32_t first = 0, last = 0;
    if (!absl::SimpleAtoi(ends[0], &first) || !absl::SimpleAtoi(ends.back(), &last) ||
        last < first || last >= kMaxCpu) {
      return absl::InvalidArgumentError(absl::StrCat("\"", list, "\" is no list of CPUs or nodes"));
    }
    if (mask.size() <= last / 8) mask.resize(last / 8 + 1);
    for (uint32_t bit = first; bit <= last; ++bit) {
      mask[bit / 8] = static_cast<uint8_t>(mask[bit / 8] | 1u << bit % 8);
    }
  }
  return mask;
}

absl::StatusOr<UnitProperties> PropertiesOf(const CgroupResources& r) {
  UnitProperties out;
  if (r.memory_limit) out.emplace_back("MemoryMax", LimitOf(*r.memory_limit));
  if (r.memory_reservation) {
    out.emplace_back("MemoryLow",
                     static_cast<uint64_t>(std::max<int64_t>(*r.memory_reservation, 0)));
  }
  // OCI's value counts both, systemd's swap alone.
  if (r.memory_swap && *r.memory_swap < 0) out.emplace_back("MemorySwapMax", kInfinity);
  if (r.memory_swap && *r.memory_swap >= 0 && r.memory_limit && *r.memory_limit >= 0 &&
      *r.memory_swap >= *r.memory_limit) {
    out.emplace_back("MemorySwapMax", static_cast<uint64_t>(*r.memory_swap - *r.memory_limit));
  }
  if (r.cpu_shares && r.cpu_idle.value_or(0) != 1) {
    out.emplace_back("CPUWeight", CpuWeightOfShares(*r.cpu_shares));
  }
  if (r.cpu_period) out.emplace_back("CPUQuotaPeriodUSec", *r.cpu_period);
  if (r.cpu_quota) out.emplace_back("CPUQuotaPerSecUSec", QuotaPerSecond(r));
  if (r.cpuset_cpus) {
    ASSIGN_OR_RETURN_WITH(std::vector<uint8_t> mask, CpuListMask(*r.cpuset_cpus), "cpuset.cpus");
    out.emplace_back("AllowedCPUs", std::move(mask));
  }
  if (r.cpuset_mems) {
    ASSIGN_OR_RETURN_WITH(std::vector<uint8_t> mask, CpuListMask(*r.cpuset_mems), "cpuset.mems");
    out.emplace_back("AllowedMemoryNodes", std::move(mask));
  }
  if (r.pids_limit) {
    out.emplace_back("TasksMax",
                     *r.pids_limit > 0 ? static_cast<uint64_t>(*r.pids_limit) : kInfinity);
  }
  AppendUnified(r, &out);
  return out;
}

absl::StatusOr<std::string> SlicePath(absl::string_view slice) {
  absl::string_view stem = slice;
  if (!absl::ConsumeSuffix(&stem, ".slice") || absl::StrContains(slice, "/") || stem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", slice,
                     "\" is no slice as \"kubepods-pod1.slice\", which the systemd cgroup driver "
                     "wants"));
  }
  if (stem == "-") return std::string();  // the root slice
  for (const char c : stem) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && !absl::StrContains("-_.:\\@", c)) {
      return absl::InvalidArgumentError(
          absl::StrCat("slice \"", slice, "\" has a character that unit names have not"));
    }
  }
  std::string path, prefix;
  for (absl::string_view part : absl::StrSplit(stem, '-')) {
    if (part.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("slice \"", slice, "\" has an empty part between dashes"));
    }
    absl::StrAppend(&prefix, prefix.empty() ? "" : "-", part);
    absl::StrAppend(&path, "/", prefix, ".slice");
  }
  return path;
}

}  // namespace berth
