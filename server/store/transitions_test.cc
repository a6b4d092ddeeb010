#include "server/store/transitions.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

using namespace store::v1;  // NOLINT: the enumerators of two messages

TEST(TransitionsTest, APodGoesForwardOnly) {
  EXPECT_TRUE(CheckPodTransition(POD_STATE_UNSPECIFIED, POD_STATE_PREPARING).ok());
  EXPECT_TRUE(CheckPodTransition(POD_STATE_PREPARING, POD_STATE_READY).ok());
  EXPECT_TRUE(CheckPodTransition(POD_STATE_READY, POD_STATE_NOTREADY).ok());
  EXPECT_TRUE(CheckPodTransition(POD_STATE_NOTREADY, POD_STATE_REMOVING).ok());
  EXPECT_TRUE(CheckPodTransition(POD_STATE_REMOVING, POD_STATE_UNSPECIFIED).ok());
  EXPECT_FALSE(CheckPodTransition(POD_STATE_NOTREADY, POD_STATE_READY).ok());
  EXPECT_FALSE(CheckPodTransition(POD_STATE_REMOVING, POD_STATE_NOTREADY).ok());
  EXPECT_FALSE(CheckPodTransition(POD_STATE_UNSPECIFIED, POD_STATE_NOTREADY).ok());
}

TEST(TransitionsTest, WhatMayBeAliveIsNotRemoved) {
  EXPECT_EQ(CheckPodTransition(POD_STATE_READY, POD_STATE_UNSPECIFIED).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckContainerTransition(CONTAINER_STATE_RUNNING, CONTAINER_STATE_UNSPECIFIED).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(TransitionsTest, AnExitIsFinal) {
  for (int to = CONTAINER_STATE_CREATED; to <= CONTAINER_STATE_UNKNOWN; ++to) {
    EXPECT_EQ(CheckContainerTransition(CONTAINER_STATE_EXITED, ContainerState(to)).ok(),
              to == CONTAINER_STATE_EXITED);
  }
}

TEST(TransitionsTest, TheMessageNamesBothStates) {
  absl::Status status = CheckContainerTransition(CONTAINER_STATE_EXITED, CONTAINER_STATE_RUNNING);
  EXPECT_EQ(status.message(), "it is exited and can't become running");
}

TEST(TransitionsTest, AnUnknownNumberIsRefused) {
  EXPECT_EQ(CheckPodTransition(POD_STATE_READY, PodState(17)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPodTransition(PodState(-1), POD_STATE_READY).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace berth
