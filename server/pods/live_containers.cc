#include "server/pods/live_containers.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace berth {
void LiveContainers::SetGated(const ContainerId& id, bool gated) {
  MutexLock lock(&mu_);
  live_[id].gated = gated;
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
  Live& live = live_[id];
  live.starting = false;
  return std::exchange(live.held_exit, std::nullopt);
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
  Live& live = live_[id];
  live.kill_at = std::min(live.kill_at, kill_at);
  Changed();
  return live.kill_at;
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
  while (true) {
    uint64_t seen;
    {
      MutexLock lock(&mu_);
      seen = changes_;
    }
    if (ended()) return true;
    MutexLock lock(&mu_);
    while (changes_ == seen) {
      const absl::Time next = std::min(until, KillTime(id));
      if (absl::Now() >= next || (caller != nullptr && caller->cancelled())) return false;
      changed_.WaitWithDeadline(&mu_, next);
    }
  }
}

bool LiveContainers::WaitForEnd(absl::Time until, const std::function<bool()>& ended) {
  while (true) {
    uint64_t seen;
    {
      MutexLock lock(&mu_);
      seen = changes_;
    }
    if (ended()) return true;
    MutexLock lock(&mu_);
    while (changes_ == seen) {
      if (absl::Now() >= until) return false;
      changed_.WaitWithDeadline(&mu_, until);
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
