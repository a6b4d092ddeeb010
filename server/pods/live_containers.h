// What the daemon knows of containers beyond their records: who has a process at its gate, who is
// being started, who waits for an exit, and when a stop turns into a kill.
//
// All of it is found again after a restart: gates from the keepers, the rest has no callers any more.
#ifndef BERTH_SERVER_PODS_LIVE_CONTAINERS_H_
#define BERTH_SERVER_PODS_LIVE_CONTAINERS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "runtime/cgroup.h"
#include "runtime/keeper_client.h"
#include "server/cri/call_context.h"
#include "server/pods/spec_builder.h"

namespace berth {

// Thread-safe.
class LiveContainers {
 public:
  // A process waits at the gate of a CREATED container.
  void SetGated(const ContainerId& id, bool gated);
  bool Gated(const ContainerId& id) const;

  // Between BeginStart and EndStart an exit is held back, so that RUNNING is recorded before EXITED.
  void BeginStart(const ContainerId& id);
  // The exit that came meanwhile.
  std::optional<ExitRecord> EndStart(const ContainerId& id);
  // True if the exit was kept for EndStart.
  bool HoldExit(const ContainerId& id, const ExitRecord& record);

  // Wakes those who wait for the container's end; its record says EXITED already.
  void NotifyEnd(const ContainerId& id);
  // The earliest time at which a stop under way kills, of the wall clock: it may only shrink. An infinite
  // one asks. The end lifts it.
  absl::Time ShrinkKillTime(const ContainerId& id, absl::Time kill_at);
  // True for the first that asks until the container's end: who goes on with a kill in the background.
  bool TakePursuit(const ContainerId& id);
  // Waits until `ended` returns true (asked without any lock held), the container's kill time or
  // `until` passes, or the caller (may be null) is cancelled. The last answer of `ended`.
  bool WaitUntilKillTime(const ContainerId& id, absl::Time until, const CallContext* caller,
                         const std::function<bool()>& ended);
  // The same after the kill: until `ended` or `until` only.
  bool WaitForEnd(absl::Time until, const std::function<bool()>& ended);

  // The specification that a container's process was made from; null after a restart.
  void SetSpec(const ContainerId& id, std::shared_ptr<const BuiltSpec> spec);
  std::shared_ptr<const BuiltSpec> Spec(const ContainerId& id) const;

  // Where its processes are, kept beside a specification; null if it isn't known.
  using Cgroups = std::shared_ptr<const std::vector<CgroupDirectory>>;
  void SetCgroups(const ContainerId& id, Cgroups cgroups);
  Cgroups FindCgroups(const ContainerId& id) const;

  // Drops what is known of it.
  void Erase(const ContainerId& id);

 private:
  struct Live {
    bool gated = false;
    bool starting = false;
    std::optional<ExitRecord> held_exit;
    absl::Time kill_at = absl::InfiniteFuture();  // of the steady clock
    bool pursued = false;
    std::shared_ptr<const BuiltSpec> spec;
    Cgroups cgroups;
  };

  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Time KillTime(const ContainerId& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  CondVar changed_;
  // Counts what waiters may be waiting for, so that none is missed between a question and a wait.
  uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<ContainerId, Live> live_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_LIVE_CONTAINERS_H_
