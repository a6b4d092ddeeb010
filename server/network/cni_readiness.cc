#include "server/network/cni_readiness.h"

#include <chrono>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"

namespace berth {

// Clocks jump; a question's age is measured on the monotonic one.
using Monotonic = std::chrono::steady_clock;

struct CniReadiness::State {
  Mutex mu;
  CondVar answered;
  // The list that was asked about last, while the question is open and after it.
  List list ABSL_GUARDED_BY(mu);
  bool asking ABSL_GUARDED_BY(mu) = false;
  std::optional<absl::Status> answer ABSL_GUARDED_BY(mu);
  Monotonic::time_point answered_at ABSL_GUARDED_BY(mu);
};

CniReadiness::CniReadiness(Ask ask, Times times)
    : ask_(std::move(ask)), times_(times), state_(std::make_shared<State>()) {}

void CniReadiness::Question(const std::shared_ptr<State>& state, const Ask& ask, const List& list) {
  absl::Status answer = ask(*list);
  MutexLock lock(&state->mu);
  if (state->list != list) return;  // The configuration has changed: nobody wants to know.
  state->asking = false;
  state->answer = std::move(answer);
  state->answered_at = Monotonic::now();
  state->answered.SignalAll();
}

absl::Status CniReadiness::Of(const List& list) {
  State& state = *state_;
  MutexLock lock(&state.mu);
  if (state.list != list) {
    state.list = list;
    state.asking = false;
    state.answer.reset();
  }
  if (state.answer.has_value() && !state.asking) {
    const absl::Duration life = state.answer->ok() ? times_.ready_life : times_.unready_life;
    if (absl::FromChrono(Monotonic::now() - state.answered_at) < life) return *state.answer;
  }
  const bool first = !state.answer.has_value();
  if (!state.asking || first) {
    if (!state.asking) {
      state.asking = true;
      std::thread([shared = state_, ask = ask_, list] { Question(shared, ask, list); }).detach();
    }
    const absl::Time deadline = absl::Now() + times_.patience;
    while (state.asking && state.list == list &&
           !state.answered.WaitWithDeadline(&state.mu, deadline)) {
    }
  }
  if (state.list == list && state.answer.has_value()) return *state.answer;
  return absl::UnavailableError(
      absl::StrCat("the plugins of network ", list->name, " have not answered STATUS yet"));
}

}  // namespace berth
