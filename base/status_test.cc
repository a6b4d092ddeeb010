#include "base/status.h"

#include <cerrno>

#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(StatusTest, ErrnoKeepsItsMeaning) {
  errno = ENOENT;
  const absl::Status status = ErrnoStatus("open", "/x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "open /x: No such file or directory");
  EXPECT_EQ(ErrnoStatusOf(ENOSPC, "write").code(), absl::StatusCode::kResourceExhausted);
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  ASSIGN_OR_RETURN_WITH(const int quarter, Half(half), "second half");
  return quarter;
}

TEST(StatusTest, ErrorsGainContextOnTheWayUp) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(3).status().message(), "odd");
  EXPECT_EQ(Quarter(6).status().message(), "second half: odd");
  EXPECT_EQ(Quarter(6).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace berth
