#include "base/failpoint.h"

#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(FailpointTest, UnarmedPointsPass) {
  ASSERT_TRUE(ArmFailpoints("").ok());
  EXPECT_TRUE(Failpoint("a").ok());
}

TEST(FailpointTest, AnArmedPointFailsFromItsPassOn) {
  ASSERT_TRUE(ArmFailpoints("a=error;b=2*error").ok());
  EXPECT_EQ(Failpoint("a").message(), "failpoint a");
  EXPECT_TRUE(Failpoint("b").ok());
  EXPECT_FALSE(Failpoint("b").ok());
  EXPECT_TRUE(Failpoint("c").ok());
  ASSERT_TRUE(ArmFailpoints("").ok());
}

TEST(FailpointTest, AnArmedPointMayFailAtOnePassOnly) {
  ASSERT_TRUE(ArmFailpoints("a=2@error").ok());
  EXPECT_TRUE(Failpoint("a").ok());
  EXPECT_FALSE(Failpoint("a").ok());
  EXPECT_TRUE(Failpoint("a").ok());
  ASSERT_TRUE(ArmFailpoints("").ok());
}

TEST(FailpointTest, CrashIsSigkill) {
  EXPECT_EXIT(
      {
        if (ArmFailpoints("a=crash").ok()) (void)Failpoint("a");
      },
      testing::KilledBySignal(9), "");
}

TEST(FailpointTest, BadSpecificationsAreRefusedByName) {
  for (const char* bad : {"a", "=error", "a=explode", "a=x*error", "a=@error"}) {
    EXPECT_EQ(ArmFailpoints(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace berth
