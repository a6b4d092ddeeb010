// What the kernel's log says about the OOM killer: which limit it enforced and whom it killed. No other
// interface tells either. Best effort: the log may be out of reach (CAP_SYSLOG), overwritten, or silenced
// by the kernel's rate limit for OOM reports (10 in 5 s).
#ifndef BERTH_RUNTIME_OOM_LOG_H_
#define BERTH_RUNTIME_OOM_LOG_H_

#include <sys/types.h>

#include <deque>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "base/unique_fd.h"

namespace berth {

// One report (mm/oom_kill.c, dump_oom_victim; since 5.0). Paths are the kernel's, from the root of the memory hierarchy.
struct OomReport {
  std::string limit_cgroup;  // empty: the node ran out of memory
  std::string victim_cgroup;
  std::string victim_name;  // at most 15 bytes of the container's own choice
  pid_t victim_pid = 0;     // 0: not known in this process' PID namespace
};

// The report in a message of the kernel's log, if it is one.
std::optional<OomReport> ParseOomReport(absl::string_view message);

// The kernel's pids are those of the initial PID namespace: whether this process is in it.
bool InInitialPidNamespace();

// Thread-safe; a call reads what has come since the last one, and waits for nothing.
class OomLog {
 public:
  explicit OomLog(const std::string& path = "/dev/kmsg", bool own_pids = InInitialPidNamespace());

  // The newest report about a process in the cgroup whose directory is named `name`, or below it.
  std::optional<OomReport> Find(absl::string_view name) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void ReadNew() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const UniqueFd log_;
  const bool own_pids_;
  Mutex mu_;
  std::deque<OomReport> reports_ ABSL_GUARDED_BY(mu_);  // the newest last
};

}  // namespace berth

#endif  // BERTH_RUNTIME_OOM_LOG_H_
