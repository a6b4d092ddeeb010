// Latencies of one operation and their percentiles.
#ifndef BERTH_TESTS_BENCH_SAMPLES_H_
#define BERTH_TESTS_BENCH_SAMPLES_H_

#include <algorithm>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace berth::testing {

class Samples {
 public:
  void Add(absl::Duration duration) { values_.push_back(absl::ToDoubleMilliseconds(duration)); }
  void AddValue(double value) { values_.push_back(value); }
  bool empty() const { return values_.empty(); }
  int size() const { return static_cast<int>(values_.size()); }

  // The value below which `share` (0 to 1) of the samples are.
  double Percentile(double share) const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    const size_t index = static_cast<size_t>(share * sorted.size());
    return sorted[std::min(index, sorted.size() - 1)];
  }

 private:
  std::vector<double> values_;
};

// Adds the time between construction and destruction.
class Timer {
 public:
  explicit Timer(Samples* samples) : samples_(samples), begin_(absl::Now()) {}
  ~Timer() { samples_->Add(absl::Now() - begin_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  Samples* const samples_;
  const absl::Time begin_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_BENCH_SAMPLES_H_
