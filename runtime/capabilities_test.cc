#include "runtime/capabilities.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(Capabilities, NamesWithAndWithoutPrefixAndInAnyCase) {
  EXPECT_EQ(CapabilityNumber("CAP_NET_ADMIN"), 12);
  EXPECT_EQ(CapabilityNumber("NET_ADMIN"), 12);
  EXPECT_EQ(CapabilityNumber("cap_chown"), 0);
  EXPECT_EQ(CapabilityNumber("CHECKPOINT_RESTORE"), 40);
  EXPECT_EQ(CapabilityNumber("CAP_CAP_CHOWN"), std::nullopt);
  EXPECT_EQ(CapabilityNumber(""), std::nullopt);
  EXPECT_EQ(CapabilityNumber("ALL"), std::nullopt);
}

TEST(Capabilities, EveryNameLeadsBackToItsNumber) {
  for (int i = 0; i <= kLastCapability; ++i) EXPECT_EQ(CapabilityNumber(CapabilityName(i)), i);
  EXPECT_EQ(CapabilityName(63), "CAP_63");
}

TEST(Capabilities, DefaultSetIsTheFourteen) {
  // containerd's `CapBnd: 00000000a80425fb` of a default container.
  EXPECT_EQ(DefaultCapabilities(), 0xa80425fbu);
  EXPECT_EQ(CapabilityNames(DefaultCapabilities()).size(), 14);
}

TEST(Capabilities, UnknownNameIsReported) {
  const auto mask = CapabilityMaskOf({"CAP_KILL", "CAP_FLY"});
  ASSERT_FALSE(mask.ok());
  EXPECT_THAT(std::string(mask.status().message()), testing::HasSubstr("CAP_FLY"));
  EXPECT_EQ(*CapabilityMaskOf({"KILL", "CAP_KILL"}), 1u << 5);
}

TEST(Capabilities, OwnBoundingSetIsWithinWhatTheKernelHas) { EXPECT_NE(OwnBoundingSet(), 0u); }

}  // namespace
}  // namespace berth
