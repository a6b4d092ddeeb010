#include "server/network/leftover_plugins.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

constexpr absl::string_view kContainer = "CNI_CONTAINERID=";
// A plugin's environment is ours (cni_plugin.cc) and short; that of what it calls may be longer.
constexpr size_t kLargestEnvironment = 256u << 10;

struct Process {
  pid_t pid = 0;
  UniqueFd pidfd;
};

using Belongs = absl::FunctionRef<bool(absl::string_view variable)>;

// True if a variable of its environment says so.
bool HasVariable(pid_t pid, Belongs belongs) {
  const absl::StatusOr<std::string> environment =
      ReadFile(absl::StrCat("/proc/", pid, "/environ"), kLargestEnvironment);
  if (!environment.ok()) return false;  // gone, or too large to be one
  const std::vector<absl::string_view> variables = absl::StrSplit(*environment, '\0');
  return std::any_of(variables.begin(), variables.end(), belongs);
}

bool IsStopped(pid_t pid) {
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"), 4096).value_or("");
  const size_t name_end = stat.rfind(") ");
  return name_end != std::string::npos && stat[name_end + 2] == 'T';
}

// `candidate` is asked before the environment, which is no file for a process that may hold its memory's lock.
std::vector<Process> Find(absl::FunctionRef<bool(pid_t)> candidate, Belongs belongs) {
  std::vector<Process> found;
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory("/proc");
  if (!names.ok()) return found;
  for (const std::string& name : *names) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(name, &pid) || pid == getpid()) continue;
    if (!candidate(pid) || !HasVariable(pid, belongs)) continue;
    // Looked at again once it is held: the number may have gone to another.
    UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (pidfd && HasVariable(pid, belongs)) found.push_back({pid, std::move(pidfd)});
  }
  return found;
}

std::vector<Process> FindThoseOf(const std::set<std::string>& container_ids) {
  return Find([](pid_t) { return true; },
              [&](absl::string_view variable) {
                return absl::ConsumePrefix(&variable, kContainer) &&
                       container_ids.contains(std::string(variable));
              });
}

int MillisecondsUntil(absl::Time deadline) {
  const int64_t left =
      absl::ToInt64Milliseconds(absl::Ceil(deadline - absl::Now(), absl::Milliseconds(1)));
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

// False if one of them still lives at the deadline.
bool WaitForEnd(const std::vector<Process>& processes, absl::Time deadline) {
  for (const Process& process : processes) {
    pollfd fd = {process.pidfd.get(), POLLIN, 0};
    while (poll(&fd, 1, MillisecondsUntil(deadline)) < 0) {
    }
    if (fd.revents == 0) return false;
  }
  return true;
}

}  // namespace

absl::Status EndLeftoverPlugins(const std::set<std::string>& container_ids, absl::Duration grace,
                                absl::Time deadline) {
  const absl::Time patience = std::min(absl::Now() + grace, deadline);
  // Each round finds what the last one's processes have started meanwhile.
  for (std::vector<Process> processes = FindThoseOf(container_ids); !processes.empty();
       processes = FindThoseOf(container_ids)) {
    if (WaitForEnd(processes, patience)) continue;
    for (const Process& process : processes) {
      LogWarning("cni plugin ", process.pid, " of an earlier daemon still runs: killing it");
      syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
    }
    if (!WaitForEnd(processes, deadline)) {
      return absl::DeadlineExceededError(absl::StrCat("cni plugin ", processes.front().pid,
                                                      " of an earlier daemon can't be killed"));
    }
  }
  return absl::OkStatus();
}

void KillStoppedPlugins(const std::string& instance) {
  const std::string ours = absl::StrCat("BERTH_INSTANCE=", instance);
  for (const Process& process :
       Find(IsStopped, [&ours](absl::string_view variable) { return variable == ours; })) {
    LogWarning("cni plugin ", process.pid, " of an earlier daemon is stopped: killing it");
    syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
  }
}

}  // namespace berth
