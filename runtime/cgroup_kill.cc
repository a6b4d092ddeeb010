// Ending and stopping everything in a cgroup.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/failpoint.h"
#include "base/status.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_files.h"

namespace berth {
namespace {

int Milliseconds(absl::Time deadline) {
  const absl::Duration left = deadline - absl::Now();
  if (left <= absl::ZeroDuration()) return 0;
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000));
}

absl::Status StillThere(const std::string& path, const std::vector<pid_t>& pids) {
  return absl::DeadlineExceededError(absl::StrCat(
      "kill cgroup ", path, ": ", pids.size(), " processes have not ended: ",
      absl::StrJoin(pids.begin(), pids.begin() + std::min<size_t>(pids.size(), 8), ", ")));
}

// SIGKILL to those of `pids` that `still` has, too: what was opened in between can't be another
// process that got the number of one that had left.
std::vector<UniqueFd> KillByPidfd(const std::vector<pid_t>& pids,
                                  const std::function<std::vector<pid_t>()>& list_again) {
  std::vector<std::pair<pid_t, UniqueFd>> opened;
  for (const pid_t pid : pids) {
    UniqueFd fd(syscall(SYS_pidfd_open, pid, 0));
    if (fd) opened.emplace_back(pid, std::move(fd));
  }
  const std::vector<pid_t> still = list_again();
  std::vector<UniqueFd> killed;
  for (auto& [pid, fd] : opened) {
    if (std::find(still.begin(), still.end(), pid) == still.end()) continue;
    syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
    killed.push_back(std::move(fd));
  }
  return killed;
}

void WaitForExits(const std::vector<UniqueFd>& pidfds, absl::Time deadline) {
  for (const UniqueFd& fd : pidfds) {
    pollfd entry{fd.get(), POLLIN, 0};
    poll(&entry, 1, Milliseconds(deadline));
  }
}

}  // namespace

absl::Status CgroupHost::WaitWhilePopulated(const std::string& path, absl::Time deadline) const {
  const int root = unified()->root.get();
  const UniqueFd events(
      openat(root, CgroupFile(path, "cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  for (;;) {
    absl::StatusOr<std::string> text = ReadCgroupFile(root, CgroupFile(path, "cgroup.events"));
    if (absl::IsNotFound(text.status())) return absl::OkStatus();
    if (!text.ok()) return text.status();
    if (CgroupKeyedValue(*text, "populated") == 0u) return absl::OkStatus();
    if (absl::Now() >= deadline) {
      std::vector<pid_t> pids;
      RETURN_IF_ERROR(AppendProcesses(root, path, &pids));
      return StillThere(path, pids);
    }
    // Each change of the file wakes; reading it (any fd) does not rearm this one: read it, too.
    pollfd entry{events.get(), POLLPRI, 0};
    poll(&entry, 1, std::min(Milliseconds(deadline), 100));
    char sink[256];
    if (pread(events.get(), sink, sizeof sink, 0) < 0) return absl::OkStatus();  // ENODEV: removed
  }
}

absl::Status CgroupHost::KillByFreezer(const std::string& path, absl::Time deadline) const {
  const Hierarchy* hierarchy = primary();
  const int root = hierarchy->root.get();
  const bool v2 = mode_ == CgroupMode::kUnified;
  const Hierarchy* freezer = v2 ? unified() : Find("freezer");
  const std::string state = CgroupFile(path, v2 ? "cgroup.freeze" : "freezer.state");
  const auto list = [&] {
    std::vector<pid_t> pids;
    AppendProcesses(root, path, &pids).IgnoreError();
    return pids;
  };
  for (int round = 0;; ++round) {
    const std::vector<pid_t> pids = list();
    if (pids.empty()) return absl::OkStatus();
    if (round > 0 && absl::Now() >= deadline) return StillThere(path, pids);
    // Frozen processes fork no more; v1's die only when they are thawed.
    if (freezer != nullptr) WriteCgroupFile(freezer->root.get(), state, v2 ? "1" : "FROZEN");
    const std::vector<UniqueFd> killed = KillByPidfd(freezer != nullptr ? list() : pids, list);
    if (freezer != nullptr) WriteCgroupFile(freezer->root.get(), state, v2 ? "0" : "THAWED");
    WaitForExits(killed, deadline);
    // Who has exited leaves the list a moment later, and no event says when.
    if (round > 0) poll(nullptr, 0, std::min({round, 20, std::max(Milliseconds(deadline), 1)}));
  }
}

absl::Status CgroupHost::Kill(const std::string& path, absl::Time deadline) const {
  RETURN_IF_ERROR(Failpoint("cgroup.kill"));
  if (path.empty() || path == "/") {
    return absl::InvalidArgumentError("the root cgroup is not killed");
  }
  const Hierarchy* v2 = unified();
  if (v2 != nullptr) {
    // 5.14. The failpoint stands for a kernel without it.
    const bool missing = !Failpoint("cgroup.kill_file").ok();
    const int error =
        missing ? ENOENT : WriteCgroupFile(v2->root.get(), CgroupFile(path, "cgroup.kill"), "1");
    if (mode_ == CgroupMode::kUnified) {
      if (error == ENOENT) return Exists(path) ? KillByFreezer(path, deadline) : absl::OkStatus();
      if (error != 0) return ErrnoStatusOf(error, absl::StrCat("write 1 to cgroup.kill of ", path));
      return WaitWhilePopulated(path, deadline);
    }
  }
  // Hybrid: what cgroup.kill has reached is dying already; the rest joined v1 hierarchies only.
  return KillByFreezer(path, deadline);
}

absl::Status CgroupHost::Freeze(const std::string& path, absl::Time deadline) const {
  RETURN_IF_ERROR(Failpoint("cgroup.freeze"));
  const bool v2 = mode_ == CgroupMode::kUnified;
  const Hierarchy* hierarchy = v2 ? unified() : Find("freezer");
  if (hierarchy == nullptr) return absl::FailedPreconditionError("this host has no freezer cgroup");
  const int root = hierarchy->root.get();
  const std::string file = CgroupFile(path, v2 ? "cgroup.freeze" : "freezer.state");
  if (const int error = WriteCgroupFile(root, file, v2 ? "1" : "FROZEN"); error != 0) {
    return ErrnoStatusOf(error, absl::StrCat("freeze cgroup ", path));
  }
  for (int wait = 1;; wait = std::min(wait * 2, 20)) {
    absl::StatusOr<std::string> state =
        ReadCgroupFile(root, v2 ? CgroupFile(path, "cgroup.events") : file);
    if (!state.ok()) return state.status();
    if (v2 ? CgroupKeyedValue(*state, "frozen") == 1u : *state == "FROZEN") return absl::OkStatus();
    if (absl::Now() >= deadline) {
      Thaw(path).IgnoreError();
      return absl::DeadlineExceededError(absl::StrCat("freeze cgroup ", path));
    }
    poll(nullptr, 0, std::min(wait, std::max(Milliseconds(deadline), 1)));  // v1 has no event
  }
}

absl::Status CgroupHost::Thaw(const std::string& path) const {
  const bool v2 = mode_ == CgroupMode::kUnified;
  const Hierarchy* hierarchy = v2 ? unified() : Find("freezer");
  if (hierarchy == nullptr) return absl::OkStatus();
  const std::string file = CgroupFile(path, v2 ? "cgroup.freeze" : "freezer.state");
  if (const int error = WriteCgroupFile(hierarchy->root.get(), file, v2 ? "0" : "THAWED");
      error != 0) {
    return ErrnoStatusOf(error, absl::StrCat("thaw cgroup ", path));
  }
  return absl::OkStatus();
}

}  // namespace berth
