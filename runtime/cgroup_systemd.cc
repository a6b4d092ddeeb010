#include "runtime/cgroup_systemd.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/failpoint.h"
#include "base/status.h"
#include "runtime/cgroup_files.h"
#include "runtime/unit_properties.h"

namespace berth {
namespace {

constexpr char kPrefix[] = "berth-";
constexpr char kScope[] = ".scope";
constexpr char kSlice[] = ".slice";
constexpr char kProcesses[] = "/container";

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }
std::string ParentOf(const std::string& path) { return path.substr(0, path.rfind('/')); }
bool IsScope(const std::string& path) { return absl::EndsWith(path, kScope); }

// The slice's name of a scope's path.
std::string SliceOf(const std::string& path) {
  const std::string parent = ParentOf(path);
  return parent.empty() ? "-.slice" : BaseName(parent);
}

// A process that waits. It ends with the daemon, by the end of its pipe.
class Placeholder : public CgroupHold {
 public:
  static absl::StatusOr<std::unique_ptr<Placeholder>> Start(const std::string& keeper);
  ~Placeholder() override {
    kill(pid_, SIGKILL);  // unreaped, so the number is still its own
    siginfo_t info;
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0 && errno == EINTR) {
    }
  }
  pid_t pid() const { return pid_; }

 private:
  Placeholder(pid_t pid, UniqueFd pipe) : pid_(pid), pipe_(std::move(pipe)) {}
  pid_t pid_;
  UniqueFd pipe_;
};

absl::StatusOr<std::unique_ptr<Placeholder>> Placeholder::Start(const std::string& keeper) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe2");
  UniqueFd theirs(ends[0]), ours(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  char hold[] = "--hold";
  char* argv[] = {const_cast<char*>(keeper.c_str()), hold, nullptr};
  char* environment[] = {nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, keeper.c_str(), &actions, nullptr, argv, environment);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatusOf(error, absl::StrCat("start ", keeper));
  return std::unique_ptr<Placeholder>(new Placeholder(pid, std::move(ours)));
}

}  // namespace

SystemdCgroupHost::SystemdCgroupHost(CgroupHost&& host, std::string keeper,
                                     const InstanceId& instance)
    : CgroupHost(std::move(host)), keeper_(std::move(keeper)), instance_(instance) {}

absl::StatusOr<std::unique_ptr<SystemdCgroupHost>> SystemdCgroupHost::Make(
    std::unique_ptr<CgroupHost> host, std::string keeper, const InstanceId& instance) {
  if (host->mode() != CgroupMode::kUnified) {
    return absl::FailedPreconditionError(
        "cgroup.driver: systemd needs a host with cgroup v2 alone; this one has v1 hierarchies");
  }
  if (!SystemdManager::IsBooted()) {
    return absl::FailedPreconditionError(
        "cgroup.driver: systemd does not run this host (no /run/systemd/system)");
  }
  return std::unique_ptr<SystemdCgroupHost>(
      new SystemdCgroupHost(std::move(*host), std::move(keeper), instance));
}

absl::StatusOr<std::string> SystemdCgroupHost::ParentPath(absl::string_view parent) const {
  return SlicePath(parent);
}

absl::StatusOr<std::string> SystemdCgroupHost::PathFor(absl::string_view parent,
                                                       absl::string_view name) const {
  ASSIGN_OR_RETURN(const std::string slice, SlicePath(parent));
  if (name.empty() || name.find_first_not_of("0123456789abcdef") != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("bad cgroup name \"", name, "\""));
  }
  return absl::StrCat(slice, "/", kPrefix, name, kScope);
}

std::string SystemdCgroupHost::DefaultParent() const {
  return absl::StrCat(kPrefix, instance_.str(), kSlice);
}

std::string SystemdCgroupHost::ProcessPath(const std::string& path) const {
  return IsScope(path) ? absl::StrCat(path, kProcesses) : path;
}

absl::Status SystemdCgroupHost::StartScope(const std::string& path, pid_t placeholder) const {
  const std::string unit = BaseName(path);
  const std::string description = absl::StrCat("Berth container ", absl::StripSuffix(unit, kScope),
                                               " of instance ", instance_.str());
  const auto start = [&] {
    return systemd_.StartScope(unit, SliceOf(path), placeholder, description, {});
  };
  absl::Status started = start();
  if (!absl::IsAlreadyExists(started)) return started;
  // An earlier process of the same container, which has ended: systemd has not noticed yet.
  const absl::StatusOr<std::vector<pid_t>> processes = Processes(path);
  if (processes.ok() && !processes->empty()) return started;
  RETURN_IF_ERROR(systemd_.Stop(unit));
  return start();
}

absl::StatusOr<std::unique_ptr<CgroupHold>> SystemdCgroupHost::CreateHeld(
    const std::string& path) const {
  RETURN_IF_ERROR(Failpoint("cgroup.create"));
  if (!IsScope(path)) {
    return absl::InvalidArgumentError(absl::StrCat("cgroup ", path, " is no scope"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Placeholder> placeholder, Placeholder::Start(keeper_));
  RETURN_IF_ERROR_WITH(StartScope(path, placeholder->pid()), "create cgroup");
  // With processes below only, controllers can be handed down (cgroup-v2.rst, "No Internal Process
  // Constraint").
  const int root = unified()->root.get();
  const std::string processes = ProcessPath(path);
  if (mkdirat(root, CgroupFile(processes, "").c_str(), 0755) != 0 && errno != EEXIST) {
    return ErrnoStatus("mkdir cgroup", processes);
  }
  if (const int error = WriteCgroupFile(root, CgroupFile(processes, "cgroup.procs"),
                                        absl::StrCat(placeholder->pid()));
      error != 0) {
    return ErrnoStatusOf(error, absl::StrCat("move the placeholder to cgroup ", processes));
  }
  HandDown(processes);
  return placeholder;
}

// The exact limits first: what the kernel refuses is refused before the unit has it.
absl::Status SystemdCgroupHost::Apply(const std::string& path,
                                      const CgroupResources& resources) const {
  RETURN_IF_ERROR(CgroupHost::Apply(path, resources));
  if (!IsScope(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UnitProperties properties, PropertiesOf(resources));
  return systemd_.SetProperties(BaseName(path), properties);
}

absl::Status SystemdCgroupHost::Remove(const std::string& path) const {
  if (!absl::EndsWith(path, kSlice)) RETURN_IF_ERROR(CgroupHost::Remove(path));
  if (!IsScope(path) && !absl::EndsWith(path, kSlice)) return absl::OkStatus();
  // Its cgroup is gone: systemd collects the unit by itself, if it doesn't answer now.
  const absl::Status stopped = systemd_.Stop(BaseName(path));
  return IsScope(path) ? absl::OkStatus() : stopped;
}

absl::StatusOr<std::vector<OwnedCgroup>> SystemdCgroupHost::Leftovers() const {
  ASSIGN_OR_RETURN(const std::vector<ScopeUnit> units,
                   systemd_.ListScopes(absl::StrCat(kPrefix, "*", kScope)));
  std::vector<OwnedCgroup> owned;
  for (const ScopeUnit& unit : units) {
    if (!absl::EndsWith(unit.description, absl::StrCat(" of instance ", instance_.str()))) continue;
    OwnedCgroup cgroup;
    cgroup.name = std::string(absl::StripSuffix(absl::StripPrefix(unit.name, kPrefix), kScope));
    cgroup.path = unit.control_group;
    if (cgroup.path.empty()) {  // failed, or just ending
      const absl::StatusOr<std::string> slice = SlicePath(unit.slice);
      if (!slice.ok()) continue;
      cgroup.path = absl::StrCat(*slice, "/", unit.name);
    }
    owned.push_back(std::move(cgroup));
  }
  return owned;
}

}  // namespace berth
