// From a profile to a filter in the kernel's classic BPF.
//
// The kernel runs the filter in its head once for each call number when it is installed, so its size
// and shape are what an exec pays. Neighbouring numbers with one outcome become a range, the ranges a
// binary search, and conditions on arguments stand at its leaves.
// What a profile of refusals doesn't know (a number above all that it names) answers ENOSYS, so that
// libraries fall back on older calls; other architectures and, without it in the list, x32 kill.
#ifndef BERTH_RUNTIME_SECCOMP_FILTER_H_
#define BERTH_RUNTIME_SECCOMP_FILTER_H_

#include <linux/filter.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/seccomp/profile.h"

namespace berth {

struct SeccompFilter {
  std::vector<sock_filter> program;
  uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_*
};

struct SeccompCompileOptions {
  bool enosys_for_unknown = true;
  // False: x32's calls answer ENOSYS, as such a kernel does, and their rules are left out.
  bool kernel_has_x32 = true;
};

// InvalidArgument for what can't be expressed (more than 4096 instructions), Unimplemented for
// SCMP_ACT_NOTIFY. Pure.
absl::StatusOr<SeccompFilter> CompileSeccomp(const SeccompProfile& profile,
                                             const SeccompCompileOptions& options = {});

// CompileSeccomp behind a cache of 64 filters, keyed by the profile's content. Any thread.
absl::StatusOr<std::shared_ptr<const SeccompFilter>> CachedSeccompFilter(
    const std::shared_ptr<const SeccompProfile>& profile);

}  // namespace berth

#endif  // BERTH_RUNTIME_SECCOMP_FILTER_H_
