// The systemd cgroup driver: each container's cgroup is a transient scope, `berth-ID.scope`, below the slice
// that kubelet names. For hosts with cgroup v2 that systemd runs.
//
// A scope wants a process from the start and ends with its last one. So CreateHeld starts it around a
// *placeholder*, a process that only waits, and the hold that it returns ends the placeholder when the
// container's own process has joined. The limits are in force before that process exists, and it is born into
// its cgroup (CLONE_INTO_CGROUP), as with cgroupfs.
//
// The scope's own cgroup belongs to systemd, which writes the unit's properties to it again at each
// daemon-reload (and 0 to memory.oom.group). So processes live one level below, in the delegated
//
//   /kubepods.slice/kubepods-pod1.slice/berth-0123….scope/container
//
// where every limit stands as it was asked for and systemd never writes; the unit has those that it knows, too,
// for systemctl and systemd-cgtop. Paths of containers name the scope: counts and kills there are for all below.
//
// A crash leaves scopes. The hold's pipe breaks with the daemon, so that one without a container's process ends
// by itself; the rest is found by Leftovers: scopes' descriptions name the daemon's instance.
#ifndef BERTH_RUNTIME_CGROUP_SYSTEMD_H_
#define BERTH_RUNTIME_CGROUP_SYSTEMD_H_

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "runtime/cgroup.h"
#include "runtime/systemd_manager.h"

namespace berth {

class SystemdCgroupHost final : public CgroupHost {
 public:
  // `keeper`: the keeper's program, which is the placeholder's, too. FailedPrecondition unless the host has
  // cgroup v2 alone and systemd runs it.
  static absl::StatusOr<std::unique_ptr<SystemdCgroupHost>> Make(std::unique_ptr<CgroupHost> host,
                                                                 std::string keeper,
                                                                 const InstanceId& instance);

  absl::StatusOr<std::string> ParentPath(absl::string_view parent) const override;
  absl::StatusOr<std::string> PathFor(absl::string_view parent,
                                      absl::string_view name) const override;
  std::string DefaultParent() const override;
  absl::StatusOr<std::unique_ptr<CgroupHold>> CreateHeld(const std::string& path) const override;
  absl::Status Apply(const std::string& path, const CgroupResources& resources) const override;
  absl::Status Remove(const std::string& path) const override;
  absl::StatusOr<std::vector<OwnedCgroup>> Leftovers() const override;

 protected:
  std::string ProcessPath(const std::string& path) const override;

 private:
  SystemdCgroupHost(CgroupHost&& host, std::string keeper, const InstanceId& instance);
  absl::Status StartScope(const std::string& path, pid_t placeholder) const;

  const std::string keeper_;
  const InstanceId instance_;
  const SystemdManager systemd_{};
};

}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_SYSTEMD_H_
