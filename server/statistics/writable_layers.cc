#include "server/statistics/writable_layers.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/clock.h"

namespace berth {
namespace {

constexpr int kShare = 10;       // at most one part of so many of the thread's time is work
constexpr int kAgePerCost = 20;  // a layer's least age, in units of what its measurement took

}  // namespace

WritableLayers::~WritableLayers() {
  ending_.Cancel();
  std::thread thread;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

std::optional<WritableLayers::Measured> WritableLayers::Get(const SnapshotId& id) {
  MutexLock lock(&mu_);
  Layer& layer = layers_[id];
  if (!layer.queued && SteadyNow() >= layer.due && !stopping_) {
    layer.queued = true;
    queue_.push_back(id);
    if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
    changed_.SignalAll();
  }
  return layer.last;
}

void WritableLayers::Forget(const SnapshotId& id) {
  MutexLock lock(&mu_);
  layers_.erase(id);
}

void WritableLayers::Run() {
  pthread_setname_np(pthread_self(), "berth-usage");
  while (true) {
    SnapshotId id;
    {
      MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) changed_.Wait(&mu_);
      if (stopping_) return;
      id = std::move(queue_.front());
      queue_.pop_front();
      if (!layers_.contains(id)) continue;
    }
    if (!MeasureOne(id)) return;
  }
}

bool WritableLayers::MeasureOne(const SnapshotId& id) {
  const absl::Time begin = SteadyNow();
  const absl::StatusOr<DiskUsage> usage = measure_(id, ending_);
  const absl::Time end = SteadyNow();
  const absl::Duration cost = end - begin;
  MutexLock lock(&mu_);
  if (const auto found = layers_.find(id); found != layers_.end()) {
    found->second.queued = false;
    found->second.due = end + std::max(shortest_age_, cost * kAgePerCost);
    if (usage.ok()) found->second.last = {*usage, WallNow()};
  }
  const absl::Time rested = end + cost * (kShare - 1);
  for (absl::Duration left; !stopping_ && (left = rested - SteadyNow()) > absl::ZeroDuration();) {
    changed_.WaitWithDeadline(&mu_, absl::Now() + left);
  }
  return !stopping_;
}

}  // namespace berth
