// What a directory tree takes on disk.
#ifndef BERTH_SNAPSHOTTER_DISK_USAGE_H_
#define BERTH_SNAPSHOTTER_DISK_USAGE_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/cancellation.h"
#include "snapshotter/snapshotter.h"

namespace berth {

// Follows no link and stays on one file system; what vanishes meanwhile isn't counted, nor what lies
// deeper than 200 directories (each holds a descriptor: a container chooses the depth).
// A cancelled walk ends between two files, with the cancellation's status.
absl::StatusOr<DiskUsage> MeasureDiskUsage(const std::string& path,
                                           const Cancellation& cancellation);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_DISK_USAGE_H_
