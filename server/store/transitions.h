// The lives of pods and containers as their records tell them, and which step may follow which.
//
// A pod:
//
//                  ┌────────────┐
//   (none) ──────▶ │ PREPARING  │ intent: a network namespace, a keeper or an address may exist
//     │            └─────┬──────┘
//     │                  ▼
//     └──────────▶ ┌────────────┐
//                  │   READY    │ the keeper lives
//                  └─────┬──────┘
//                        ▼
//                  ┌────────────┐
//                  │  NOTREADY  │ stopped, or its keeper or its boot is gone
//                  └─────┬──────┘
//                        ▼
//                  ┌────────────┐
//                  │  REMOVING  │ being taken apart; not listed any more ──▶ (none)
//                  └────────────┘
//
//   from \ to  PREPARING  READY  NOTREADY  REMOVING  (none)
//   (none)         x        x
//   PREPARING      x        x       x         x        x
//   READY                   x       x
//   NOTREADY                        x         x        x
//   REMOVING                                  x        x
//
// A container:
//
//   (none) ──▶ CREATED ──▶ RUNNING ──▶ EXITED ──▶ (none)
//                 │  └──────────────────▲ ▲         the program could not be started
//                 └────────▶ UNKNOWN ───┘ │         nobody knows (yet) what became of its process
//                               ▲ │       │
//                               └─┴─ RUNNING
//
//   from \ to  CREATED  RUNNING  EXITED  UNKNOWN  (none)
//   (none)        x
//   CREATED       x        x       x        x       x
//   RUNNING                x       x        x
//   EXITED                         x                x
//   UNKNOWN                x       x        x       x
//
// Putting a record in the state that it has already is an update and always legal. A record never
// goes while its process may live: READY pods and RUNNING containers can't be removed.
#ifndef BERTH_SERVER_STORE_TRANSITIONS_H_
#define BERTH_SERVER_STORE_TRANSITIONS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/berth/store/v1/store.pb.h"

namespace berth {

// `from` is UNSPECIFIED for a new record, `to` for a removal. FailedPrecondition names both states;
// a `to` that is no state at all is InvalidArgument.
absl::Status CheckPodTransition(store::v1::PodState from, store::v1::PodState to);
absl::Status CheckContainerTransition(store::v1::ContainerState from, store::v1::ContainerState to);

// "ready", "exited", ...: for messages and for the label of a metric.
absl::string_view PodStateName(store::v1::PodState state);
absl::string_view ContainerStateName(store::v1::ContainerState state);

}  // namespace berth

#endif  // BERTH_SERVER_STORE_TRANSITIONS_H_
