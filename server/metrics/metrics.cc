#include "server/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <initializer_list>
#include <iterator>
#include <sstream>
#include <utility>
#include <vector>

#include "base/version.h"
#include "server/metrics/process_metrics.h"

namespace berth {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;

// In the order of the enums.
constexpr const char* kPodPhases[] = {"netns", "keeper", "cni", "commit"};
constexpr const char* kContainerPhases[] = {"image",  "snapshot", "spec",  "cgroup", "plan",
                                            "create", "store",    "start", "commit"};
constexpr const char* kImagePullPhases[] = {"resolve", "download", "unpack", "sync", "commit"};

// Seconds. A phase takes from tens of microseconds to, with a slow plugin, many seconds.
const Histogram::BucketBoundaries& PhaseBuckets() {
  static const auto& buckets = *new Histogram::BucketBoundaries{
      0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
      0.05,    0.1,    0.2,    0.5,    1,     2,     5,     10,   30};
  return buckets;
}
const Histogram::BucketBoundaries& RpcBuckets() {
  static const auto& buckets = *new Histogram::BucketBoundaries{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
      0.1,    0.25,    0.5,    1,     2.5,    5,     10,   30,    120};
  return buckets;
}
const Histogram::BucketBoundaries& PullBuckets() {
  static const auto& buckets = *new Histogram::BucketBoundaries{
      0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
  return buckets;
}

Family<Histogram>* NewHistogram(prometheus::Registry* registry, const char* name,
                                const char* help) {
  return &prometheus::BuildHistogram().Name(name).Help(help).Register(*registry);
}

Counter* NewCounter(prometheus::Registry* registry, const char* name, const char* help) {
  return &prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
}

template <size_t n>
std::vector<Histogram*> NewPhases(prometheus::Registry* registry, const char* name,
                                  const char* help, const char* const (&phases)[n],
                                  const Histogram::BucketBoundaries& buckets) {
  Family<Histogram>* family = NewHistogram(registry, name, help);
  std::vector<Histogram*> histograms;
  for (const char* phase : phases) {
    histograms.push_back(&family->Add({{"phase", phase}}, buckets));
  }
  return histograms;
}

prometheus::ClientMetric GaugeOf(double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  return metric;
}

// A gauge by state; `always` are there even when nothing is in them.
MetricFamily ByState(const char* name, const char* help, std::map<std::string, int64_t> counts,
                     std::initializer_list<const char*> always) {
  for (const char* state : always) counts.emplace(state, 0);
  MetricFamily family{name, help, MetricType::Gauge, {}};
  for (const auto& [state, count] : counts) {
    prometheus::ClientMetric metric = GaugeOf(static_cast<double>(count));
    metric.label.push_back({"state", state});
    family.metric.push_back(std::move(metric));
  }
  return family;
}

// A counter that is kept elsewhere.
MetricFamily CounterBy(const char* label, const char* name, const char* help,
                       std::map<std::string, uint64_t> counts,
                       std::initializer_list<const char*> always) {
  for (const char* value : always) counts.emplace(value, 0);
  MetricFamily family{name, help, MetricType::Counter, {}};
  for (const auto& [value, count] : counts) {
    prometheus::ClientMetric metric;
    metric.counter.value = static_cast<double>(count);
    metric.label.push_back({label, value});
    family.metric.push_back(std::move(metric));
  }
  return family;
}

}  // namespace

// ---- RpcMetric

RpcMetric::RpcMetric(std::string method, Family<Histogram>* durations, Family<Counter>* errors)
    : method_(std::move(method)), durations_(durations), errors_(errors) {}

void RpcMetric::Observe(absl::Duration duration, absl::StatusCode code) {
  // Add returns the same object for the same labels: two threads at the first use are harmless.
  Histogram* histogram = duration_.load(std::memory_order_acquire);
  if (histogram == nullptr) {
    histogram = &durations_->Add({{"method", method_}}, RpcBuckets());
    duration_.store(histogram, std::memory_order_release);
  }
  histogram->Observe(absl::ToDoubleSeconds(duration));
  if (code == absl::StatusCode::kOk) return;
  size_t index = static_cast<size_t>(code);
  if (index >= error_.size()) index = static_cast<size_t>(absl::StatusCode::kUnknown);
  Counter* counter = error_[index].load(std::memory_order_acquire);
  if (counter == nullptr) {
    const auto known = static_cast<absl::StatusCode>(index);
    counter = &errors_->Add({{"method", method_}, {"code", absl::StatusCodeToString(known)}});
    error_[index].store(counter, std::memory_order_release);
  }
  counter->Increment();
}

// ---- Metrics

class Metrics::StateCollector : public prometheus::Collectable {
 public:
  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> families;
    MetricFamily build{"berth_build_info",
                       "The version of this build; always 1.",
                       MetricType::Gauge,
                       {GaugeOf(1)}};
    build.metric[0].label.push_back({"version", kBerthVersion});
    families.push_back(std::move(build));
    if (source == nullptr) return families;
    StateCounts counts = source();
    families.push_back(ByState("berth_pods", "Pod sandboxes by state.", std::move(counts.pods),
                               {"preparing", "ready", "notready", "removing"}));
    families.push_back(ByState("berth_containers", "Containers by state.",
                               std::move(counts.containers),
                               {"created", "running", "exited", "unknown"}));
    families.push_back(
        ByState("berth_keepers", "Keepers by state.", std::move(counts.keepers), {"connected"}));
    families.push_back({"berth_images",
                        "Images.",
                        MetricType::Gauge,
                        {GaugeOf(static_cast<double>(counts.images))}});
    families.push_back({"berth_stream_connections",
                        "Connections to the streaming server.",
                        MetricType::Gauge,
                        {GaugeOf(static_cast<double>(counts.stream_connections))}});
    families.push_back(CounterBy(
        "kind", "berth_stream_sessions_total", "Sessions of exec, attach and port-forward.",
        std::move(counts.stream_sessions), {"attach", "exec", "portforward"}));
    families.push_back(CounterBy("code", "berth_stream_refusals_total",
                                 "Requests that the streaming server refused, by HTTP status.",
                                 std::move(counts.stream_refusals), {}));
    return families;
  }

  std::function<StateCounts()> source;
};

class Metrics::Series {
 public:
  explicit Series(prometheus::Registry* registry)
      : rpc_durations(NewHistogram(registry, "berth_rpc_duration_seconds",
                                   "Time from an RPC's arrival to its answer.")),
        rpc_errors(&prometheus::BuildCounter()
                        .Name("berth_rpc_errors_total")
                        .Help("RPCs that did not end with OK.")
                        .Register(*registry)),
        pod(NewPhases(registry, "berth_pod_start_phase_seconds", "Phases of RunPodSandbox.",
                      kPodPhases, PhaseBuckets())),
        container(NewPhases(registry, "berth_container_start_phase_seconds",
                            "Phases of CreateContainer and StartContainer.", kContainerPhases,
                            PhaseBuckets())),
        pull(NewPhases(registry, "berth_image_pull_phase_seconds", "Phases of PullImage.",
                       kImagePullPhases, PullBuckets())),
        exec(&NewHistogram(registry, "berth_exec_duration_seconds",
                           "Life of the processes of ExecSync.")
                  ->Add({}, RpcBuckets())),
        exec_timeouts(NewCounter(registry, "berth_exec_timeouts_total",
                                 "Processes of ExecSync that were killed at their time-out.")),
        exits(&prometheus::BuildCounter()
                   .Name("berth_container_exits_total")
                   .Help("Containers that ended, by reason.")
                   .Register(*registry)),
        lost_logs(NewCounter(registry, "berth_container_logs_incomplete_total",
                             "Containers that ended with output that is not in their log.")),
        pulled_bytes(NewCounter(registry, "berth_image_pulled_bytes_total",
                                "Compressed bytes received from registries.")),
        reused_layers(NewCounter(registry, "berth_image_reused_layers_total",
                                 "Layers that a pull needed and that were there.")) {
    static_assert(std::size(kPodPhases) == static_cast<size_t>(PodPhase::kCommit) + 1);
    static_assert(std::size(kContainerPhases) == static_cast<size_t>(ContainerPhase::kCommit) + 1);
    static_assert(std::size(kImagePullPhases) == static_cast<size_t>(ImagePullPhase::kCommit) + 1);
  }

  Family<Histogram>* const rpc_durations;
  Family<Counter>* const rpc_errors;
  const std::vector<Histogram*> pod, container, pull;
  Histogram* const exec;
  Counter* const exec_timeouts;
  Family<Counter>* const exits;
  Counter* const lost_logs;
  Counter* const pulled_bytes;
  Counter* const reused_layers;
};

Metrics::Metrics()
    : registry_(std::make_unique<prometheus::Registry>()),
      series_(std::make_unique<Series>(registry_.get())),
      states_(std::make_unique<StateCollector>()) {}

Metrics::~Metrics() = default;

RpcMetric* Metrics::Rpc(absl::string_view method) {
  MutexLock lock(&mu_);
  std::unique_ptr<RpcMetric>& rpc = rpcs_[method];
  if (rpc == nullptr) {
    rpc.reset(new RpcMetric(std::string(method), series_->rpc_durations, series_->rpc_errors));
  }
  return rpc.get();
}

void Metrics::Observe(PodPhase phase, absl::Duration duration) {
  series_->pod[static_cast<size_t>(phase)]->Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::Observe(ContainerPhase phase, absl::Duration duration) {
  series_->container[static_cast<size_t>(phase)]->Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::Observe(ImagePullPhase phase, absl::Duration duration) {
  series_->pull[static_cast<size_t>(phase)]->Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::ObserveExec(absl::Duration duration, bool timed_out) {
  series_->exec->Observe(absl::ToDoubleSeconds(duration));
  if (timed_out) series_->exec_timeouts->Increment();
}

void Metrics::AddExit(const std::string& reason, bool log_lost) {
  series_->exits->Add({{"reason", reason}}).Increment();  // the same object for the same labels
  if (log_lost) series_->lost_logs->Increment();
}

void Metrics::AddPulledBytes(uint64_t bytes) {
  series_->pulled_bytes->Increment(static_cast<double>(bytes));
}

void Metrics::AddReusedLayer() { series_->reused_layers->Increment(); }

void Metrics::SetStateSource(std::function<StateCounts()> source) {
  states_->source = std::move(source);
}

std::string Metrics::Serialize() const {
  std::vector<MetricFamily> families = registry_->Collect();
  for (const std::vector<MetricFamily>& more : {states_->Collect(), ProcessMetrics().Collect()}) {
    families.insert(families.end(), more.begin(), more.end());
  }
  std::ostringstream text;
  text.imbue(std::locale::classic());
  prometheus::TextSerializer().Serialize(text, families);
  return text.str();
}

}  // namespace berth
