#include "server/network/cni_config.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string ErrorOf(absl::string_view text) {
  const absl::Status status = ParseCniConfigList(text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(status.message());
}

TEST(CniConfigTest, AListKeepsItsPluginsAsTheyAre) {
  const auto list = ParseCniConfigList(
      R"({"cniVersion":"0.4.0","name":"k8s-pod-network","disableCheck":true,
          "plugins":[{"type":"bridge","x":{"y":[1,2]}},{"type":"portmap"}]})");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->name, "k8s-pod-network");
  EXPECT_EQ(list->version, CniVersion::k0_4_0);
  EXPECT_TRUE(list->disable_check);
  ASSERT_EQ(list->plugins.size(), 2);
  EXPECT_EQ(list->plugins[0].type, "bridge");
  EXPECT_EQ(list->plugins[0].config["x"]["y"][1], 2);
  const auto again = ParseCniConfigList(list->ToJson());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->ToJson(), list->ToJson());
  EXPECT_TRUE(again->disable_check);
}

TEST(CniConfigTest, ASinglePluginIsAListOfOne) {
  const auto list = ParseCniConfig(R"({"cniVersion":"0.3.1","name":"n","type":"ptp","mtu":9})");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->version, CniVersion::k0_3_1);
  ASSERT_EQ(list->plugins.size(), 1);
  EXPECT_EQ(list->plugins[0].config["mtu"], 9);
  EXPECT_THAT(
      std::string(
          ParseCniConfig(R"({"cniVersion":"0.3.1","name":"n","plugins":[]})").status().message()),
      HasSubstr(".conflist"));
}

TEST(CniConfigTest, TheHighestServedVersionIsTaken) {
  const auto version = [](absl::string_view members) {
    return ParseCniConfigList(
               absl::StrCat("{", members, R"(,"name":"n","plugins":[{"type":"a"}]})"))
        ->version;
  };
  EXPECT_EQ(version(R"("cniVersion":"0.4.0","cniVersions":["0.3.1","1.1.0","9.9.9"])"),
            CniVersion::k1_1_0);
  EXPECT_EQ(version(R"("cniVersions":["9.9.9","1.0.0"])"), CniVersion::k1_0_0);
}

TEST(CniConfigTest, AllServedVersionsAreOffered) {
  const auto list = ParseCniConfigList(
      R"({"cniVersion":"1.1.0","cniVersions":["0.4.0","0.2.0","1.1.0","0.3.1"],"name":"n",
          "plugins":[{"type":"a"}]})");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->offered,
              testing::ElementsAre(CniVersion::k0_3_1, CniVersion::k0_4_0, CniVersion::k1_1_0));
  EXPECT_THAT(ParseCniConfigList(list->ToJson())->offered,
              testing::ElementsAre(CniVersion::k1_1_0));
}

TEST(CniConfigTest, ErrorsNameTheField) {
  EXPECT_EQ(ErrorOf("{"), "not valid JSON");
  EXPECT_EQ(ErrorOf("[]"), "not a JSON object");
  EXPECT_EQ(ErrorOf(std::string(100, '[')), "JSON nested deeper than 64 levels");
  EXPECT_EQ(ErrorOf(R"({"name":"n","plugins":[{"type":"a"}]})"), "cniVersion: missing");
  EXPECT_THAT(ErrorOf(R"({"cniVersion":"0.2.0","name":"n","plugins":[{"type":"a"}]})"),
              HasSubstr("cniVersion: `0.2.0` is not served"));
  const auto with = [](absl::string_view name, absl::string_view plugins) {
    return absl::StrCat(R"({"cniVersion":"1.0.0","name":)", name, R"(,"plugins":)", plugins, "}");
  };
  EXPECT_EQ(ErrorOf(with("7", "[]")), "name: not a string");
  EXPECT_EQ(ErrorOf(with(R"("")", "[]")), "name: missing");
  EXPECT_EQ(ErrorOf(with(R"("../x")", "[]")), "name: `../x` is malformed");
  EXPECT_THAT(ErrorOf(with(R"("n")", "[]")), HasSubstr("plugins: not an array of 1 to"));
  EXPECT_EQ(ErrorOf(with(R"("n")", R"([{"type":"a"},3])")), "plugins[1]: not an object");
  EXPECT_EQ(ErrorOf(with(R"("n")", R"([{}])")), "plugins[0]: type: missing");
  for (const char* type : {"a/b", "..", "a b", "../../bin/sh"}) {
    EXPECT_EQ(ErrorOf(with(R"("n")", absl::StrCat(R"([{"type":")", type, R"("}])"))),
              "plugins[0]: type: not a file name");
  }
  EXPECT_EQ(ErrorOf(with(R"("n")", R"([{"type":"a","capabilities":["x"]}])")),
            "plugins[0]: capabilities: not an object");
  EXPECT_EQ(ErrorOf(R"({"cniVersion":"1.0.0","name":"n","disableCheck":"no","plugins":[]})"),
            "disableCheck: neither true nor false");
}

TEST(CniConfigTest, APluginGetsWhatItDeclares) {
  const auto list = ParseCniConfigList(
      R"({"cniVersion":"1.0.0","name":"n","plugins":[
          {"type":"a","name":"other","cniVersion":"0.1.0","runtimeConfig":{"kept":1},
           "cni.dev/valid-attachments":[],"capabilities":{"portMappings":true,"dns":false,"mac":true}}]})");
  ASSERT_TRUE(list.ok()) << list.status();
  const json args = {{"portMappings", {1}}, {"dns", 2}, {"ips", 3}};
  EXPECT_EQ(PluginInput(*list, list->plugins[0], args, nullptr),
            json::parse(R"({"type":"a","name":"n","cniVersion":"1.0.0",
                            "runtimeConfig":{"kept":1,"portMappings":[1]}})"));
  EXPECT_EQ(PluginInput(*list, list->plugins[0], json::object(), {{"ips", 1}})["prevResult"]["ips"],
            1);
}

}  // namespace
}  // namespace berth
