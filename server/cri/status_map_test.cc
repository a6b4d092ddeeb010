#include "server/cri/status_map.h"

#include <string>

#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(StatusMap, KeepsCodeAndMessage) {
  const grpc::Status status = ToGrpcStatus(absl::NotFoundError("no such pod"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no such pod");
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(StatusMap, EveryCodeOfAbseilHasItsNamesakeInGrpc) {
  EXPECT_EQ(ToGrpcStatus(absl::CancelledError("")).error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(ToGrpcStatus(absl::DeadlineExceededError("")).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(ToGrpcStatus(absl::ResourceExhaustedError("")).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ToGrpcStatus(absl::FailedPreconditionError("")).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ToGrpcStatus(absl::UnimplementedError("")).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(ToGrpcStatus(absl::UnauthenticatedError("")).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(77), "")).error_code(),
            grpc::StatusCode::UNKNOWN);
}

TEST(StatusMap, CutsALongMessage) {
  const std::string sent =
      ToGrpcStatus(absl::InternalError(std::string(100000, 'x'))).error_message();
  EXPECT_EQ(sent.size(), kMaxEncodedStatusMessage);
  EXPECT_EQ(sent.substr(sent.size() - 4), "x...");
}

TEST(StatusMap, LeavesAMessageOfExactlyTheLimitAlone) {
  const std::string message(kMaxEncodedStatusMessage, 'x');
  EXPECT_EQ(ToGrpcStatus(absl::InternalError(message)).error_message(), message);
}

TEST(StatusMap, CutsBetweenCharacters) {
  std::string message;
  for (int i = 0; i < 5000; ++i) message += "\xc3\xa4";
  const std::string sent = ToGrpcStatus(absl::InternalError(message)).error_message();
  EXPECT_EQ((sent.size() - 3) % 2, 0);
  EXPECT_LE((sent.size() - 3) * 3 + 3, kMaxEncodedStatusMessage);
  EXPECT_EQ(sent.substr(sent.size() - 5), "\xc3\xa4...");
}

}  // namespace
}  // namespace berth
