#include "server/pods/live_containers.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/clock.h"

namespace berth {
void LiveContainers::SetGated(const ContainerId& id, bool gated) {
  MutexLock lock(&mu_);
  if (gated) {
    live_[id].gated = true;
  } else if (const auto found = live_.find(id); found != live_.end()) {
    found->second.gated = false;
  }
}

bool LiveContainers::Gated(const ContainerId& id) const {
  MutexLock lock(&mu_);
  const auto found = live_.find(id);
  return found != live_.end() && found->second.gated;
}

void LiveContainers::BeginStart(const ContainerId& id) {
  MutexLock lock(&mu_);
  Live& live = live_[id];
  live.starting = true;
  live.held_exit.reset();
}

std::optional<ExitRecord> LiveContainers::EndStart(const ContainerId& id) {
  MutexLock lock(&mu_);
  const auto found = live_.find(id);
  if (found == live_.end()) return std::nullopt;
  found->second.starting = false;
  return std::exchange(found->second.held_exit, std::nullopt);
}

bool LiveContainers::HoldExit(const ContainerId& id, const ExitRecord& record) {
  MutexLock lock(&mu_);
  const auto found = live_.find(id);
  if (found == live_.end() || !found->second.starting) return false;
  found->second.held_exit = record;
  return true;
}

void LiveContainers::NotifyEnd(const ContainerId& id) {
  MutexLock lock(&mu_);
  if (const auto found = live_.find(id); found != live_.end()) {
    found->second.kill_at = absl::InfiniteFuture();
    found->second.pursued = false;
  }
  Changed();
}

absl::Time LiveContainers::ShrinkKillTime(const ContainerId& id, absl::Time kill_at) {
  MutexLock lock(&mu_);
  if (const absl::Time at = ToSteady(kill_at); at < KillTime(id)) {
    live_[id].kill_at = at;
    Changed();
  }
  return WallNow() + (KillTime(id) - SteadyNow());
}

bool LiveContainers::TakePursuit(const ContainerId& id) {
  MutexLock lock(&mu_);
  return !std::exchange(live_[id].pursued, true);
}

bool LiveContainers::WaitUntilKillTime(const ContainerId& id, absl::Time until,
                                       const CallContext* caller,
                                       const std::function<bool()>& ended) {
  CancelSubscription wake;
  if (caller != nullptr) {
    wake = caller->OnCancel([this] {
      MutexLock lock(&mu_);
      Changed();
    });
  }
  const absl::Time end = SteadyNow() + (until - absl::Now());  // a deadline of a call
  while (true) {
    uint64_t seen;
    {
      MutexLock lock(&mu_);
      seen = changes_;
    }
    if (ended()) return true;
    MutexLock lock(&mu_);
    while (changes_ == seen) {
      const absl::Duration left = std::min(end, KillTime(id)) - SteadyNow();
      if (left <= absl::ZeroDuration() || (caller != nullptr && caller->cancelled())) return false;
      changed_.WaitWithDeadline(&mu_, absl::Now() + left);
    }
  }
}

bool LiveContainers::WaitForEnd(absl::Time until, const std::function<bool()>& ended) {
  const absl::Time end = SteadyNow() + (until - absl::Now());  // a deadline of a call
  while (true) {
    uint64_t seen;
    {
      MutexLock lock(&mu_);
      seen = changes_;
    }
    if (ended()) return true;
    MutexLock lock(&mu_);
    while (changes_ == seen) {
      const absl::Duration left = end - SteadyNow();
      if (left <= absl::ZeroDuration()) return false;
      changed_.WaitWithDeadline(&mu_, absl::Now() + left);
    }
  }
}

absl::Time LiveContainers::KillTime(const ContainerId& id) const {
  const auto found = live_.find(id);
  return found == live_.end() ? absl::InfiniteFuture() : found->second.kill_at;
}

void LiveContainers::Changed() {
  ++changes_;
  changed_.SignalAll();
}

void LiveContainers::SetSpec(const ContainerId& id, std::shared_ptr<const BuiltSpec> spec) {
  MutexLock lock(&mu_);
  live_[id].spec = std::move(spec);
}

std::shared_ptr<const BuiltSpec> LiveContainers::Spec(const ContainerId& id) const {
  MutexLock lock(&mu_);
  const auto found = live_.find(id);
  return found == live_.end() ? nullptr : found->second.spec;
}

void LiveContainers::SetCgroups(const ContainerId& id, Cgroups cgroups) {
  MutexLock lock(&mu_);
  const auto found = live_.find(id);
  if (found != live_.end()) found->second.cgroups = std::move(cgroups);
}

LiveContainers::Cgroups LiveContainers::FindCgroups(const ContainerId& id) const {
  MutexLock lock(&mu_);
  const auto found = live_.find(id);
  return found == live_.end() ? nullptr : found->second.cgroups;
}

void LiveContainers::Erase(const ContainerId& id) {
  MutexLock lock(&mu_);
  live_.erase(id);
  Changed();
}

}  // namespace berth
