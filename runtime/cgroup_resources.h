// What a cgroup limits: OCI `linux.resources` as values, and CRI's LinuxContainerResources after
// the spec builder. Values are in the units of cgroup v1, as both specifications have them;
// runtime/cgroup.cc converts for v2.
#ifndef BERTH_RUNTIME_CGROUP_RESOURCES_H_
#define BERTH_RUNTIME_CGROUP_RESOURCES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace berth {

struct HugepageLimit {
  std::string page_size;  // "2MB", "1GB" (the kernel's spelling)
  uint64_t limit = 0;     // bytes
};

// One rule of the device filter; the last that matches decides.
struct DeviceRule {
  bool allow = false;
  char type = 'a';     // 'c', 'b', or 'a' for both
  int64_t major = -1;  // -1: any
  int64_t minor = -1;
  std::string access;  // out of "rwm"; empty means all three
};

// What is not set is left as it is.
struct CgroupResources {
  std::optional<uint64_t> cpu_shares;      // 2..262144, relative weight; 1024 is the default
  std::optional<int64_t> cpu_quota;        // µs per period; <= 0 is no limit
  std::optional<uint64_t> cpu_period;      // µs
  std::optional<uint64_t> cpu_burst;       // µs
  std::optional<int64_t> cpu_idle;         // 1 is SCHED_IDLE for the group
  std::optional<std::string> cpuset_cpus;  // "0-3,7"
  std::optional<std::string> cpuset_mems;
  std::optional<int64_t> memory_limit;        // bytes; -1 is no limit
  std::optional<int64_t> memory_reservation;  // bytes; -1 is none
  std::optional<int64_t> memory_swap;         // bytes of memory and swap together; -1 is no limit
  bool memory_check_before_update = false;    // refuse a memory_limit below what is in use
  std::optional<int64_t> pids_limit;          // <= 0 is no limit
  std::vector<HugepageLimit> hugepages;
  std::optional<std::vector<DeviceRule>> devices;  // set: the whole filter
  // cgroup v2 files and their values, written last (OCI `linux.resources.unified`).
  std::map<std::string, std::string> unified;
};

}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_RESOURCES_H_
