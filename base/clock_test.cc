#include "base/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(ClockTest, TheSteadyClockAgreesWithTheWallUntilThatJumps) {
  std::string path = testing::TempDir() + "/clock.XXXXXX";
  const int fd = mkstemp(path.data());
  ASSERT_GE(fd, 0);
  int64_t offset = 0;
  ASSERT_EQ(pwrite(fd, &offset, sizeof offset, 0), 8);
  ASSERT_TRUE(ShareWallClockOffset(path).ok());
  EXPECT_LT(absl::AbsDuration(WallNow() - SteadyNow()), absl::Seconds(5));
  for (const int hours : {-1000, 1000}) {
    const absl::Time steady = SteadyNow();
    offset = absl::ToInt64Nanoseconds(absl::Hours(hours));
    ASSERT_EQ(pwrite(fd, &offset, sizeof offset, 0), 8);
    EXPECT_LT(absl::AbsDuration(WallNow() - absl::Now() - absl::Hours(hours)), absl::Seconds(5));
    EXPECT_GE(SteadyNow(), steady);
    EXPECT_LT(SteadyNow() - steady, absl::Seconds(5));
  }
  offset = 0;
  ASSERT_EQ(pwrite(fd, &offset, sizeof offset, 0), 8);
  close(fd);
  unlink(path.c_str());
}

TEST(ClockTest, AFileThatIsNotThereIsNamed) {
  EXPECT_EQ(ShareWallClockOffset("/does/not/exist").code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace berth
