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
#include "base/failpoint.h"
#include "base/files.h"
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

// `123 (dd, in uninterruptible sleep at request_wait_answer)`: why it is still there. Nothing is read here
// that waits for the process, as its command line would.
std::string DescribeProcess(pid_t pid) {
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"), 4096).value_or("");
  const size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 >= stat.size()) {
    return absl::StrCat(pid);
  }
  std::string text = absl::StrCat(pid, " (", stat.substr(open + 1, close - open - 1));
  switch (stat[close + 2]) {
    case 'D': {
      const std::string where = ReadFile(absl::StrCat("/proc/", pid, "/wchan"), 256).value_or("");
      absl::StrAppend(&text, ", in uninterruptible sleep");
      if (where.size() > 1) absl::StrAppend(&text, " at ", where);
      break;
    }
    case 'Z':
      absl::StrAppend(&text, ", a zombie");
      break;
    case 'T':
    case 't':
      absl::StrAppend(&text, ", stopped");
      break;
    default:
      break;
  }
  return text + ")";
}

absl::Status StillThere(const std::string& path, const std::vector<pid_t>& pids) {
  std::string text =
      absl::StrCat("kill cgroup ", path, ": ", pids.size(),
                   pids.size() == 1 ? " process has" : " processes have", " not ended: ");
  constexpr size_t kNamed = 8;
  for (size_t i = 0; i < std::min(pids.size(), kNamed); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", DescribeProcess(pids[i]));
  }
  if (pids.size() > kNamed) absl::StrAppend(&text, ", …");
  return absl::DeadlineExceededError(text);
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

// Frozen processes fork no more; v1's die only when they are thawed.
std::vector<UniqueFd> CgroupHost::KillFrozen(const std::string& path) const {
  const int root = primary()->root.get();
  const bool v2 = mode_ == CgroupMode::kUnified;
  const Hierarchy* freezer = v2 ? unified() : Find("freezer");
  const std::string state = CgroupFile(path, v2 ? "cgroup.freeze" : "freezer.state");
  const auto list = [&] {
    std::vector<pid_t> pids;
    AppendProcesses(root, path, &pids).IgnoreError();
    return pids;
  };
  if (freezer != nullptr) WriteCgroupFile(freezer->root.get(), state, v2 ? "1" : "FROZEN");
  std::vector<UniqueFd> killed = KillByPidfd(list(), list);
  if (freezer != nullptr) WriteCgroupFile(freezer->root.get(), state, v2 ? "0" : "THAWED");
  return killed;
}

absl::Status CgroupHost::KillByFreezer(const std::string& path, absl::Time deadline) const {
  for (int round = 0;; ++round) {
    std::vector<pid_t> pids;
    AppendProcesses(primary()->root.get(), path, &pids).IgnoreError();
    if (pids.empty()) return absl::OkStatus();
    if (round > 0 && absl::Now() >= deadline) return StillThere(path, pids);
    WaitForExits(KillFrozen(path), deadline);
    // Who has exited leaves the list a moment later, and no event says when.
    if (round > 0) poll(nullptr, 0, std::min({round, 20, std::max(Milliseconds(deadline), 1)}));
  }
}

absl::Status CgroupHost::SendKill(const std::string& path) const {
  RETURN_IF_ERROR(Failpoint("cgroup.kill"));
  if (path.empty() || path == "/") {
    return absl::InvalidArgumentError("the root cgroup is not killed");
  }
  const Hierarchy* v2 = unified();
  // 5.14. The failpoint stands for a kernel without it.
  const bool missing = v2 == nullptr || !Failpoint("cgroup.kill_file").ok();
  const int error =
      missing ? ENOENT : WriteCgroupFile(v2->root.get(), CgroupFile(path, "cgroup.kill"), "1");
  if (mode_ == CgroupMode::kUnified) {
    if (error != 0 && error != ENOENT) {
      return ErrnoStatusOf(error, absl::StrCat("write 1 to cgroup.kill of ", path));
    }
    if (error == ENOENT && Exists(path)) KillFrozen(path);
    return absl::OkStatus();
  }
  if (error != 0) {
    KillFrozen(path);
    return absl::OkStatus();
  }
  // Hybrid: everything in the v2 tree is dying, unless the v1 freezer holds it.
  if (const Hierarchy* freezer = Find("freezer")) {
    WriteCgroupFile(freezer->root.get(), CgroupFile(path, "freezer.state"), "THAWED");
  }
  return absl::OkStatus();
}

bool CgroupHost::HasKillFile(const std::string& path) const {
  return Failpoint("cgroup.kill_file").ok() &&
         faccessat(unified()->root.get(), CgroupFile(path, "cgroup.kill").c_str(), F_OK, 0) == 0;
}

absl::Status CgroupHost::Kill(const std::string& path, absl::Time deadline) const {
  RETURN_IF_ERROR(SendKill(path));
  if (mode_ == CgroupMode::kUnified && HasKillFile(path)) return WaitWhilePopulated(path, deadline);
  if (mode_ == CgroupMode::kUnified) return KillByFreezer(path, deadline);
  // What was killed in the v2 tree of a hybrid host tells its end; the rest joined v1 hierarchies only.
  if (unified() != nullptr) WaitWhilePopulated(path, deadline).IgnoreError();
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

// Both, where both are: another tool may have frozen it in the v2 tree of a hybrid host.
absl::Status CgroupHost::Thaw(const std::string& path) const {
  absl::Status result;
  const auto thaw = [&](const Hierarchy* hierarchy, const char* file, const char* value) {
    if (hierarchy == nullptr) return;
    const int error = WriteCgroupFile(hierarchy->root.get(), CgroupFile(path, file), value);
    if (error != 0 && error != ENOENT) {
      result.Update(ErrnoStatusOf(error, absl::StrCat("thaw cgroup ", path)));
    }
  };
  thaw(Find("freezer"), "freezer.state", "THAWED");
  thaw(unified(), "cgroup.freeze", "0");
  return result;
}

}  // namespace berth
