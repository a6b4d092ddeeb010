// Writing limits: one small method for each controller, for both versions.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/failpoint.h"
#include "base/status.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_device_filter.h"
#include "runtime/cgroup_files.h"
#include "runtime/unit_properties.h"

namespace berth {
namespace {

std::string NumberOrMax(int64_t value) { return value < 0 ? "max" : absl::StrCat(value); }

// "c 1:3 rwm", as devices.allow and devices.deny of v1 want it.
std::string LegacyDeviceRule(const DeviceRule& rule) {
  const std::string access = rule.access.empty() ? "rwm" : rule.access;
  if (rule.type == 'a' && rule.major < 0 && rule.minor < 0 && access.size() == 3) return "a";
  const auto number = [](int64_t n) { return n < 0 ? std::string("*") : absl::StrCat(n); };
  return absl::StrCat(std::string(1, rule.type), " ", number(rule.major), ":", number(rule.minor),
                      " ", access);
}

}  // namespace

class CgroupLimits {
 public:
  CgroupLimits(const CgroupHost& host, const std::string& path, const CgroupResources& r)
      : host_(host), path_(path), r_(r) {}

  absl::Status Apply() {
    RETURN_IF_ERROR(Devices());  // v1 refuses the filter once there are sub-cgroups
    RETURN_IF_ERROR(Memory());
    RETURN_IF_ERROR(Cpu());
    RETURN_IF_ERROR(Cpuset());
    RETURN_IF_ERROR(Pids());
    RETURN_IF_ERROR(Hugepages());
    return Unified();
  }

 private:
  using Hierarchy = CgroupHost::Hierarchy;

  // The hierarchy of a controller from which something is asked.
  absl::StatusOr<const Hierarchy*> Need(absl::string_view controller) const {
    const Hierarchy* hierarchy = host_.Find(controller);
    if (hierarchy == nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("this host has no ", controller, " cgroup controller"));
    }
    return hierarchy;
  }

  int TryWrite(const Hierarchy& h, absl::string_view file, absl::string_view value) const {
    return WriteCgroupFile(h.root.get(), CgroupFile(path_, file), value);
  }

  absl::Status Explain(int error, absl::string_view file, absl::string_view value) const {
    if (error == 0) return absl::OkStatus();
    const std::string what = absl::StrCat("write \"", value, "\" to ", file, " of ", path_);
    // The kernel's word for a value that it doesn't take.
    if (error == EINVAL || error == ERANGE || error == EDOM) {
      return absl::InvalidArgumentError(ErrnoStatusOf(error, what).message());
    }
    if (error == ENOENT) {
      return absl::FailedPreconditionError(absl::StrCat(
          what, host_.Exists(path_) ? ": the kernel has no such limit, or the controller is not "
                                      "enabled above"
                                    : ": the cgroup is gone"));
    }
    return ErrnoStatusOf(error, what);
  }

  absl::Status Write(const Hierarchy& h, absl::string_view file, absl::string_view value) const {
    return Explain(TryWrite(h, file, value), file, value);
  }

  absl::Status Devices() const {
    if (!r_.devices) return absl::OkStatus();
    const Hierarchy* legacy = host_.Find("devices");
    if (legacy == nullptr) {
      const Hierarchy* v2 = host_.unified();
      if (v2 == nullptr) return Need("devices").status();
      const UniqueFd directory(openat(v2->root.get(), CgroupFile(path_, "").c_str(),
                                      O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!directory) return ErrnoStatus("open cgroup", path_);
      return Annotate(SetDeviceFilter(directory.get(), *r_.devices),
                      absl::StrCat("cgroup ", path_));
    }
    const UniqueFd allow(Open(*legacy, "devices.allow"));
    const UniqueFd deny(Open(*legacy, "devices.deny"));
    for (const DeviceRule& rule : *r_.devices) {
      const std::string value = LegacyDeviceRule(rule);
      if (write(rule.allow ? allow.get() : deny.get(), value.data(), value.size()) < 0) {
        return Explain(errno, rule.allow ? "devices.allow" : "devices.deny", value);
      }
    }
    return absl::OkStatus();
  }

  int Open(const Hierarchy& h, absl::string_view file) const {
    return openat(h.root.get(), CgroupFile(path_, file).c_str(), O_WRONLY | O_CLOEXEC);
  }

  absl::Status Memory() const {
    if (!r_.memory_limit && !r_.memory_swap && !r_.memory_reservation) return absl::OkStatus();
    if (r_.memory_limit && r_.memory_swap && *r_.memory_limit > 0 && *r_.memory_swap > 0 &&
        *r_.memory_swap < *r_.memory_limit) {
      return absl::InvalidArgumentError(absl::StrCat("memory and swap (", *r_.memory_swap,
                                                     ") is less than the memory limit (",
                                                     *r_.memory_limit, ")"));
    }
    ASSIGN_OR_RETURN(const Hierarchy* memory, Need("memory"));
    if (r_.memory_check_before_update) RETURN_IF_ERROR(CheckUsage(*memory));
    return memory->v2 ? UnifiedMemory(*memory) : LegacyMemory(*memory);
  }

  absl::Status CheckUsage(const Hierarchy& h) const {
    if (!r_.memory_limit || *r_.memory_limit < 0) return absl::OkStatus();
    const absl::StatusOr<int64_t> usage = ReadCgroupNumber(
        h.root.get(), CgroupFile(path_, h.v2 ? "memory.current" : "memory.usage_in_bytes"));
    if (usage.ok() && *usage > *r_.memory_limit) return BelowUsage(*usage);
    return absl::OkStatus();
  }

  absl::Status BelowUsage(int64_t usage) const {
    return absl::FailedPreconditionError(absl::StrCat("memory limit ", *r_.memory_limit,
                                                      " is below what cgroup ", path_,
                                                      " uses now (", usage, ")"));
  }

  absl::Status UnifiedMemory(const Hierarchy& h) const {
    // swap.max counts swap alone. Without a memory limit to subtract, the one in force counts.
    if (r_.memory_swap) {
      int64_t swap = *r_.memory_swap;
      if (swap >= 0) {
        int64_t limit = -1;
        if (r_.memory_limit) {
          limit = *r_.memory_limit;
        } else {
          ASSIGN_OR_RETURN(limit, ReadCgroupNumber(h.root.get(), CgroupFile(path_, "memory.max")));
        }
        if (limit < 0 || swap < limit) {
          return absl::InvalidArgumentError(
              absl::StrCat("memory and swap (", swap, ") needs a memory limit that is not larger"));
        }
        swap -= limit;
      }
      const int error = TryWrite(h, "memory.swap.max", NumberOrMax(swap));
      // Without swap accounting "no swap" and "any swap" hold by themselves.
      if (error != 0 && !(error == ENOENT && host_.Exists(path_) && swap <= 0)) {
        return Explain(error, "memory.swap.max", NumberOrMax(swap));
      }
    }
    if (r_.memory_limit) RETURN_IF_ERROR(Write(h, "memory.max", NumberOrMax(*r_.memory_limit)));
    if (r_.memory_reservation) {
      const int64_t low = std::max<int64_t>(*r_.memory_reservation, 0);
      RETURN_IF_ERROR(Write(h, "memory.low", absl::StrCat(low)));
    }
    return absl::OkStatus();
  }

  absl::Status LegacyLimit(const Hierarchy& h) const {
    const std::string value = absl::StrCat(std::max<int64_t>(*r_.memory_limit, -1));
    const int error = TryWrite(h, "memory.limit_in_bytes", value);
    if (error == EBUSY) {
      const absl::StatusOr<int64_t> usage =
          ReadCgroupNumber(h.root.get(), CgroupFile(path_, "memory.usage_in_bytes"));
      return BelowUsage(usage.value_or(0));
    }
    return Explain(error, "memory.limit_in_bytes", value);
  }

  // memsw, which counts both, may never be below the limit: when both grow it goes first.
  absl::Status LegacyMemory(const Hierarchy& h) const {
    bool set_swap = r_.memory_swap.has_value();
    int64_t swap = r_.memory_swap.value_or(-1);
    constexpr absl::string_view kSwap = "memory.memsw.limit_in_bytes";
    if (set_swap && !HasFile(h, kSwap)) {
      if (swap > 0 && swap > r_.memory_limit.value_or(-1)) {
        return absl::FailedPreconditionError("this kernel does not account swap");
      }
      set_swap = false;
    }
    bool swap_first = false;
    if (r_.memory_limit && (set_swap || *r_.memory_limit < 0)) {
      const absl::StatusOr<int64_t> now =
          ReadCgroupNumber(h.root.get(), CgroupFile(path_, "memory.limit_in_bytes"));
      swap_first = *r_.memory_limit < 0 || (set_swap && swap < 0) ||
                   (now.ok() && *now >= 0 && *r_.memory_limit > *now);
      if (!set_swap) set_swap = HasFile(h, kSwap);  // no memory limit: none for both
    }
    const std::string swap_value = absl::StrCat(swap < 0 ? -1 : swap);
    if (set_swap && swap_first) RETURN_IF_ERROR(Write(h, kSwap, swap_value));
    if (r_.memory_limit) RETURN_IF_ERROR(LegacyLimit(h));
    if (set_swap && !swap_first) RETURN_IF_ERROR(Write(h, kSwap, swap_value));
    if (r_.memory_reservation) {
      RETURN_IF_ERROR(Write(h, "memory.soft_limit_in_bytes", absl::StrCat(*r_.memory_reservation)));
    }
    return absl::OkStatus();
  }

  bool HasFile(const Hierarchy& h, absl::string_view file) const {
    return faccessat(h.root.get(), CgroupFile(path_, file).c_str(), F_OK, 0) == 0;
  }

  absl::Status Cpu() const {
    if (!r_.cpu_shares && !r_.cpu_quota && !r_.cpu_period && !r_.cpu_burst && !r_.cpu_idle) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const Hierarchy* cpu, Need("cpu"));
    if (r_.cpu_idle) RETURN_IF_ERROR(Write(*cpu, "cpu.idle", absl::StrCat(*r_.cpu_idle)));
    if (r_.cpu_shares && r_.cpu_idle.value_or(0) != 1) {
      RETURN_IF_ERROR(
          cpu->v2 ? Write(*cpu, "cpu.weight", absl::StrCat(CpuWeightOfShares(*r_.cpu_shares)))
                  : Write(*cpu, "cpu.shares", absl::StrCat(*r_.cpu_shares)));
    }
    return cpu->v2 ? UnifiedBandwidth(*cpu) : LegacyBandwidth(*cpu);
  }

  absl::Status UnifiedBandwidth(const Hierarchy& h) const {
    if (r_.cpu_quota || r_.cpu_period) {
      std::string quota = "max";
      if (r_.cpu_quota) {
        if (*r_.cpu_quota > 0) quota = absl::StrCat(*r_.cpu_quota);
      } else {
        ASSIGN_OR_RETURN(const std::string now,
                         ReadCgroupFile(h.root.get(), CgroupFile(path_, "cpu.max")));
        quota = now.substr(0, now.find(' '));
      }
      const std::string value =
          r_.cpu_period ? absl::StrCat(quota, " ", *r_.cpu_period) : quota;  // the period stays
      RETURN_IF_ERROR(Write(h, "cpu.max", value));
    }
    if (r_.cpu_burst) RETURN_IF_ERROR(Write(h, "cpu.max.burst", absl::StrCat(*r_.cpu_burst)));
    return absl::OkStatus();
  }

  // A period that makes the present quota larger than the parent's share is refused: then the quota
  // goes first.
  absl::Status LegacyBandwidth(const Hierarchy& h) const {
    const std::string quota =
        absl::StrCat(r_.cpu_quota && *r_.cpu_quota > 0 ? *r_.cpu_quota : int64_t{-1});
    bool quota_written = false;
    if (r_.cpu_period) {
      const std::string period = absl::StrCat(*r_.cpu_period);
      int error = TryWrite(h, "cpu.cfs_period_us", period);
      if (error == EINVAL && r_.cpu_quota) {
        RETURN_IF_ERROR(Write(h, "cpu.cfs_quota_us", quota));
        quota_written = true;
        error = TryWrite(h, "cpu.cfs_period_us", period);
      }
      RETURN_IF_ERROR(Explain(error, "cpu.cfs_period_us", period));
    }
    if (r_.cpu_quota && !quota_written) RETURN_IF_ERROR(Write(h, "cpu.cfs_quota_us", quota));
    if (r_.cpu_burst) RETURN_IF_ERROR(Write(h, "cpu.cfs_burst_us", absl::StrCat(*r_.cpu_burst)));
    return absl::OkStatus();
  }

  absl::Status Cpuset() const {
    if (!r_.cpuset_cpus && !r_.cpuset_mems) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Hierarchy* cpuset, Need("cpuset"));
    if (r_.cpuset_cpus) RETURN_IF_ERROR(Write(*cpuset, "cpuset.cpus", *r_.cpuset_cpus));
    if (r_.cpuset_mems) RETURN_IF_ERROR(Write(*cpuset, "cpuset.mems", *r_.cpuset_mems));
    return absl::OkStatus();
  }

  absl::Status Pids() const {
    if (!r_.pids_limit) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Hierarchy* pids, Need("pids"));
    return Write(*pids, "pids.max", *r_.pids_limit > 0 ? absl::StrCat(*r_.pids_limit) : "max");
  }

  absl::Status Hugepages() const {
    if (r_.hugepages.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Hierarchy* hugetlb, Need("hugetlb"));
    for (const HugepageLimit& limit : r_.hugepages) {
      if (limit.page_size.empty() || absl::StrContains(limit.page_size, "/")) {
        return absl::InvalidArgumentError(
            absl::StrCat("bad huge page size \"", limit.page_size, "\""));
      }
      const std::string value = absl::StrCat(limit.limit);
      const std::string prefix = absl::StrCat("hugetlb.", limit.page_size, ".");
      const absl::string_view suffix = hugetlb->v2 ? "max" : "limit_in_bytes";
      RETURN_IF_ERROR(Write(*hugetlb, absl::StrCat(prefix, suffix), value));
      const std::string reserved = absl::StrCat(prefix, "rsvd.", suffix);  // Linux 5.7
      const int error = TryWrite(*hugetlb, reserved, value);
      if (error != ENOENT) RETURN_IF_ERROR(Explain(error, reserved, value));
    }
    return absl::OkStatus();
  }

  absl::Status Unified() const {
    if (r_.unified.empty()) return absl::OkStatus();
    if (host_.mode() != CgroupMode::kUnified) {
      return absl::FailedPreconditionError("unified limits need a cgroup v2 host");
    }
    for (const auto& [file, value] : r_.unified) {
      if (absl::StrContains(file, "/") || absl::StartsWith(file, "cgroup.") ||
          !absl::StrContains(file, ".")) {
        return absl::InvalidArgumentError(
            absl::StrCat("unified: \"", file, "\" is no limit's file name"));
      }
      for (absl::string_view line : absl::StrSplit(value, '\n', absl::SkipEmpty())) {
        RETURN_IF_ERROR(Write(*host_.unified(), file, line));
      }
    }
    return absl::OkStatus();
  }

  const CgroupHost& host_;
  const std::string& path_;
  const CgroupResources& r_;
};

absl::Status CgroupHost::Apply(const std::string& path, const CgroupResources& resources) const {
  RETURN_IF_ERROR(Failpoint("cgroup.apply"));
  const std::string processes = ProcessPath(path);
  return CgroupLimits(*this, processes, resources).Apply();
}

std::vector<DeviceRule> DefaultDeviceRules() {
  return {
      {false, 'a', -1, -1, ""}, {true, 'c', -1, -1, "m"}, {true, 'b', -1, -1, "m"},
      {true, 'c', 1, 3, ""},    {true, 'c', 1, 5, ""},    {true, 'c', 1, 7, ""},
      {true, 'c', 5, 0, ""},    {true, 'c', 1, 8, ""},    {true, 'c', 1, 9, ""},
      {true, 'c', 5, 2, ""},    {true, 'c', 136, -1, ""},  // ptmx and the ptys
  };
}

}  // namespace berth
