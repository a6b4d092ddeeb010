// Users and groups, resolved in the mounted rootfs' own /etc/passwd and /etc/group.
#ifndef BERTH_RUNTIME_EXECUTOR_USER_H_
#define BERTH_RUNTIME_EXECUTOR_USER_H_

#include <stdint.h>

#include "runtime/executor.h"
#include "runtime/plan.h"

namespace berth {

struct ProcessUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t group_count = 0;
  char home[256];  // absolute
  uint32_t groups[kMaxPlanGroups];

  ProcessUser() { home[0] = '/', home[1] = 0; }  // the arrays stay as they are
};

// Step::kNone, or the step that failed with errno set. `root` is a descriptor of the rootfs; links in it
// never lead out. Missing files are empty ones. Groups beyond kMaxPlanGroups are E2BIG.
Step ResolveUser(const Plan& plan, int root, ProcessUser* user);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_USER_H_
