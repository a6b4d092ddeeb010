#include "server/pods/bandwidth.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(BandwidthTest, QuantitiesAreThoseOfKubernetes) {
  const std::pair<const char*, uint64_t> quantities[] = {{"0", 0},
                                                         {"10M", 10000000},
                                                         {"1Ki", 1024},
                                                         {"1.5k", 1500},
                                                         {"1.5Gi", 1610612736},
                                                         {"12e6", 12000000},
                                                         {"12E3", 12000},
                                                         {"5e-1", 1},
                                                         {"100m", 1},
                                                         {"1001m", 2},
                                                         {"+7", 7},
                                                         {".5k", 500},
                                                         {"1.", 1},
                                                         {"1E", 1000000000000000000},
                                                         {"1e18", 1000000000000000000},
                                                         {"0.000000000000001P", 1}};
  for (const auto& [text, value] : quantities) {
    const auto parsed = ParseQuantity(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, value) << text;
  }
  for (const char* text : {"", "M", "-1", "10 M", "10MB", "1e", "1e19", "1..2", "1e1k", "0x10",
                           "2E", "999999999999999999Ei", "1234567890123456789", "1K", "e6"}) {
    EXPECT_FALSE(ParseQuantity(text).ok()) << text;
  }
}

TEST(BandwidthTest, EachDirectionIsOptional) {
  EXPECT_FALSE(BandwidthOf({{"other", "1M"}})->has_value());
  const auto ingress = BandwidthOf({{"kubernetes.io/ingress-bandwidth", "1M"}});
  EXPECT_EQ((*ingress)->ingress_rate, 1000000u);
  EXPECT_EQ((*ingress)->ingress_burst, 4294967295u);
  EXPECT_EQ((*ingress)->egress_rate, 0u);
  EXPECT_EQ((*ingress)->egress_burst, 0u);
  const auto egress = BandwidthOf({{"kubernetes.io/egress-bandwidth", "1P"}});
  EXPECT_EQ((*egress)->egress_rate, 1000000000000000u);
}

TEST(BandwidthTest, UnreasonableLimitsAreRefusedByName) {
  for (const char* value : {"999", "1001P", "fast", "2000T"}) {
    const absl::Status status = BandwidthOf({{"kubernetes.io/egress-bandwidth", value}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << value;
    EXPECT_TRUE(absl::StrContains(status.message(), "kubernetes.io/egress-bandwidth")) << status;
  }
}

}  // namespace
}  // namespace berth
