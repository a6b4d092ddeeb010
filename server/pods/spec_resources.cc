// The limits of a container.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

bool HasNul(const std::string& text) { return absl::StrContains(text, '\0'); }

}  // namespace

absl::Status AddResources(const SpecRequest& request, BuiltSpec* built) {
  const cri::LinuxContainerResources& r = request.container.linux().resources();
  ASSIGN_OR_RETURN(built->spec.linux_.resources, ResourcesFromCri(r, "linux.resources"));
  if (r.oom_score_adj() < -1000 || r.oom_score_adj() > 1000) {
    return InvalidField("linux.resources.oom_score_adj", "want -1000 to 1000");
  }
  // Always said: the keeper's own must not be inherited.
  built->process().oom_score_adj = static_cast<int>(r.oom_score_adj());
  return absl::OkStatus();
}

absl::StatusOr<CgroupResources> ResourcesFromCri(const cri::LinuxContainerResources& r,
                                                 absl::string_view field) {
  CgroupResources out;
  const auto name = [&](const char* member) { return absl::StrCat(field, ".", member); };
  if (r.cpu_period() < 0) return InvalidField(name("cpu_period"), "is negative");
  if (r.cpu_shares() < 0) return InvalidField(name("cpu_shares"), "is negative");
  if (r.memory_limit_in_bytes() < -1)
    return InvalidField(name("memory_limit_in_bytes"), "is negative");
  if (r.memory_swap_limit_in_bytes() < -1) {
    return InvalidField(name("memory_swap_limit_in_bytes"), "is negative");
  }
  if (r.memory_swap_limit_in_bytes() > 0 && r.memory_limit_in_bytes() > 0 &&
      r.memory_swap_limit_in_bytes() < r.memory_limit_in_bytes()) {
    return InvalidField(name("memory_swap_limit_in_bytes"),
                        "is less than memory_limit_in_bytes; it counts both");
  }
  if (HasNul(r.cpuset_cpus())) return InvalidField(name("cpuset_cpus"), "has a NUL byte");
  if (HasNul(r.cpuset_mems())) return InvalidField(name("cpuset_mems"), "has a NUL byte");
  for (const cri::HugepageLimit& h : r.hugepage_limits()) {
    if (HasNul(h.page_size())) return InvalidField(name("hugepage_limits"), "has a NUL byte");
  }
  for (const auto& [file, value] : r.unified()) {
    if (HasNul(file) || HasNul(value)) return InvalidField(name("unified"), "has a NUL byte");
  }
  // Zero is "not said" in CRI.
  if (r.cpu_period() != 0) out.cpu_period = r.cpu_period();
  if (r.cpu_quota() != 0) out.cpu_quota = r.cpu_quota();
  if (r.cpu_shares() != 0) out.cpu_shares = r.cpu_shares();
  if (r.memory_limit_in_bytes() != 0) out.memory_limit = r.memory_limit_in_bytes();
  if (r.memory_swap_limit_in_bytes() != 0) out.memory_swap = r.memory_swap_limit_in_bytes();
  if (!r.cpuset_cpus().empty()) out.cpuset_cpus = r.cpuset_cpus();
  if (!r.cpuset_mems().empty()) out.cpuset_mems = r.cpuset_mems();
  for (const cri::HugepageLimit& h : r.hugepage_limits()) {
    out.hugepages.push_back({h.page_size(), h.limit()});
  }
  out.unified = {r.unified().begin(), r.unified().end()};
  return out;
}

}  // namespace berth
