// What the plugins of a network say of it by STATUS (CNI 1.1.0), remembered for a while.
//
// kubelet asks the runtime every few seconds whether the network is ready, and must not wait for a
// plugin that hangs. So a question is put in a thread of its own, when somebody wants to know and the
// last answer is old; there is no timer. Plugins that answer at once are waited for.
#ifndef BERTH_SERVER_NETWORK_CNI_READINESS_H_
#define BERTH_SERVER_NETWORK_CNI_READINESS_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/network/cni_config.h"

namespace berth {

// Thread-safe. A question outlives the object if its plugins hang: `ask` must own what it uses.
class CniReadiness {
 public:
  using List = std::shared_ptr<const CniConfigList>;
  // Blocks; OK or why the network is not ready.
  using Ask = std::function<absl::Status(const CniConfigList& list)>;

  struct Times {
    absl::Duration ready_life = absl::Seconds(10);  // how long an answer is good
    absl::Duration unready_life = absl::Seconds(1);
    absl::Duration patience = absl::Milliseconds(500);  // of the caller who puts the question
  };

  CniReadiness(Ask ask, Times times);
  explicit CniReadiness(Ask ask) : CniReadiness(std::move(ask), Times()) {}

  // The last answer for this very list; Unavailable as long as there is none.
  absl::Status Of(const List& list);

 private:
  struct State;
  static void Question(const std::shared_ptr<State>& state, const Ask& ask, const List& list);

  const Ask ask_;
  const Times times_;
  const std::shared_ptr<State> state_;
};

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_READINESS_H_
