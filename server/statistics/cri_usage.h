// A cgroup's use as the CRI's messages have it. Pure.
#ifndef BERTH_SERVER_STATISTICS_CRI_USAGE_H_
#define BERTH_SERVER_STATISTICS_CRI_USAGE_H_

#include <cstdint>
#include <vector>

#include "runtime/cgroup_stats.h"
#include "server/cri/api.h"
#include "server/statistics/interface_counters.h"

namespace berth {

// All at `at_ns` since 1970; what the kernel doesn't give is not set. `rate` is in billionths of a core.
cri::CpuUsage CpuUsageOf(const CpuUse& cpu, Count rate, int64_t at_ns);
cri::MemoryUsage MemoryUsageOf(const MemoryUse& memory, int64_t at_ns);
cri::SwapUsage SwapUsageOf(const MemoryUse& memory, int64_t at_ns);
cri::IoUsage IoUsageOf(const IoUse& io, int64_t at_ns);
// The default interface is eth0, or the first where there is none of that name.
cri::NetworkUsage NetworkUsageOf(const std::vector<InterfaceCounters>& interfaces, int64_t at_ns);

// For a pod without a cgroup of its own: adds up what the CRI asks of pods. A limit, pressure or
// anything else that has no sum is left out.
void AddUp(const CgroupStats& part, CgroupStats* sum);

}  // namespace berth

#endif  // BERTH_SERVER_STATISTICS_CRI_USAGE_H_
