#include "runtime/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/status.h"
#include "runtime/cgroup_files.h"
#include "runtime/plan.h"

namespace berth {
namespace {

constexpr absl::Duration kRemoveRetry = absl::Milliseconds(500);

// v2 controllers that are handed down to a container's cgroup, as far as the host has them.
// Those that know no threads come first.
constexpr const char* kDelegated[] = {"memory", "io", "hugetlb", "cpuset", "cpu", "pids"};

// Options of a v1 mount that are no controllers (fs/kernfs, cgroup-v1.c).
bool IsMountOption(absl::string_view option) {
  return option == "rw" || option == "ro" || option == "xattr" || option == "noprefix" ||
         option == "clone_children" || option == "cpuset_v2_mode" || option == "favordynmods" ||
         option == "none" || absl::StartsWith(option, "release_agent=") || option.empty();
}

// mountinfo escapes blanks, tabs, newlines and backslashes as octal (proc(5)).
std::string Unescape(absl::string_view field) {
  std::string out;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      out.push_back(static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                                      (field[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

bool Contains(const std::vector<std::string>& list, absl::string_view item) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& s) { return s == item; });
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "" : path.substr(0, slash);
}

// An empty cpuset takes no process; a new one of v1 is empty (cgroup-v1/cpusets.rst). So may be one
// above that somebody else made: it is filled, too.
absl::Status InheritCpuset(int root, const std::string& path, bool is_new) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    if (!is_new) {
      absl::StatusOr<std::string> own = ReadCgroupFile(root, CgroupFile(path, file));
      if (own.ok() && !own->empty()) continue;
    }
    absl::StatusOr<std::string> above = ReadCgroupFile(root, CgroupFile(ParentOf(path), file));
    if (!above.ok()) continue;  // no such file: mounted without the prefix
    if (above->empty() && !ParentOf(path).empty()) {
      RETURN_IF_ERROR(InheritCpuset(root, ParentOf(path), /*is_new=*/false));
      above = ReadCgroupFile(root, CgroupFile(ParentOf(path), file));
      if (!above.ok()) return above.status();
    }
    if (const int error = WriteCgroupFile(root, CgroupFile(path, file), *above); error != 0) {
      return ErrnoStatusOf(error, absl::StrCat("write \"", *above, "\" to ", path, "/", file));
    }
  }
  return absl::OkStatus();
}

// Enables controllers in `file`, a subtree_control, that it lacks. All at once: the threaded ones alone (cpu,
// cpuset, pids) are taken by a cgroup that holds processes, too, and turn its children into such that take
// no process (cgroup-v2.rst, "Threads"). Memory and its like are refused there (EBUSY), and so is the whole.
void EnableControllers(int root, const std::string& file, const std::vector<std::string>& missing) {
  const std::string all = absl::StrCat("+", absl::StrJoin(missing, " +"));
  const int error = WriteCgroupFile(root, file, all);
  if (error == 0 || error == EBUSY || error == EOPNOTSUPP || missing.size() == 1) return;
  // One of them can't be had here; those that processes stand in the way of come first.
  for (const std::string& controller : missing) {
    const int one = WriteCgroupFile(root, file, absl::StrCat("+", controller));
    if (one == EBUSY || one == EOPNOTSUPP) return;
  }
}

// Enables below every ancestor what it has and its children don't. An ancestor that holds processes
// refuses (EBUSY): what that costs is said when a limit is asked for.
void HandControllersDown(int root, const std::string& path) {
  std::string ancestor;
  for (absl::string_view element : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    absl::StatusOr<std::string> has =
        ReadCgroupFile(root, CgroupFile(ancestor, "cgroup.controllers"));
    const std::string subtree = CgroupFile(ancestor, "cgroup.subtree_control");
    absl::StatusOr<std::string> gives = ReadCgroupFile(root, subtree);
    if (!has.ok() || !gives.ok()) return;
    const std::vector<std::string> available = absl::StrSplit(*has, ' ');
    const std::vector<std::string> enabled = absl::StrSplit(*gives, ' ');
    std::vector<std::string> missing;
    for (const char* controller : kDelegated) {
      if (Contains(available, controller) && !Contains(enabled, controller)) {
        missing.emplace_back(controller);
      }
    }
    if (!missing.empty()) EnableControllers(root, subtree, missing);
    absl::StrAppend(&ancestor, "/", element);
  }
}

// Removes the tree of cgroups below and with `path`; 0 or the errno of what stood in the way.
int RemoveCgroupTree(int root, const std::string& path, int depth) {
  if (unlinkat(root, CgroupFile(path, "").c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  if ((errno != EBUSY && errno != ENOTEMPTY) || depth > 64) return errno;
  absl::StatusOr<std::vector<std::string>> children = SubCgroups(root, path);
  if (!children.ok()) return absl::IsNotFound(children.status()) ? 0 : EBUSY;
  for (const std::string& child : *children) {
    if (const int error = RemoveCgroupTree(root, absl::StrCat(path, "/", child), depth + 1)) {
      return error;
    }
  }
  if (unlinkat(root, CgroupFile(path, "").c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  return errno;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CgroupHost>> CgroupHost::Detect() {
  ASSIGN_OR_RETURN(const std::string mountinfo, ReadFile("/proc/self/mountinfo", 64u << 20));
  return DetectFrom(mountinfo);
}

absl::StatusOr<std::unique_ptr<CgroupHost>> CgroupHost::DetectFrom(absl::string_view mountinfo) {
  auto host = std::unique_ptr<CgroupHost>(new CgroupHost);
  bool legacy = false;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const size_t dash = line.find(" - ");
    if (dash == absl::string_view::npos) continue;
    const std::vector<absl::string_view> left = absl::StrSplit(line.substr(0, dash), ' ');
    const std::vector<absl::string_view> right = absl::StrSplit(line.substr(dash + 3), ' ');
    if (left.size() < 6 || right.size() < 3) continue;
    const bool v2 = right[0] == "cgroup2";
    if (!v2 && right[0] != "cgroup") continue;

    Hierarchy hierarchy;
    hierarchy.v2 = v2;
    hierarchy.mount_point = Unescape(left[4]);
    hierarchy.root.reset(open(hierarchy.mount_point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!hierarchy.root) continue;  // shadowed by a later mount
    if (v2) {
      if (host->unified() != nullptr) continue;
      absl::StatusOr<std::string> controllers =
          ReadCgroupFile(hierarchy.root.get(), "cgroup.controllers");
      if (!controllers.ok()) continue;
      hierarchy.controllers = absl::StrSplit(*controllers, ' ', absl::SkipEmpty());
    } else {
      for (absl::string_view option : absl::StrSplit(right[2], ',')) {
        if (!IsMountOption(option)) hierarchy.controllers.emplace_back(option);
      }
      if (hierarchy.controllers.empty() || host->HasController(hierarchy.controllers[0])) continue;
      // Named hierarchies track processes for their owner. systemd kills by its own.
      if (absl::StartsWith(hierarchy.controllers[0], "name=") &&
          (hierarchy.controllers[0] != "name=systemd" ||
           access("/run/systemd/system", F_OK) != 0)) {
        continue;
      }
      legacy = true;
    }
    host->hierarchies_.push_back(std::move(hierarchy));
  }
  if (host->hierarchies_.empty()) {
    return absl::FailedPreconditionError("no cgroup hierarchy is mounted");
  }
  host->mode_ = !legacy                      ? CgroupMode::kUnified
                : host->unified() != nullptr ? CgroupMode::kHybrid
                                             : CgroupMode::kLegacy;
  return host;
}

const CgroupHost::Hierarchy* CgroupHost::Find(absl::string_view controller) const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (Contains(hierarchy.controllers, controller)) return &hierarchy;
  }
  return nullptr;
}

const CgroupHost::Hierarchy* CgroupHost::unified() const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (hierarchy.v2) return &hierarchy;
  }
  return nullptr;
}

const CgroupHost::Hierarchy* CgroupHost::primary() const {
  if (mode_ == CgroupMode::kUnified) return unified();
  if (const Hierarchy* freezer = Find("freezer")) return freezer;
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (!hierarchy.v2) return &hierarchy;
  }
  return unified();
}

bool CgroupHost::HasController(absl::string_view controller) const {
  return Find(controller) != nullptr;
}

absl::StatusOr<std::string> CgroupHost::ParentPath(absl::string_view parent) const {
  if (!parent.empty() && parent.front() != '/') {
    return absl::InvalidArgumentError(absl::StrCat(
        "cgroup parent \"", parent, "\" is not an absolute path",
        absl::EndsWith(parent, ".slice") ? "; slices are for cgroup.driver = \"systemd\"" : ""));
  }
  while (!parent.empty() && parent.back() == '/') parent.remove_suffix(1);
  if (!parent.empty()) {
    for (absl::string_view element : absl::StrSplit(parent.substr(1), '/')) {
      if (element.empty() || element == "." || element == "..") {
        return absl::InvalidArgumentError(
            absl::StrCat("cgroup parent \"", parent, "\" has the element \"", element, "\""));
      }
    }
  }
  return std::string(parent);
}

absl::StatusOr<std::string> CgroupHost::PathFor(absl::string_view parent,
                                                absl::string_view name) const {
  ASSIGN_OR_RETURN(const std::string path, CgroupHost::ParentPath(parent));
  if (name.empty() || name == "." || name == ".." || absl::StrContains(name, "/")) {
    return absl::InvalidArgumentError(absl::StrCat("bad cgroup name \"", name, "\""));
  }
  return absl::StrCat(path, "/", name);
}

absl::Status CgroupHost::CreateIn(const Hierarchy& hierarchy, const std::string& path) const {
  const int root = hierarchy.root.get();
  const std::string relative = CgroupFile(path, "");
  bool is_new = true;
  if (mkdirat(root, relative.c_str(), 0755) != 0) {
    if (errno == ENOENT && !ParentOf(path).empty()) {
      RETURN_IF_ERROR(CreateIn(hierarchy, ParentOf(path)));
      if (mkdirat(root, relative.c_str(), 0755) != 0 && errno != EEXIST) {
        return ErrnoStatus("mkdir", absl::StrCat(hierarchy.mount_point, path));
      }
    } else if (errno != EEXIST) {
      return ErrnoStatus("mkdir", absl::StrCat(hierarchy.mount_point, path));
    } else {
      is_new = false;
    }
  }
  if (!hierarchy.v2 && Contains(hierarchy.controllers, "cpuset")) {
    return InheritCpuset(root, path, is_new);
  }
  return absl::OkStatus();
}

absl::Status CgroupHost::Create(const std::string& path) const {
  RETURN_IF_ERROR(Failpoint("cgroup.create"));
  if (path.empty() || path.front() != '/' || path == "/") {
    return absl::InvalidArgumentError(absl::StrCat("bad cgroup path \"", path, "\""));
  }
  for (size_t i = 0; i < hierarchies_.size(); ++i) {
    const Hierarchy& hierarchy = hierarchies_[i];
    const absl::Status made = CreateIn(hierarchy, path);
    if (made.ok()) continue;
    for (size_t j = 0; j < i; ++j) {
      unlinkat(hierarchies_[j].root.get(), CgroupFile(path, "").c_str(), AT_REMOVEDIR);
    }
    return Annotate(made, "create cgroup");
  }
  HandDown(path);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CgroupHold>> CgroupHost::CreateHeld(const std::string& path) const {
  RETURN_IF_ERROR(Create(path));
  return nullptr;
}

void CgroupHost::HandDown(const std::string& path) const {
  const Hierarchy* v2 = unified();
  if (v2 == nullptr || v2->controllers.empty()) return;
  // One read when nothing is to do, as for every container of a node but the first.
  absl::StatusOr<std::string> has =
      ReadCgroupFile(v2->root.get(), CgroupFile(path, "cgroup.controllers"));
  if (!has.ok()) return;
  const std::vector<std::string> own = absl::StrSplit(*has, ' ');
  for (const char* controller : kDelegated) {
    if (Contains(v2->controllers, controller) && !Contains(own, controller)) {
      HandControllersDown(v2->root.get(), path);
      return;
    }
  }
}

std::vector<CgroupDirectory> CgroupHost::Directories(const std::string& cgroup) const {
  const std::string path = ProcessPath(cgroup);
  // An exec's own sub-cgroup is made where CLONE_INTO_CGROUP and cgroup.kill are, else where a freeze is.
  const Hierarchy* exec_parent = unified() != nullptr ? unified() : primary();
  std::vector<CgroupDirectory> directories;
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (faccessat(hierarchy.root.get(), CgroupFile(path, "").c_str(), F_OK, 0) != 0) continue;
    CgroupDirectory directory;
    directory.path = absl::StrCat(hierarchy.mount_point, path);
    directory.name = hierarchy.mount_point.substr(hierarchy.mount_point.rfind('/') + 1);
    if (hierarchy.v2) directory.plan_flags |= kCgroupV2;
    if (!hierarchy.v2 && Contains(hierarchy.controllers, "freezer")) {
      directory.plan_flags |= kCgroupFreezer;
    }
    if (Contains(hierarchy.controllers, "memory")) directory.plan_flags |= kCgroupMemory;
    if (&hierarchy == exec_parent) directory.plan_flags |= kCgroupExecParent;
    directories.push_back(std::move(directory));
  }
  return directories;
}

std::vector<std::string> CgroupHost::ProcsPaths(const std::string& path) const {
  std::vector<std::string> paths;
  for (const CgroupDirectory& directory : Directories(path)) {
    paths.push_back(absl::StrCat(directory.path, "/cgroup.procs"));
  }
  return paths;
}

std::string CgroupHost::UnifiedPath(const std::string& cgroup) const {
  const std::string path = ProcessPath(cgroup);
  const Hierarchy* v2 = unified();
  if (v2 == nullptr || faccessat(v2->root.get(), CgroupFile(path, "").c_str(), F_OK, 0) != 0) {
    return "";
  }
  return absl::StrCat(v2->mount_point, path);
}

absl::Status CgroupHost::Remove(const std::string& path) const {
  RETURN_IF_ERROR(Failpoint("cgroup.remove"));
  if (path.empty() || path == "/") {
    return absl::InvalidArgumentError("the root cgroup can't be removed");
  }
  const absl::Time deadline = absl::Now() + kRemoveRetry;
  absl::Status result;
  for (const Hierarchy& hierarchy : hierarchies_) {
    int error = RemoveCgroupTree(hierarchy.root.get(), path, 0);
    // The kernel tells nobody when a dying task has left: look again, each time a little later.
    for (int wait = 1; error == EBUSY && absl::Now() < deadline; wait = std::min(wait * 2, 50)) {
      poll(nullptr, 0, wait);
      error = RemoveCgroupTree(hierarchy.root.get(), path, 0);
    }
    if (error == EBUSY) {
      result.Update(absl::UnavailableError(
          absl::StrCat("rmdir ", hierarchy.mount_point, path, ": still in use")));
    } else if (error != 0) {
      result.Update(ErrnoStatusOf(error, absl::StrCat("rmdir ", hierarchy.mount_point, path)));
    }
  }
  return result;
}

bool CgroupHost::Exists(const std::string& path) const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (faccessat(hierarchy.root.get(), CgroupFile(path, "").c_str(), F_OK, 0) == 0) return true;
  }
  return false;
}

absl::StatusOr<std::vector<pid_t>> CgroupHost::Processes(const std::string& path) const {
  if (!Exists(path)) return absl::NotFoundError(absl::StrCat("cgroup ", path, " is gone"));
  std::vector<pid_t> pids;
  RETURN_IF_ERROR(AppendProcesses(primary()->root.get(), path, &pids));
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

std::unique_ptr<CgroupReader> CgroupHost::NewReader(const std::string& path) const {
  const auto place = [this](absl::string_view controller) {
    const Hierarchy* hierarchy = Find(controller);
    if (hierarchy == nullptr) return CgroupPlaces::Place();
    return CgroupPlaces::Place{.root = hierarchy->root.get(), .v2 = hierarchy->v2};
  };
  CgroupPlaces places;
  places.cpu = place("cpu");
  places.memory = place("memory");
  places.pids = place("pids");
  places.hugetlb = place("hugetlb");
  places.cpuacct = place("cpuacct");
  places.io = place(Find("blkio") != nullptr ? "blkio" : "io");
  if (const Hierarchy* v2 = unified(); v2 != nullptr) {
    places.pressure = {.root = v2->root.get(), .v2 = true};
    // The v2 tree counts CPU time in every cgroup, whatever controllers it has.
    if (places.cpuacct.root < 0) places.cpu = places.cpuacct = places.pressure;
  }
  return std::make_unique<CgroupReader>(places, path);
}

absl::StatusOr<std::vector<std::string>> CgroupHost::Children(const std::string& parent,
                                                              absl::string_view prefix) const {
  std::vector<std::string> names;
  for (const Hierarchy& hierarchy : hierarchies_) {
    absl::StatusOr<std::vector<std::string>> children =
        SubCgroups(hierarchy.root.get(), parent == "/" ? "" : parent);
    if (absl::IsNotFound(children.status())) continue;
    if (!children.ok()) return children.status();
    for (std::string& name : *children) {
      if (absl::StartsWith(name, prefix)) names.push_back(std::move(name));
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace berth
