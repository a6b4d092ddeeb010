// What a pull tells about itself, for histograms and counters.
#ifndef BERTH_SERVER_IMAGES_PULL_OBSERVER_H_
#define BERTH_SERVER_IMAGES_PULL_OBSERVER_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace berth {

// kResolve: reference to manifest and config, once a pull. The next three are once for each layer that
// is fetched: kDownload, the time in which the transfer waited for the network; kUnpack, the time in
// which it waited for the unpacker; kSync, from the last byte to data and digests being safe on disk.
// kCommit: making the image visible, once a pull.
enum class PullPhase { kResolve, kDownload, kUnpack, kSync, kCommit };

// "resolve", "download", ...: the value of a metric's label.
inline absl::string_view PullPhaseName(PullPhase phase) {
  switch (phase) {
    case PullPhase::kResolve:
      return "resolve";
    case PullPhase::kDownload:
      return "download";
    case PullPhase::kUnpack:
      return "unpack";
    case PullPhase::kSync:
      return "sync";
    case PullPhase::kCommit:
      return "commit";
  }
  return "unknown";
}

// Called from any thread, several at once; must not block. The default does nothing.
class PullObserver {
 public:
  virtual ~PullObserver() = default;
  virtual void OnPhase(PullPhase phase, absl::Duration duration) {}
  // Compressed bytes that arrived from a registry since the last call.
  virtual void OnBytes(uint64_t bytes) {}
  // A layer that an image needs was there already, or another pull was fetching it.
  virtual void OnLayerReused() {}
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_PULL_OBSERVER_H_
