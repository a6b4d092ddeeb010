#include "server/statistics/cpu_rate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth {
namespace {

using ::testing::Optional;

constexpr int64_t kSecond = 1'000'000'000;

TEST(CpuRateTest, TheFirstSampleHasNoRate) {
  CpuRate rate;
  EXPECT_EQ(rate.Sample(kSecond, 5), std::nullopt);
}

TEST(CpuRateTest, HalfACore) {
  CpuRate rate;
  rate.Sample(10 * kSecond, 1'000'000);
  EXPECT_THAT(rate.Sample(12 * kSecond, 1'001'000'000), Optional(500'000'000u));
  EXPECT_THAT(rate.Sample(13 * kSecond, 1'001'000'000), Optional(0u));
}

TEST(CpuRateTest, AskingAgainAtOnceKeepsTheInterval) {
  CpuRate rate;
  rate.Sample(0, 0);
  EXPECT_THAT(rate.Sample(kSecond, kSecond), Optional(kSecond));
  EXPECT_THAT(rate.Sample(kSecond + 1000, kSecond + 1000), Optional(kSecond));
  EXPECT_THAT(rate.Sample(2 * kSecond, kSecond + 1000), Optional(1000u));
}

TEST(CpuRateTest, AFirstRateComesSooner) {
  CpuRate rate;
  rate.Sample(0, 0);
  EXPECT_EQ(rate.Sample(kSecond / 100, 1), std::nullopt);
  EXPECT_THAT(rate.Sample(kSecond / 5, kSecond / 10), Optional(kSecond / 2));
}

TEST(CpuRateTest, WhatGoesBackStartsAnew) {
  CpuRate rate;
  rate.Sample(0, 100);
  rate.Sample(kSecond, 200);
  EXPECT_EQ(rate.Sample(2 * kSecond, 50), std::nullopt);
  EXPECT_THAT(rate.Sample(3 * kSecond, 150), Optional(100u));
  EXPECT_EQ(rate.Sample(kSecond, 250), std::nullopt);
}

}  // namespace
}  // namespace berth
