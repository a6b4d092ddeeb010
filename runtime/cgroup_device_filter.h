// The device filter of cgroup v2: an eBPF program per cgroup (Linux 4.15, BPF_CGROUP_DEVICE).
#ifndef BERTH_RUNTIME_CGROUP_DEVICE_FILTER_H_
#define BERTH_RUNTIME_CGROUP_DEVICE_FILTER_H_

#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "runtime/cgroup_resources.h"

namespace berth {

// A program that answers 1 if the last rule that matches allows, and 0 if it denies or none matches.
// An allowing rule matches if it has all the rights that are asked for, a denying one if it has any.
std::vector<bpf_insn> DeviceProgram(const std::vector<DeviceRule>& rules);

// Puts the program in the place of whatever program the cgroup has. `directory` may be O_RDONLY. Never
// leaves the cgroup without a filter in between: one program replaces one (BPF_F_REPLACE, 5.6); where that
// can't be, the new one stands beside the old ones until they are detached. Needs CAP_BPF and CAP_NET_ADMIN (or
// CAP_SYS_ADMIN). Any thread; not for one cgroup side by side.
absl::Status SetDeviceFilter(int directory, const std::vector<DeviceRule>& rules);

}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_DEVICE_FILTER_H_
