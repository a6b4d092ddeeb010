// The two clocks of the daemon.
//
//   WallNow()    what people and records see. It jumps when somebody sets the machine's clock.
//   SteadyNow()  what the wall clock was at the process's start, and from then on CLOCK_MONOTONIC. It
//                never jumps: for what is kept for a while before it is due.
//
// A deadline that is passed down is a time of the wall clock; what keeps it (timers, the kill times of
// stops) turns it into one of the steady clock at once. So a jump may end a call that is under way too
// early, which is repeated, but puts nothing off. Stored times that order (created_at) increase by
// themselves.
#ifndef BERTH_BASE_CLOCK_H_
#define BERTH_BASE_CLOCK_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace berth {

absl::Time WallNow();
absl::Time SteadyNow();

// A time of the wall clock as it is now, as one of the steady clock. Infinite times stay so.
inline absl::Time ToSteady(absl::Time wall) { return SteadyNow() + (wall - WallNow()); }

// For tests: from now on the wall clock is off by the nanoseconds in the first eight bytes of the file
// (int64, host order), which may be changed at any time. Before there are threads. Deadlines of calls stay
// what they are, by absl::Now(): give timers and kill times what comes from WallNow().
absl::Status ShareWallClockOffset(const std::string& path);

}  // namespace berth

#endif  // BERTH_BASE_CLOCK_H_
