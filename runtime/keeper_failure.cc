#include "runtime/keeper_failure.h"

#include <errno.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "runtime/plan.h"

namespace berth {
namespace {

// Looks things up in a plan that may be missing.
class Names {
 public:
  Names(absl::string_view bytes, uint32_t index)
      : plan_(bytes.empty() ? nullptr : reinterpret_cast<const Plan*>(bytes.data())),
        index_(index) {}

  std::string String(Str Plan::* field) const { return plan_ ? Text(plan_->*field) : ""; }
  std::string At(Table<Str> Plan::* table) const {
    return plan_ && index_ < (plan_->*table).count ? Text(PlanTable(*plan_, plan_->*table)[index_])
                                                   : "";
  }
  template <typename T>
  std::string At(Table<T> Plan::* table, Str T::* field) const {
    return plan_ && index_ < (plan_->*table).count
               ? Text(PlanTable(*plan_, plan_->*table)[index_].*field)
               : "";
  }
  std::string Mount() const {
    const std::string source = At(&Plan::mounts, &PlanMount::source);
    const std::string target = At(&Plan::mounts, &PlanMount::target);
    return source.empty() ? absl::StrCat("mount ", target)
                          : absl::StrCat("mount ", source, " at ", target);
  }
  std::string Layer() const {
    if (!plan_) return "";
    const PlanRootfs& r = plan_->rootfs;
    if (index_ < r.lowers.count) return Text(PlanTable(*plan_, r.lowers)[index_]);
    if (index_ == r.lowers.count) return Text(r.upper);
    return index_ == r.lowers.count + 1 ? Text(r.work) : "";
  }
  std::string User(Str PlanUser::* field) const { return plan_ ? Text(plan_->user.*field) : ""; }
  std::string Program() const {
    return plan_ ? Text(PlanTable(*plan_, plan_->argv)[0]) : std::string("the program");
  }
  std::string Rlimit() const {
    return plan_ && index_ < plan_->rlimits.count
               ? absl::StrCat(PlanTable(*plan_, plan_->rlimits)[index_].resource)
               : "";
  }

 private:
  std::string Text(Str s) const {
    const char* text = PlanString(*plan_, s);
    return text ? text : "";
  }

  const Plan* plan_;
  uint32_t index_;
};

std::string Sentence(const Names& n, const Failure& f) {
  switch (static_cast<Step>(f.step)) {
    case Step::kClone:
      return "clone the process";
    case Step::kDescriptors:
      return "arrange descriptors";
    case Step::kJoinCgroup:
      return absl::StrCat("join cgroup ", n.At(&Plan::cgroups, &PlanCgroup::path));
    case Step::kOomScore:
      return "set oom_score_adj";
    case Step::kAppArmor:
      return absl::StrCat("ask for AppArmor profile ", n.String(&Plan::apparmor),
                          f.error == ENOENT ? " (is it loaded?)" : "");
    case Step::kRlimit:
      return absl::StrCat("set rlimit ", n.Rlimit());
    case Step::kOverlay:
      return absl::StrCat("make the overlay ", n.Layer());
    case Step::kRootfsSource:
      return absl::StrCat("open the root file system ", n.Layer());
    case Step::kMountSource:
      return absl::StrCat(n.Mount(), ": open the source");
    case Step::kMountAttributes:
      return absl::StrCat(n.Mount(), ": set its attributes");
    case Step::kMountNamespace:
      return "make the mount namespace";
    case Step::kCgroupNamespace:
      return "make the cgroup namespace";
    case Step::kAttachRootfs:
      return "attach the root file system";
    case Step::kMountCreate:
      return absl::StrCat(n.Mount(), ": make the file system");
    case Step::kMountTarget:
      return absl::StrCat(n.Mount(), ": make the mount point");
    case Step::kMountAttach:
      // What move_mount(2) says of a file over a directory, and of a directory over a file.
      return absl::StrCat(n.Mount(), ": attach",
                          f.error == EINVAL ? " (is only one of them a directory?)" : "");
    case Step::kDevice:
      return absl::StrCat("make device ", n.At(&Plan::devices, &PlanDevice::path));
    case Step::kSymlink:
      return absl::StrCat("make symlink ", n.At(&Plan::symlinks, &PlanSymlink::path));
    case Step::kSysctl:
      return absl::StrCat("write sysctl ", n.At(&Plan::sysctls, &PlanSysctl::path));
    case Step::kTerminal:
      return absl::StrCat("open the terminal (", f.index, ")");
    case Step::kMakeCwd:
      return absl::StrCat("make working directory ", n.String(&Plan::cwd));
    case Step::kUser:
      return absl::StrCat("find user ", n.User(&PlanUser::user), " in /etc/passwd");
    case Step::kGroup:
      return absl::StrCat("find group ", n.User(&PlanUser::group), " in /etc/group");
    case Step::kReadonlyPath:
      return absl::StrCat("make ", n.At(&Plan::readonly_paths), " read-only");
    case Step::kMaskedPath:
      return absl::StrCat("mask ", n.At(&Plan::masked_paths));
    case Step::kReadonlyMount:
      return absl::StrCat(n.Mount(), ": make it read-only");
    case Step::kReadonlyRootfs:
      return "make the root file system read-only";
    case Step::kPivotRoot:
      return "pivot_root";
    case Step::kHostname:
      return absl::StrCat("set host name ", n.String(&Plan::hostname));
    case Step::kJoinNamespaces:
      return "join the container's namespaces";
    case Step::kStdio:
      return "arrange stdio";
    case Step::kGate:
      return "wait at the gate";
    case Step::kCapabilities:
      return absl::StrCat("set capabilities (", f.index, ")");
    case Step::kGroups:
      return "set groups";
    case Step::kUid:
      return "set the user id";
    case Step::kNoNewPrivs:
      return "set no_new_privs";
    case Step::kSeccomp:
      return "install the seccomp filter";
    case Step::kCwd:
      return absl::StrCat("enter working directory ", n.String(&Plan::cwd));
    case Step::kExecve:
      return absl::StrCat("execute ", n.Program());
    case Step::kHop:
      return absl::StrCat("enter the PID namespace (", f.index, ")");
    case Step::kUserNamespace:
      return absl::StrCat("enter the pod's user namespace (", f.index, ")");
    case Step::kLayerIdMap:
      return absl::StrCat("id-map the layer ", n.Layer());
    case Step::kMountIdMap:
      return absl::StrCat(n.Mount(), ": id-map it",
                          f.error == EINVAL ? " (its file system may not support that)" : "");
    case Step::kMountSubPath:
      return absl::StrCat(n.Mount(), ": open sub-path ", n.At(&Plan::mounts, &PlanMount::sub_path));
    case Step::kRuntimeFiles:
      return absl::StrCat("prepare the bundle ", n.String(&Plan::cwd), " (", f.index, ")");
    case Step::kRuntimeMount:
      return absl::StrCat(n.Mount(), ": make it for the runtime");
    case Step::kRuntimeExecve:
      return absl::StrCat("execute the runtime ", n.Program());
    case Step::kRuntimeFailed:
    case Step::kSupervisor:
    case Step::kNone:
      break;
  }
  return "keeper";
}

}  // namespace

absl::Status DescribeFailure(absl::string_view plan, const Failure& failure) {
  if (static_cast<Step>(failure.step) == Step::kRuntimeFailed) {
    constexpr const char* kCommands[] = {"create", "start", "exec"};
    return absl::UnknownError(absl::StrCat(
        Names(plan, 0).Program(), " ", failure.index < 3 ? kCommands[failure.index] : "",
        failure.error < 0 ? absl::StrCat(": ended by signal ", -failure.error)
                          : absl::StrCat(": exit code ", failure.error)));
  }
  return ErrnoStatusOf(failure.error, Sentence(Names(plan, failure.index), failure));
}

}  // namespace berth
