#include "runtime/cgroup_stats.h"

#include <algorithm>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace berth {
namespace {

// v1 shows "no limit" as the largest multiple of a page (mm/page_counter.c, PAGE_COUNTER_MAX).
constexpr uint64_t kLegacyUnlimited = 0x7fff'ffff'ffff'0000ull;
constexpr uint64_t kNanosPerMicro = 1000;

// Calls `take` with each `key value` line.
void ForEachLine(absl::string_view text,
                 absl::FunctionRef<void(absl::string_view key, uint64_t value)> take) {
  while (!text.empty()) {
    const absl::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t blank = line.find(' ');
    uint64_t value = 0;
    if (blank == absl::string_view::npos) continue;
    if (absl::SimpleAtoi(line.substr(blank + 1), &value)) take(line.substr(0, blank), value);
  }
}

struct Key {
  absl::string_view name;
  Count* value;
};

// Fills in the keys that `text` has; each once.
template <size_t kSize>
void Pick(absl::string_view text, const Key (&keys)[kSize]) {
  ForEachLine(text, [&keys](absl::string_view name, uint64_t value) {
    for (const Key& key : keys) {
      if (key.name == name) *key.value = value;
    }
  });
}

void ToNanos(Count* value) {
  if (value->has_value()) *value = **value * kNanosPerMicro;
}

// "8:16".
bool ParseDevice(absl::string_view text, DeviceUse* device) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  return absl::SimpleAtoi(parts.first, &device->major) &&
         absl::SimpleAtoi(parts.second, &device->minor);
}

DeviceUse* FindOrAdd(const DeviceUse& wanted, std::vector<DeviceUse>* devices) {
  for (DeviceUse& device : *devices) {
    if (device.major == wanted.major && device.minor == wanted.minor) return &device;
  }
  devices->push_back({.major = wanted.major, .minor = wanted.minor});
  return &devices->back();
}

// Calls `take` for each `8:0 Read 4096`; the sums (`Total 4096`) are passed over.
void ForEachOperation(
    absl::string_view text, std::vector<DeviceUse>* devices,
    absl::FunctionRef<void(absl::string_view operation, uint64_t value, DeviceUse*)> take) {
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    DeviceUse named;
    uint64_t value = 0;
    if (fields.size() != 3 || !ParseDevice(fields[0], &named)) continue;
    if (absl::SimpleAtoi(fields[2], &value)) take(fields[1], value, FindOrAdd(named, devices));
  }
}

}  // namespace

Count MemoryUse::WorkingSet() const {
  if (!usage.has_value()) return usage;
  return *usage - std::min(*usage, inactive_file.value_or(0));
}

Count MemoryUse::Available() const {
  const Count working_set = WorkingSet();
  if (!limit.has_value() || !working_set.has_value()) return std::nullopt;
  return *limit - std::min(*limit, *working_set);
}

namespace cgroup_stats {

Count ParseNumber(absl::string_view text) {
  uint64_t value = 0;
  absl::ConsumeSuffix(&text, "\n");
  if (!absl::SimpleAtoi(text, &value) || value >= kLegacyUnlimited) return std::nullopt;
  return value;
}

std::optional<Pressure> ParsePressure(absl::string_view text) {
  Pressure pressure;
  bool any = false;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    Pressure::Line* into = fields[0] == "some"   ? &pressure.some
                           : fields[0] == "full" ? &pressure.full
                                                 : nullptr;
    if (into == nullptr) continue;
    for (absl::string_view field : fields) {
      bool ok = true;
      if (absl::ConsumePrefix(&field, "avg10=")) ok = absl::SimpleAtod(field, &into->avg10);
      if (absl::ConsumePrefix(&field, "avg60=")) ok = absl::SimpleAtod(field, &into->avg60);
      if (absl::ConsumePrefix(&field, "avg300=")) ok = absl::SimpleAtod(field, &into->avg300);
      if (absl::ConsumePrefix(&field, "total=")) ok = absl::SimpleAtoi(field, &into->total_us);
      if (!ok) return std::nullopt;
    }
    any = true;
  }
  return any ? std::optional<Pressure>(pressure) : std::nullopt;
}

void ParseCpuStat(absl::string_view text, CpuUse* cpu) {
  Pick(text, {{"usage_usec", &cpu->usage_ns},
              {"user_usec", &cpu->user_ns},
              {"system_usec", &cpu->system_ns},
              {"nr_periods", &cpu->periods},
              {"nr_throttled", &cpu->throttled_periods},
              {"throttled_usec", &cpu->throttled_ns}});
  for (Count* value : {&cpu->usage_ns, &cpu->user_ns, &cpu->system_ns, &cpu->throttled_ns}) {
    ToNanos(value);
  }
}

void ParseLegacyCpuStat(absl::string_view text, CpuUse* cpu) {
  Pick(text, {{"nr_periods", &cpu->periods},
              {"nr_throttled", &cpu->throttled_periods},
              {"throttled_time", &cpu->throttled_ns}});
}

void ParseMemoryStat(absl::string_view text, MemoryUse* memory) {
  Count stack, slab, page_tables, per_cpu;
  Pick(text, {{"anon", &memory->rss},
              {"file", &memory->cache},
              {"file_mapped", &memory->mapped_file},
              {"inactive_file", &memory->inactive_file},
              {"active_file", &memory->active_file},
              {"pgfault", &memory->page_faults},
              {"pgmajfault", &memory->major_page_faults},
              {"kernel", &memory->kernel},
              {"kernel_stack", &stack},
              {"slab", &slab},
              {"pagetables", &page_tables},
              {"percpu", &per_cpu}});
  // Linux before 5.18 has the parts only.
  if (!memory->kernel.has_value() && stack.has_value()) {
    memory->kernel = *stack + slab.value_or(0) + page_tables.value_or(0) + per_cpu.value_or(0);
  }
}

void ParseLegacyMemoryStat(absl::string_view text, MemoryUse* memory) {
  Pick(text, {{"total_rss", &memory->rss},
              {"total_cache", &memory->cache},
              {"total_mapped_file", &memory->mapped_file},
              {"total_inactive_file", &memory->inactive_file},
              {"total_active_file", &memory->active_file},
              {"total_pgfault", &memory->page_faults},
              {"total_pgmajfault", &memory->major_page_faults}});
}

std::vector<DeviceUse> ParseIoStat(absl::string_view text) {
  std::vector<DeviceUse> devices;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    DeviceUse device;
    // A device may stand there without any counter.
    if (fields.size() < 2 || !ParseDevice(fields[0], &device)) continue;
    for (const absl::string_view field : fields) {
      const std::pair<absl::string_view, absl::string_view> pair =
          absl::StrSplit(field, absl::MaxSplits('=', 1));
      uint64_t value = 0;
      if (!absl::SimpleAtoi(pair.second, &value)) continue;
      if (pair.first == "rbytes") device.read_bytes = value;
      if (pair.first == "wbytes") device.written_bytes = value;
      if (pair.first == "dbytes") device.discarded_bytes = value;
      if (pair.first == "rios") device.reads = value;
      if (pair.first == "wios") device.writes = value;
    }
    devices.push_back(device);
  }
  return devices;
}

std::vector<DeviceUse> ParseLegacyIo(absl::string_view bytes, absl::string_view operations) {
  std::vector<DeviceUse> devices;
  ForEachOperation(bytes, &devices,
                   [](absl::string_view operation, uint64_t value, DeviceUse* device) {
                     if (operation == "Read") device->read_bytes = value;
                     if (operation == "Write") device->written_bytes = value;
                     if (operation == "Discard") device->discarded_bytes = value;
                   });
  ForEachOperation(operations, &devices,
                   [](absl::string_view operation, uint64_t value, DeviceUse* device) {
                     if (operation == "Read") device->reads = value;
                     if (operation == "Write") device->writes = value;
                   });
  return devices;
}

}  // namespace cgroup_stats
}  // namespace berth
