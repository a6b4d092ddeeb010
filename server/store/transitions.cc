#include "server/store/transitions.h"

#include "absl/strings/str_cat.h"

namespace berth {
namespace {

using store::v1::ContainerState;
using store::v1::PodState;

// Rows are the old state, columns the new one, by enum value; row 0 is a new record, column 0 a
// removal.
constexpr bool kPod[5][5] = {
    //        (none) PREPARING READY NOTREADY REMOVING
    /*none*/ {false, true, true, false, false},
    /*PREPARING*/ {true, true, true, true, true},
    /*READY*/ {false, false, true, true, false},
    /*NOTREADY*/ {true, false, false, true, true},
    /*REMOVING*/ {true, false, false, false, true},
};

constexpr bool kContainer[5][5] = {
    //        (none) CREATED RUNNING EXITED UNKNOWN
    /*none*/ {false, true, false, false, false},
    /*CREATED*/ {true, true, true, true, true},
    /*RUNNING*/ {false, false, true, true, true},
    /*EXITED*/ {true, false, false, true, false},
    /*UNKNOWN*/ {true, false, true, true, true},
};

absl::Status Check(const bool (&table)[5][5], int from, int to, absl::string_view from_name,
                   absl::string_view to_name) {
  if (from < 0 || from > 4 || to < 0 || to > 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown state ", from < 0 || from > 4 ? from : to));
  }
  if (table[from][to]) return absl::OkStatus();
  if (to == 0) return absl::FailedPreconditionError(absl::StrCat("it is ", from_name));
  if (from == 0) {
    return absl::FailedPreconditionError(absl::StrCat("a new one can't be ", to_name));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("it is ", from_name, " and can't become ", to_name));
}

}  // namespace

absl::Status CheckPodTransition(PodState from, PodState to) {
  return Check(kPod, from, to, PodStateName(from), PodStateName(to));
}

absl::Status CheckContainerTransition(ContainerState from, ContainerState to) {
  return Check(kContainer, from, to, ContainerStateName(from), ContainerStateName(to));
}

absl::string_view PodStateName(PodState state) {
  switch (state) {
    case store::v1::POD_STATE_PREPARING:
      return "preparing";
    case store::v1::POD_STATE_READY:
      return "ready";
    case store::v1::POD_STATE_NOTREADY:
      return "notready";
    case store::v1::POD_STATE_REMOVING:
      return "removing";
    default:
      return "unspecified";
  }
}

absl::string_view ContainerStateName(ContainerState state) {
  switch (state) {
    case store::v1::CONTAINER_STATE_CREATED:
      return "created";
    case store::v1::CONTAINER_STATE_RUNNING:
      return "running";
    case store::v1::CONTAINER_STATE_EXITED:
      return "exited";
    case store::v1::CONTAINER_STATE_UNKNOWN:
      return "unknown";
    default:
      return "unspecified";
  }
}

}  // namespace berth
