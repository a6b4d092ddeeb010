// PlanBuilder: the one place where a Plan's bytes are laid out.
//
// The compiler fills a PlanContents, a mirror of Plan with owned strings and vectors, and BuildPlan
// serialises it. Example:
//
//   PlanContents c;
//   c.rootfs_kind = RootfsKind::kBind;
//   c.lowers = {"/srv/rootfs"};
//   c.mounts.push_back({MountKind::kProc, "", "/proc"});
//   c.argv = {"/bin/true"};
//   ASSIGN_OR_RETURN(std::string plan, BuildPlan(c));
#ifndef BERTH_RUNTIME_PLAN_BUILDER_H_
#define BERTH_RUNTIME_PLAN_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/plan.h"

namespace berth {

// An empty string is an absent one, except in sysctl values, argv and envp.
struct PlanContents {
  struct Cgroup {
    std::string path;
    uint32_t flags = 0;  // CgroupFlag
  };
  struct Mount {
    MountKind kind = MountKind::kBind;
    std::string source;
    std::string target;
    std::string options;
    uint64_t attr_set = 0;
    uint64_t attr_clear = 0;
    uint32_t propagation = 0;
    uint32_t flags = 0;  // MountFlag
    uint32_t id_map = 0;
    std::string sub_path;
    std::vector<std::string> lowers;
  };
  struct MountIdMap {
    std::vector<PlanIdMap> uids;
    std::vector<PlanIdMap> gids;
  };
  struct Device {
    std::string path;
    uint32_t mode = 0;
    uint32_t major = 0;
    uint32_t minor = 0;
    uint32_t uid = 0;
    uint32_t gid = 0;
  };
  struct Symlink {
    std::string target;
    std::string path;
  };
  struct Sysctl {
    std::string path;
    std::string value;
  };
  struct Rlimit {
    uint32_t resource = 0;
    uint64_t soft = 0;
    uint64_t hard = 0;
  };

  uint32_t flags = 0;  // PlanFlag
  PidMode pid_mode = PidMode::kOwn;
  std::string pid_target;
  std::vector<Cgroup> cgroups;

  RootfsKind rootfs_kind = RootfsKind::kNone;
  uint32_t rootfs_propagation = 0;
  std::vector<std::string> lowers;
  std::string upper;
  std::string work;
  std::string overlay_options;

  std::vector<Mount> mounts;
  std::vector<Device> devices;
  std::vector<Symlink> symlinks;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::vector<Sysctl> sysctls;
  std::vector<Rlimit> rlimits;

  PlanCapabilities capabilities{};
  std::vector<PlanFilterInstruction> seccomp;
  uint32_t seccomp_flags = 0;
  int32_t oom_score_adj = kOomScoreUnset;

  uint32_t user_flags = kUserHasUid | kUserHasGid;  // UserFlag
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string user;
  std::string group;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;

  std::string cwd = "/";
  std::string hostname;
  std::string domainname;
  uint32_t console_rows = 0;
  uint32_t console_columns = 0;
  std::string apparmor;
  std::vector<std::string> argv;
  std::vector<std::string> envp;
  std::vector<PlanIdMap> uid_maps;
  std::vector<PlanIdMap> gid_maps;
  std::vector<MountIdMap> id_maps;
};

// The plan's bytes. InvalidArgument names the field if a string holds a NUL or ValidatePlan refuses the
// result. Pure; any thread.
absl::StatusOr<std::string> BuildPlan(const PlanContents& contents);

}  // namespace berth

#endif  // BERTH_RUNTIME_PLAN_BUILDER_H_
