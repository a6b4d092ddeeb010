#include "server/pods/admissions.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace berth {
namespace {

absl::Status Closed(const PodId& pod) {
  return absl::UnavailableError(absl::StrCat("pod ", pod.str(), " is being stopped"));
}

}  // namespace

absl::StatusOr<Admissions::Admission> Admissions::Enter(const PodId& pod) {
  MutexLock lock(&mu_);
  Door& door = doors_[pod];
  if (door.closures > 0) return Closed(pod);
  ++door.inside;
  return Admission(this, pod);
}

Admissions::Closure Admissions::Close(const PodId& pod) {
  MutexLock lock(&mu_);
  ++doors_[pod].closures;
  return Closure(this, pod);
}

absl::Status Admissions::WaitEmpty(const PodId& pod, absl::Time deadline) {
  MutexLock lock(&mu_);
  while (true) {
    const auto found = doors_.find(pod);
    if (found == doors_.end() || found->second.inside == 0) return absl::OkStatus();
    const int inside = found->second.inside;
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "pod ", pod.str(), ": ", inside, " creations or starts in it are still in progress"));
    }
    left_.WaitWithDeadline(&mu_, deadline);
  }
}

void Admissions::Leave(const PodId& pod) {
  MutexLock lock(&mu_);
  --doors_[pod].inside;
  Tidy(pod);
  left_.SignalAll();
}

void Admissions::Reopen(const PodId& pod) {
  MutexLock lock(&mu_);
  --doors_[pod].closures;
  Tidy(pod);
}

absl::Status Admissions::CheckOpen(const PodId& pod) const {
  MutexLock lock(&mu_);
  const auto found = doors_.find(pod);
  if (found == doors_.end() || found->second.closures == 0) return absl::OkStatus();
  return Closed(pod);
}

void Admissions::Tidy(const PodId& pod) {
  const auto found = doors_.find(pod);
  if (found->second.inside == 0 && found->second.closures == 0) doors_.erase(found);
}

}  // namespace berth
