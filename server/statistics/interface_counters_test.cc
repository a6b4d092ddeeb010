#include "server/statistics/interface_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace berth {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kHeader[] =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
    "fifo colls carrier compressed\n";

TEST(InterfaceCountersTest, EveryInterfaceButLoopback) {
  const auto interfaces =
      ParseInterfaceCounters(std::string(kHeader) +
                             "    lo: 336622190   52565    0    0    0     0          0         0 "
                             "336622190   52565    0    0 "
                             "   0     0       0          0\n"
                             "  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
                             "net1.7:18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
  ASSERT_THAT(interfaces, SizeIs(2));
  const InterfaceCounters& eth0 = interfaces[0];
  EXPECT_EQ(eth0.name, "eth0");
  EXPECT_EQ(eth0.rx_bytes, 1u);
  EXPECT_EQ(eth0.rx_packets, 2u);
  EXPECT_EQ(eth0.rx_errors, 3u);
  EXPECT_EQ(eth0.rx_dropped, 4u);
  EXPECT_EQ(eth0.tx_bytes, 9u);
  EXPECT_EQ(eth0.tx_packets, 10u);
  EXPECT_EQ(eth0.tx_errors, 11u);
  EXPECT_EQ(eth0.tx_dropped, 12u);
  EXPECT_EQ(interfaces[1].name, "net1.7");
  EXPECT_EQ(interfaces[1].rx_bytes, 18446744073709551615u);
}

TEST(InterfaceCountersTest, WhatIsNoLineIsLeftOut) {
  EXPECT_THAT(ParseInterfaceCounters(kHeader), IsEmpty());
  EXPECT_THAT(ParseInterfaceCounters("eth0: 1 2 3\neth1: 1 2 3 4 5 6 7 x 9 10 11 12 13 14 15 16\n"),
              IsEmpty());
  EXPECT_THAT(ParseInterfaceCounters(""), IsEmpty());
}

TEST(InterfaceCountersTest, NamesThatAreNoTextAreEscaped) {
  const auto interfaces = ParseInterfaceCounters(
      "\xff\xfe: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
      "\xff\xfd: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
  ASSERT_THAT(interfaces, SizeIs(2));
  EXPECT_EQ(interfaces[0].name, "\\xff\\xfe");
  EXPECT_EQ(interfaces[1].name, "\\xff\\xfd");
}

TEST(InterfaceCountersTest, AProcessThatIsNotThereHasNone) {
  EXPECT_THAT(NetworkReader(0).Read(), IsEmpty());
}

}  // namespace
}  // namespace berth
