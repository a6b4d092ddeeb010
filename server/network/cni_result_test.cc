#include "server/network/cni_result.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kDualStack[] = R"({"cniVersion":"1.0.0",
  "interfaces":[{"name":"cni0"},{"name":"veth1"},{"name":"eth0","mac":"aa","sandbox":"/run/netns/x"},
                {"name":"net1","sandbox":"/run/netns/x"}],
  "ips":[{"address":"192.168.9.9/24","interface":3},
         {"address":"10.1.2.3/16","gateway":"10.1.0.1","interface":2},
         {"address":"FD00:0:0::5/64","interface":2},{"address":"10.7.7.7/32"}],
  "routes":[{"dst":"0.0.0.0/0"}],
  "dns":{"nameservers":["10.0.0.10"],"search":["a.b"],"options":["ndots:5"],"domain":"d"}})";

std::string ErrorOf(absl::string_view text) {
  const absl::Status status = ParseCniResult(text, CniVersion::k1_0_0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(status.message());
}

TEST(CniResultTest, AddressesOfThePodsInterfaceComeInOrder) {
  const auto result = ParseCniResult(kDualStack, CniVersion::k1_0_0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(*PodIps(*result, "eth0"), ElementsAre("10.1.2.3", "fd00::5", "10.7.7.7"));
  EXPECT_THAT(*PodIps(*result, "net1"), ElementsAre("192.168.9.9", "10.7.7.7"));
  EXPECT_EQ(result->interfaces.size(), 4);
  EXPECT_EQ(result->interfaces[2].sandbox, "/run/netns/x");
  EXPECT_THAT(result->dns.servers, ElementsAre("10.0.0.10"));
}

TEST(CniResultTest, AResultWithoutAnAddressForThePodIsNoNetwork) {
  const auto result = ParseCniResult(R"({"interfaces":[{"name":"net1","sandbox":"/x"}],
      "ips":[{"address":"10.1.2.3/16","interface":0}]})",
                                     CniVersion::k1_0_0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(PodIps(*result, "eth0").status().message(), "the result has no address for eth0");
}

TEST(CniResultTest, TheHostsInterfaceOfThatNameCountsOnlyIfThereIsNoOther) {
  const auto both =
      ParseCniResult(R"({"interfaces":[{"name":"eth0"},{"name":"eth0","sandbox":"/x"}],
      "ips":[{"address":"192.0.2.1/24","interface":0},{"address":"10.1.2.3/16","interface":1}]})",
                     CniVersion::k1_1_0);
  EXPECT_THAT(*PodIps(*both, "eth0"), ElementsAre("10.1.2.3"));
  const auto forgotten = ParseCniResult(R"({"interfaces":[{"name":"eth0","sandbox":""}],
      "ips":[{"address":"10.1.2.3/16","interface":0}]})",
                                        CniVersion::k1_1_0);
  EXPECT_THAT(*PodIps(*forgotten, "eth0"), ElementsAre("10.1.2.3"));
}

TEST(CniResultTest, WhatIsNewIn110IsKeptForTheNextPlugin) {
  constexpr char kNew[] = R"({"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x",
      "mtu":1450,"socketPath":"/s","pciID":"0000:00:1f.6"}],"ips":[{"address":"fd00::2/64"}],
      "routes":[{"dst":"::/0","mtu":1400,"advmss":1300,"priority":7,"table":100,"scope":253}]})";
  const auto result = ParseCniResult(kNew, CniVersion::k1_1_0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->raw, nlohmann::json::parse(kNew));
}

TEST(CniResultTest, ThePreviousResultHasTheFormOfTheVersionAskedFor) {
  const auto old = ParseCniResult(kDualStack, CniVersion::k0_4_0);
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->raw["cniVersion"], "0.4.0");
  EXPECT_EQ(old->raw["ips"][1]["version"], "4");
  EXPECT_EQ(old->raw["ips"][2]["version"], "6");
  EXPECT_EQ(old->raw["dns"]["domain"], "d");
  const auto present = ParseCniResult(old->raw.dump(), CniVersion::k1_0_0);
  ASSERT_TRUE(present.ok()) << present.status();
  EXPECT_FALSE(present->raw["ips"][1].contains("version"));
}

TEST(CniResultTest, ErrorsNameTheField) {
  EXPECT_EQ(ErrorOf(""), "not valid JSON");
  EXPECT_EQ(ErrorOf(R"({"ip4":{"ip":"10.0.0.2/24"}})"),
            "ip4, ip6: a result in the form of cniVersion 0.2.0 or older");
  EXPECT_THAT(ErrorOf(R"({"cniVersion":"7.0.0"})"), HasSubstr("cniVersion: `7.0.0`"));
  EXPECT_THAT(ErrorOf(R"({"ips":{}})"), HasSubstr("ips: not an array"));
  EXPECT_EQ(ErrorOf(R"({"ips":["x"]})"), "ips[0]: not an object");
  EXPECT_EQ(ErrorOf(R"({"ips":[{"address":7}]})"), "ips[0]: address: not a string");
  EXPECT_EQ(ErrorOf(R"({"interfaces":[{"name":[]}]})"), "interfaces[0]: name: not a string");
  EXPECT_EQ(ErrorOf(R"({"interfaces":[{"mtu":-1}]})"),
            "interfaces[0]: mtu: not an unsigned integer");
  EXPECT_EQ(ErrorOf(R"({"interfaces":[{"socketPath":1}]})"),
            "interfaces[0]: socketPath: not a string");
  EXPECT_EQ(ErrorOf(R"({"routes":[{},{"scope":"link"}]})"),
            "routes[1]: scope: not an unsigned integer");
  EXPECT_EQ(ErrorOf(R"({"dns":{"search":["a",1]}})"), "dns: search[1]: not a string");
  EXPECT_THAT(ErrorOf(absl::StrCat(R"({"routes":[)", std::string(600, ' '), "7]}")),
              HasSubstr("routes[0]"));
  for (const char* address :
       {"10.0.0.1", "10.0.0.1/33", "10.0.0/8", "::1/128", "0.0.0.0/0", "127.0.0.1/8", "224.0.0.1/4",
        "fd00::1/129", "fd00::1/-1", "/", "", "10.0.0.1/8x"}) {
    EXPECT_THAT(ErrorOf(absl::StrCat(R"({"ips":[{"address":")", address, R"("}]})")),
                HasSubstr("ips[0]: address: "));
  }
  for (const char* index : {"1", "-1", "\"0\"", "0.5", "4294967296"}) {
    EXPECT_EQ(
        ErrorOf(absl::StrCat(R"({"interfaces":[{"name":"eth0"}],"ips":[{"address":"10.0.0.1/8",)",
                             R"("interface":)", index, "}]}")),
        "ips[0]: interface: not an index into interfaces");
  }
}

}  // namespace
}  // namespace berth
