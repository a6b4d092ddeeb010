// The process_* series, as every Prometheus client library has them.
#ifndef BERTH_SERVER_METRICS_PROCESS_METRICS_H_
#define BERTH_SERVER_METRICS_PROCESS_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace berth {

// Reads /proc/self at each scrape; what can't be read is left out.
class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace berth

#endif  // BERTH_SERVER_METRICS_PROCESS_METRICS_H_
