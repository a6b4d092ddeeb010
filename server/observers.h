// What the layers tell about themselves, as metrics.
#ifndef BERTH_SERVER_OBSERVERS_H_
#define BERTH_SERVER_OBSERVERS_H_

#include "server/cri/observer.h"
#include "server/images/pull_observer.h"
#include "server/metrics/metrics.h"

namespace berth {

class RpcMetrics : public RpcObserver {
 public:
  explicit RpcMetrics(Metrics* metrics) : metrics_(metrics) {}
  void OnStart(absl::string_view method) override {}
  void OnEnd(const RpcOutcome& outcome) override {
    metrics_->Rpc(outcome.method)->Observe(outcome.duration, outcome.status.code());
  }

 private:
  Metrics* const metrics_;
};

class PullMetrics : public PullObserver {
 public:
  explicit PullMetrics(Metrics* metrics) : metrics_(metrics) {}
  void OnPhase(PullPhase phase, absl::Duration duration) override {
    metrics_->Observe(PhaseOf(phase), duration);
  }
  void OnBytes(uint64_t bytes) override { metrics_->AddPulledBytes(bytes); }
  void OnLayerReused() override { metrics_->AddReusedLayer(); }

 private:
  static ImagePullPhase PhaseOf(PullPhase phase) {
    switch (phase) {
      case PullPhase::kResolve:
        return ImagePullPhase::kResolve;
      case PullPhase::kDownload:
        return ImagePullPhase::kDownload;
      case PullPhase::kUnpack:
        return ImagePullPhase::kUnpack;
      case PullPhase::kSync:
        return ImagePullPhase::kSync;
      case PullPhase::kCommit:
        return ImagePullPhase::kCommit;
    }
    return ImagePullPhase::kCommit;
  }
  Metrics* const metrics_;
};

}  // namespace berth

#endif  // BERTH_SERVER_OBSERVERS_H_
