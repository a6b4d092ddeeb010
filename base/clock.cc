#include "base/clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cstdint>

#include "absl/time/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

// Of the test that shares it; never unmapped.
const std::atomic<int64_t>* wall_offset_ns = nullptr;

int64_t MonotonicNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace

absl::Time WallNow() {
  const absl::Time now = absl::Now();
  if (wall_offset_ns == nullptr) return now;
  return now + absl::Nanoseconds(wall_offset_ns->load(std::memory_order_relaxed));
}

absl::Time SteadyNow() {
  static const absl::Time origin = absl::Now() - absl::Nanoseconds(MonotonicNanos());
  return origin + absl::Nanoseconds(MonotonicNanos());
}

absl::Status ShareWallClockOffset(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus("open", path);
  void* const page = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) return ErrnoStatus("mmap", path);
  wall_offset_ns = static_cast<const std::atomic<int64_t>*>(page);
  return absl::OkStatus();
}

}  // namespace berth
