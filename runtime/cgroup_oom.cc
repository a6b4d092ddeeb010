// OOM kills of a cgroup, and which limit they enforced.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_files.h"

namespace berth {
namespace {

// v2: OOM events are counted in the cgroup whose limit was reached (memory.events.local, 5.2).
// v1 counts charges that failed, with swap or without, also those that reclaim helped.
bool LimitWasReached(int root, const std::string& path, bool v2) {
  if (v2) {
    const auto events = ReadCgroupFile(root, CgroupFile(path, "memory.events.local"));
    return events.ok() && CgroupKeyedValue(*events, "oom").value_or(0) > 0;
  }
  for (const char* file : {"memory.failcnt", "memory.memsw.failcnt"}) {
    const auto count = ReadCgroupNumber(root, CgroupFile(path, file));
    if (count.ok() && *count > 0) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<OomState> CgroupHost::Oom(const std::string& path) const {
  OomState state;
  const Hierarchy* memory = Find("memory");
  if (memory == nullptr) return state;
  const int root = memory->root.get();
  ASSIGN_OR_RETURN(
      const std::string events,
      ReadCgroupFile(root, CgroupFile(path, memory->v2 ? "memory.events" : "memory.oom_control")));
  state.oom_kills = CgroupKeyedValue(events, "oom_kill").value_or(0);
  ASSIGN_OR_RETURN(state.memory_limit, MemoryLimit(path));
  return state;
}

absl::StatusOr<int64_t> CgroupHost::MemoryLimit(const std::string& path) const {
  const Hierarchy* memory = Find("memory");
  if (memory == nullptr) return -1;
  return ReadCgroupNumber(memory->root.get(),
                          CgroupFile(path, memory->v2 ? "memory.max" : "memory.limit_in_bytes"));
}

std::optional<std::string> CgroupHost::ReachedLimit(const std::string& path) const {
  const Hierarchy* memory = Find("memory");
  if (memory == nullptr) return std::nullopt;
  for (std::string level = ProcessPath(path); !level.empty(); level.resize(level.rfind('/'))) {
    const auto limit = MemoryLimit(level);
    if (limit.ok() && *limit >= 0 && LimitWasReached(memory->root.get(), level, memory->v2)) {
      return level;
    }
  }
  return std::nullopt;
}

}  // namespace berth
