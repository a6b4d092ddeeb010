// What the daemon tells Prometheus. docs/metrics.md lists every series.
//
// Observing costs an atomic or a short lock, allocates only at the first use of a label value, and
// may be done from any thread. Nothing is polled: what counts objects asks for it when it is
// scraped. The labels have fixed sets of values, so no number of pods or containers adds a series.
//
//   Metrics metrics;
//   RpcMetric* run_pod = metrics.Rpc("RunPodSandbox");  // once, at start
//   run_pod->Observe(elapsed, status.code());
//   metrics.Observe(PodPhase::kCni, elapsed);
//   std::string text = metrics.Serialize();
#ifndef BERTH_SERVER_METRICS_METRICS_H_
#define BERTH_SERVER_METRICS_METRICS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace prometheus {
class Counter;
class Histogram;
class Registry;
template <typename T>
class Family;
}  // namespace prometheus

namespace berth {

// The steps of the flows, in their order. Their names, which are label values, are in metrics.cc.
enum class PodPhase { kNetns, kKeeper, kCni, kCommit };
enum class ContainerPhase {
  kImage,     // create: resolve the image and the user
  kSnapshot,  // create: prepare the writable layer
  kSpec,      // create: build the OCI specification
  kCgroup,    // create: make the cgroup, with its limits
  kPlan,      // create: compile it
  kCreate,    // create: the keeper makes the process, up to its gate
  kStore,     // create: commit the record
  kStart,     // start: the keeper opens the gate, up to execve
  kCommit,    // start: commit the record
};
enum class ImagePullPhase { kResolve, kDownload, kUnpack, kSync, kCommit };

// How many objects are in which state; keys are label values (PodStateName() and so on).
struct StateCounts {
  std::map<std::string, int64_t> pods;
  std::map<std::string, int64_t> containers;
  int64_t images = 0;
  std::map<std::string, int64_t> keepers;
  int64_t stream_connections = 0;
  std::map<std::string, uint64_t> stream_sessions;  // since the start, by verb
  std::map<std::string, uint64_t> stream_refusals;  // since the start, by HTTP status
};

// One method's latency and errors. Made by Metrics::Rpc, lives as long as Metrics.
class RpcMetric {
 public:
  // An OK code counts in the histogram only; any other in the error counter too.
  void Observe(absl::Duration duration, absl::StatusCode code);

 private:
  friend class Metrics;
  RpcMetric(std::string method, prometheus::Family<prometheus::Histogram>* durations,
            prometheus::Family<prometheus::Counter>* errors);

  const std::string method_;
  prometheus::Family<prometheus::Histogram>* const durations_;
  prometheus::Family<prometheus::Counter>* const errors_;
  std::atomic<prometheus::Histogram*> duration_{nullptr};
  std::array<std::atomic<prometheus::Counter*>, 17> error_{};  // by code
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The same pointer for the same method. `method` is a name of the CRI, never a caller's text.
  RpcMetric* Rpc(absl::string_view method) ABSL_LOCKS_EXCLUDED(mu_);

  void Observe(PodPhase phase, absl::Duration duration);
  void Observe(ContainerPhase phase, absl::Duration duration);
  void Observe(ImagePullPhase phase, absl::Duration duration);
  // From the start of an exec's process to its end, and how it ended.
  void ObserveExec(absl::Duration duration, bool timed_out);
  // A container's end; `reason` is one of the CRI's, never a caller's text.
  void AddExit(const std::string& reason, bool log_lost);
  void AddPulledBytes(uint64_t bytes);
  void AddReusedLayer();

  // Asked at each scrape, on the thread that serves it; must come from memory. Call before serving.
  void SetStateSource(std::function<StateCounts()> source);

  // The Prometheus text format, version 0.0.4.
  std::string Serialize() const;

 private:
  class StateCollector;
  class Series;

  const std::unique_ptr<prometheus::Registry> registry_;
  const std::unique_ptr<Series> series_;
  const std::unique_ptr<StateCollector> states_;
  Mutex mu_;
  absl::flat_hash_map<std::string, std::unique_ptr<RpcMetric>> rpcs_ ABSL_GUARDED_BY(mu_);
};

// Observes `phase` from its birth to Done() or its destruction.
template <typename Phase>
class PhaseTimer {
 public:
  PhaseTimer(Metrics* metrics, Phase phase)
      : metrics_(metrics), phase_(phase), start_(absl::GetCurrentTimeNanos()) {}
  ~PhaseTimer() { Done(); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;
  void Done() {
    if (metrics_ == nullptr) return;
    metrics_->Observe(phase_, absl::Nanoseconds(absl::GetCurrentTimeNanos() - start_));
    metrics_ = nullptr;
  }

 private:
  Metrics* metrics_;  // May be null: then nothing is observed.
  const Phase phase_;
  const int64_t start_;
};

}  // namespace berth

#endif  // BERTH_SERVER_METRICS_METRICS_H_
