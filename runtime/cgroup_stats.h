// What a cgroup has used: cgroup v1 and v2 in one form. Values and parsers; pure.
//
// A value that the kernel doesn't give (no such file, no such controller, too old) is absent: it is
// never shown as zero. The parsers take what a file holds and leave absent what isn't in it; text
// that is no number is absent, too.
#ifndef BERTH_RUNTIME_CGROUP_STATS_H_
#define BERTH_RUNTIME_CGROUP_STATS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth {

using Count = std::optional<uint64_t>;

// Pressure stall information (Documentation/accounting/psi.rst).
struct Pressure {
  struct Line {
    double avg10 = 0, avg60 = 0, avg300 = 0;  // percent
    uint64_t total_us = 0;
  };
  Line some;
  Line full;  // zeros for cpu before 5.13, which has no such line
};

struct CpuUse {
  Count usage_ns, user_ns, system_ns;
  Count periods, throttled_periods, throttled_ns;
  std::optional<Pressure> pressure;
};

struct MemoryUse {
  Count usage;      // bytes, page cache included
  Count max_usage;  // since the cgroup's birth; v2: 5.19 and later
  Count limit;      // absent: none
  Count inactive_file, active_file;
  Count rss;    // anonymous memory
  Count cache;  // page cache, shared memory included
  Count mapped_file;
  Count kernel;
  Count page_faults, major_page_faults;
  Count limit_hits;  // v1 failcnt, v2 memory.events max
  Count oom_kills;
  Count swap;        // bytes swapped out
  Count swap_limit;  // of swap alone; absent: none
  std::optional<Pressure> pressure;

  // As kubelet and cAdvisor count it: usage − inactive_file, not below zero.
  Count WorkingSet() const;
  // limit − working set, not below zero; absent without a limit.
  Count Available() const;
};

struct DeviceUse {
  uint32_t major = 0, minor = 0;
  uint64_t read_bytes = 0, written_bytes = 0, discarded_bytes = 0;
  uint64_t reads = 0, writes = 0;
};

struct IoUse {
  std::vector<DeviceUse> devices;
  std::optional<Pressure> pressure;
};

struct HugetlbUse {
  std::string page_size;   // as the kernel spells it: "2MB", "1GB"
  Count usage, max_usage;  // bytes; v2 has no maximum
};

struct PidsUse {
  Count current;  // tasks: threads count
  Count limit;    // absent: none
};

struct CgroupStats {
  CpuUse cpu;
  MemoryUse memory;
  PidsUse pids;
  IoUse io;
  std::vector<HugetlbUse> hugetlb;
};

namespace cgroup_stats {

// A file of one number; "max", "-1" and v1's page-rounded maximum are absent.
Count ParseNumber(absl::string_view text);
std::optional<Pressure> ParsePressure(absl::string_view text);
// v2 cpu.stat. Microseconds become nanoseconds.
void ParseCpuStat(absl::string_view text, CpuUse* cpu);
// v1 cpu.stat: throttling only.
void ParseLegacyCpuStat(absl::string_view text, CpuUse* cpu);
// v2 memory.stat.
void ParseMemoryStat(absl::string_view text, MemoryUse* memory);
// v1 memory.stat: the total_ lines, which count sub-cgroups.
void ParseLegacyMemoryStat(absl::string_view text, MemoryUse* memory);
// v2 io.stat.
std::vector<DeviceUse> ParseIoStat(absl::string_view text);
// v1 blkio.*.io_service_bytes_recursive and .io_serviced_recursive.
std::vector<DeviceUse> ParseLegacyIo(absl::string_view bytes, absl::string_view operations);

}  // namespace cgroup_stats
}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_STATS_H_
