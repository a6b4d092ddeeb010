// How much containers have written: known from the background, since only a walk of the files tells.
//
// A reading returns what is known, and if that is old, asks for a new measurement; it never waits for
// a disk. One thread measures, one layer at a time, for at most a tenth of its time, and no layer more
// often than every ten seconds or twenty times what its measurement takes. Nobody reads: nobody
// measures.
#ifndef BERTH_SERVER_STATISTICS_WRITABLE_LAYERS_H_
#define BERTH_SERVER_STATISTICS_WRITABLE_LAYERS_H_

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "snapshotter/snapshotter.h"

namespace berth {

// Thread-safe. The destructor waits for a measurement to notice that it is cancelled.
class WritableLayers {
 public:
  using Measure = std::function<absl::StatusOr<DiskUsage>(const SnapshotId&, const Cancellation&)>;
  struct Measured {
    DiskUsage usage;
    absl::Time at;  // by the wall clock
  };

  explicit WritableLayers(Measure measure, absl::Duration shortest_age = absl::Seconds(10))
      : measure_(std::move(measure)), shortest_age_(shortest_age) {}
  ~WritableLayers();
  WritableLayers(const WritableLayers&) = delete;
  WritableLayers& operator=(const WritableLayers&) = delete;

  // Nothing until the first measurement.
  std::optional<Measured> Get(const SnapshotId& id);
  // It is gone, or nobody will ask again.
  void Forget(const SnapshotId& id);

 private:
  struct Layer {
    std::optional<Measured> last;
    absl::Time due = absl::InfinitePast();  // by the steady clock
    bool queued = false;
  };
  void Run();
  // False when it is time to end.
  bool MeasureOne(const SnapshotId& id);

  const Measure measure_;
  const absl::Duration shortest_age_;
  Cancellation ending_;
  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<SnapshotId, Layer> layers_ ABSL_GUARDED_BY(mu_);
  std::deque<SnapshotId> queue_ ABSL_GUARDED_BY(mu_);
  std::thread thread_ ABSL_GUARDED_BY(mu_);  // started at the first Get
};

}  // namespace berth

#endif  // BERTH_SERVER_STATISTICS_WRITABLE_LAYERS_H_
