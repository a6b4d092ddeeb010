// usage_nano_cores: how many billionths of a core were used between two samples.
//
// Samples are taken when somebody asks, never by a timer of ours: a node that nobody watches costs
// nothing. The rate is that between the sample at hand and the last one that is at least a second
// old, so two clients that ask one after the other don't spoil each other's interval.
#ifndef BERTH_SERVER_STATISTICS_CPU_RATE_H_
#define BERTH_SERVER_STATISTICS_CPU_RATE_H_

#include <cstdint>
#include <optional>

namespace berth {

class CpuRate {
 public:
  // `at_ns` since 1970, `usage_ns` cumulative. The rate, or nothing with the first sample. A counter
  // or a clock that goes back starts anew.
  std::optional<uint64_t> Sample(int64_t at_ns, uint64_t usage_ns) {
    if (base_.has_value() && (usage_ns < base_->usage_ns || at_ns < base_->at_ns)) {
      base_.reset();
      rate_.reset();
    }
    if (!base_.has_value()) {
      base_ = {at_ns, usage_ns};
      return std::nullopt;
    }
    const int64_t elapsed = at_ns - base_->at_ns;
    if (elapsed >= kInterval || (!rate_.has_value() && elapsed >= kShortest)) {
      rate_ = static_cast<uint64_t>(static_cast<double>(usage_ns - base_->usage_ns) * 1e9 /
                                    static_cast<double>(elapsed));
    }
    if (elapsed >= kInterval) base_ = {at_ns, usage_ns};
    return rate_;
  }

 private:
  static constexpr int64_t kInterval = 1'000'000'000;
  // A first rate comes sooner, but not from an interval that the scheduler's tick spoils.
  static constexpr int64_t kShortest = 100'000'000;
  struct Taken {
    int64_t at_ns;
    uint64_t usage_ns;
  };
  std::optional<Taken> base_;
  std::optional<uint64_t> rate_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STATISTICS_CPU_RATE_H_
