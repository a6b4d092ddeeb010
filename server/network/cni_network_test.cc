// The CNI flow against plugins that are shell scripts: each appends to a log what it was given.
#include "server/network/cni_network.h"

#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace berth {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kResult[] = R"({"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],)"
                           R"("ips":[{"address":"10.1.2.3/24","interface":0}]})";

class CniNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/cni_network-", RandomHexId().substr(0, 12));
    ASSERT_TRUE(MakeDirectories(root_ + "/net.d", 0755).ok());
    ASSERT_TRUE(MakeDirectories(root_ + "/bin", 0755).ok());
    options_.config_directory = root_ + "/net.d";
    options_.plugin_directories = {root_ + "/nowhere", root_ + "/bin"};
    options_.observer = [this](absl::string_view plugin, absl::string_view command,
                               absl::Duration) {
      observed_.push_back(absl::StrCat(command, " ", plugin));
    };
    request_.pod = PodId(std::string(64, 'a'));
    request_.pod_namespace = "default";
    request_.pod_name = "web-0";
    request_.pod_uid = "u-1";
    request_.netns_path = root_ + "/netns";
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(root_).ok()); }

  // A plugin that logs `COMMAND NAME`, keeps its input and environment, and runs `script`.
  void Plugin(const std::string& name, const std::string& script) {
    const std::string path = root_ + "/bin/" + name;
    const std::string text =
        absl::StrCat("#!/bin/sh\necho \"$CNI_COMMAND ", name, "\" >>", root_, "/calls\n", "cat >",
                     root_, "/", name, ".$CNI_COMMAND.json\n", "env >", root_, "/", name,
                     ".$CNI_COMMAND.env\n", script, "\n");
    ASSERT_TRUE(WriteFileAtomically(path, text, 0755).ok());
  }
  void Answering(const std::string& name) {
    Plugin(name, absl::StrCat("[ $CNI_COMMAND = ADD ] && echo '", kResult, "'; exit 0"));
  }
  void Configure(const std::string& plugins, const std::string& version = "1.0.0") {
    ASSERT_TRUE(
        WriteFileAtomically(root_ + "/net.d/10.conflist",
                            absl::StrCat(R"({"cniVersion":")", version,
                                         R"(","name":"testnet","plugins":[)", plugins, "]}"),
                            0644)
            .ok());
  }
  Network& network() {
    if (network_ == nullptr) network_ = NewCniNetwork(options_);
    return *network_;
  }
  absl::StatusOr<NetworkResult> Add(absl::Duration timeout = absl::Seconds(20)) {
    absl::StatusOr<Attachment> attachment = network().Prepare(request_);
    EXPECT_TRUE(attachment.ok()) << attachment.status();
    if (!attachment.ok()) return attachment.status();
    attachment_ = *attachment;
    return network().Add(&attachment_, absl::Now() + timeout);
  }
  absl::Status Remove() { return network().Remove(attachment_, absl::Now() + absl::Seconds(20)); }
  std::vector<std::string> Calls() {
    return absl::StrSplit(ReadFile(root_ + "/calls").value_or(""), '\n', absl::SkipEmpty());
  }
  json Input(const std::string& name, const std::string& command) {
    return json::parse(*ReadFile(absl::StrCat(root_, "/", name, ".", command, ".json")), nullptr,
                       false);
  }
  std::vector<std::string> Environment(const std::string& name, const std::string& command) {
    return absl::StrSplit(*ReadFile(absl::StrCat(root_, "/", name, ".", command, ".env")), '\n');
  }

  std::string root_;
  CniOptions options_;
  AttachRequest request_;
  Attachment attachment_;
  std::vector<std::string> observed_;
  std::unique_ptr<Network> network_;
};

TEST_F(CniNetworkTest, AddRunsTheChainAndRemoveRunsItBackwards) {
  Configure(R"({"type":"one"},{"type":"two","capabilities":{"portMappings":true,"dns":true}})");
  Answering("one");
  Answering("two");
  request_.port_mappings = {{.container_port = 80, .host_port = 8080},
                            {.container_port = 81},
                            {PortMapping::Protocol::kUdp, 53, 5353, "10.0.0.1"}};
  request_.dns = {.servers = {"10.0.0.10"}, .searches = {"a.b"}, .options = {"ndots:5"}};
  request_.mac = "02:00:00:00:00:01";
  const auto result = Add();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->ips, ElementsAre("10.1.2.3"));
  EXPECT_EQ(result->interfaces[0].name, "eth0");
  EXPECT_FALSE(Input("one", "ADD").contains("prevResult"));
  EXPECT_FALSE(Input("one", "ADD").contains("runtimeConfig"));
  const json second = Input("two", "ADD");
  EXPECT_EQ(second["prevResult"], json::parse(kResult));
  EXPECT_EQ(second["runtimeConfig"], json::parse(R"({
      "portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""},
                      {"hostPort":5353,"containerPort":53,"protocol":"udp","hostIP":"10.0.0.1"}],
      "dns":{"servers":["10.0.0.10"],"searches":["a.b"],"options":["ndots:5"]}})"));
  EXPECT_EQ(second["name"], "testnet");
  EXPECT_EQ(second["cniVersion"], "1.0.0");
  ASSERT_TRUE(Remove().ok());
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD two", "DEL two", "DEL one"));
  EXPECT_THAT(observed_, ElementsAre("ADD one", "ADD two", "DEL two", "DEL one"));
  EXPECT_EQ(Input("one", "DEL")["prevResult"], json::parse(kResult));
}

TEST_F(CniNetworkTest, TheEnvironmentIsThatOfTheSpecification) {
  Configure(R"({"type":"one"})");
  Answering("one");
  ASSERT_TRUE(Add().ok());
  ASSERT_TRUE(Remove().ok());
  const std::string id(64, 'a');
  const auto add = Environment("one", "ADD");
  for (const std::string& variable :
       {std::string("CNI_COMMAND=ADD"), "CNI_CONTAINERID=" + id,
        absl::StrCat("CNI_NETNS=", root_, "/netns"), std::string("CNI_IFNAME=eth0"),
        absl::StrCat("CNI_PATH=", root_, "/nowhere:", root_, "/bin"),
        absl::StrCat("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;"
                     "K8S_POD_INFRA_CONTAINER_ID=",
                     id, ";K8S_POD_UID=u-1")}) {
    EXPECT_THAT(add, testing::Contains(variable));
  }
  EXPECT_THAT(add, Not(testing::Contains(testing::StartsWith("TEST_"))));
  // No namespace is mounted at that path: it is gone.
  EXPECT_THAT(Environment("one", "DEL"), testing::Contains("CNI_NETNS="));
}

TEST_F(CniNetworkTest, AFailedAddIsTakenDownInReverseOrder) {
  Configure(R"({"type":"one"},{"type":"two"},{"type":"three"})");
  Answering("one");
  Plugin("two", R"([ $CNI_COMMAND = DEL ] && exit 0
      echo '{"cniVersion":"1.0.0","code":7,"msg":"bad subnet","details":"10.0.0.0/99"}'; exit 1)");
  Answering("three");
  const absl::Status status = Add().status();
  EXPECT_EQ(status.message(),
            "cni plugin two (network testnet, ADD): bad subnet; 10.0.0.0/99 (code 7)");
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD two", "DEL three", "DEL two", "DEL one"));
  EXPECT_FALSE(Input("one", "DEL").contains("prevResult"));
  EXPECT_EQ(attachment_.result_json, "");
}

TEST_F(CniNetworkTest, WhatCannotBeTakenDownIsTold) {
  Configure(R"({"type":"one"})");
  Plugin("one", R"(echo "{\"code\":11,\"msg\":\"no $CNI_COMMAND\"}"; exit 1)");
  const absl::Status status = Add().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no ADD (code 11)"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no DEL (code 11)"));
  EXPECT_FALSE(Remove().ok());
}

TEST_F(CniNetworkTest, APluginThatFailsBothWaysDoesNotKeepWhatOthersAdded) {
  Configure(R"({"type":"one"},{"type":"two"},{"type":"three"})");
  Answering("one");
  for (const char* broken : {"two", "three"}) {
    Plugin(broken, R"(echo '{"code":1,"msg":"incompatible version"}'; exit 1)");
  }
  const absl::Status status = Add().status();
  EXPECT_THAT(
      std::string(status.message()),
      testing::StartsWith("something may be left, since cni plugin two (network testnet, DEL)"));
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD two", "DEL three", "DEL two", "DEL one"));
}

TEST_F(CniNetworkTest, AHungPluginIsKilledAndNamed) {
  options_.plugin_timeout = absl::Milliseconds(200);
  Configure(R"({"type":"one"},{"type":"slow"})");
  Answering("one");
  Plugin("slow", "[ $CNI_COMMAND = DEL ] && exit 0; echo stuck >&2; sleep 100");
  const absl::Time start = absl::Now();
  const absl::Status status = Add().status();
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(
      status.message(),
      "cni plugin slow (network testnet, ADD): no answer within 200ms, killed, stderr: stuck");
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD slow", "DEL slow", "DEL one"));
}

TEST_F(CniNetworkTest, TheCallersDeadlineHoldsForAllPluginsButNotForTheUndo) {
  Configure(R"({"type":"slow"})");
  Plugin("slow", "[ $CNI_COMMAND = DEL ] && { sleep 0.3; echo done >>" + root_ +
                     "/calls; exit 0; }; sleep 100");
  EXPECT_TRUE(absl::IsDeadlineExceeded(Add(absl::Milliseconds(150)).status()));
  EXPECT_THAT(Calls(), ElementsAre("ADD slow", "DEL slow", "done"));
}

TEST_F(CniNetworkTest, BadOutputIsRefusedAndTakenDown) {
  const std::string bad[][2] = {
      {"echo '{\"ips\":'", "its result: not valid JSON"},
      {"true", "its result: not valid JSON"},
      {"echo '{\"ip4\":{\"ip\":\"10.0.0.2/24\"}}'", "ip4, ip6"},
      {"echo '{\"ips\":[{\"address\":\"10.0.0.300/24\"}]}'", "ips[0]: address"},
      {"echo '{\"cniVersion\":\"1.0.0\"}'",
       "cni network testnet: the result has no address for eth0"},
      {"head -c 2000000 /dev/zero", "bytes of output, killed"},
      {"echo 'no JSON' ; echo why >&2; exit 4", "exit code 4, stderr: why, printed: no JSON"},
      {"printf 'a\\001b'; exit 4", "printed: a\\u0001b"},
      // What is no UTF-8 can't be in an answer of the CRI.
      {"printf 'k\\303\\251\\377 '; exit 4", "printed: k\u00e9\ufffd"},
      {"kill -9 $$", "killed by signal 9"},
      {"echo '{\"code\":\"x\",\"msg\":[1]}'; exit 1", "it gave no message (code 0)"},
  };
  Configure(R"({"type":"one"})");
  for (const auto& [script, message] : bad) {
    Plugin("one", absl::StrCat("[ $CNI_COMMAND = DEL ] && exit 0\n", script));
    (void)RemoveTree(root_ + "/calls");
    const absl::Status status = Add().status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << script;
    EXPECT_THAT(Calls(), ElementsAre("ADD one", "DEL one")) << script;
  }
}

TEST_F(CniNetworkTest, APluginIsFoundInItsDirectoriesOnly) {
  Configure(R"({"type":"sh"})");
  const absl::Status status = Add().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("cni plugin sh (network testnet, ADD): no such program in ",
                                     root_, "/nowhere, ", root_, "/bin")));
}

TEST_F(CniNetworkTest, RemoveUsesTheConfigurationOfItsAdd) {
  Configure(R"({"type":"one","answer":42})");
  Answering("one");
  ASSERT_TRUE(Add().ok());
  const auto stored = Attachment::FromJson(attachment_.ToJson());
  ASSERT_TRUE(stored.ok()) << stored.status();
  attachment_ = *stored;
  ASSERT_TRUE(RemoveTree(root_ + "/net.d").ok());
  EXPECT_FALSE(network().Ready().ok());
  ASSERT_TRUE(Remove().ok());
  EXPECT_EQ(Input("one", "DEL")["answer"], 42);
  EXPECT_EQ(Input("one", "DEL")["prevResult"], json::parse(kResult));
  EXPECT_TRUE(Remove().ok());
}

TEST_F(CniNetworkTest, AnIntentWithoutAResultIsRemoved) {
  Configure(R"({"type":"one"})");
  Answering("one");
  attachment_ = *network().Prepare(request_);
  EXPECT_TRUE(absl::IsFailedPrecondition(ResultOf(attachment_).status()));
  ASSERT_TRUE(Remove().ok());
  EXPECT_THAT(Calls(), ElementsAre("DEL one"));
}

TEST_F(CniNetworkTest, OldVersionsGiveDelNoPreviousResult) {
  Configure(R"({"type":"one"})", "0.3.1");
  Answering("one");
  ASSERT_TRUE(Add().ok());
  ASSERT_TRUE(Remove().ok());
  EXPECT_FALSE(Input("one", "DEL").contains("prevResult"));
  EXPECT_EQ(json::parse(attachment_.result_json)["ips"][0]["version"], "4");
}

TEST_F(CniNetworkTest, RemoveStopsAtAFailureExceptForAnUnknownContainer) {
  Configure(R"({"type":"one"},{"type":"two"})");
  Answering("one");
  Plugin("two", absl::StrCat("[ $CNI_COMMAND = ADD ] && { echo '", kResult, "'; exit 0; }\n",
                             R"(echo '{"code":5,"msg":"io"}'; exit 1)"));
  ASSERT_TRUE(Add().ok());
  EXPECT_EQ(Remove().message(), "cni plugin two (network testnet, DEL): io (code 5)");
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD two", "DEL two"));
  Plugin("two", R"(echo '{"code":3,"msg":"unknown"}'; exit 1)");
  EXPECT_TRUE(Remove().ok());
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD two", "DEL two", "DEL two", "DEL one"));
}

TEST_F(CniNetworkTest, AnIntentThatOnePluginCannotTakeDownGivesUpTheRest) {
  Configure(R"({"type":"one"},{"type":"two"})");
  Answering("one");
  Plugin("two", R"(echo '{"code":5,"msg":"io"}'; exit 1)");
  attachment_ = *network().Prepare(request_);
  EXPECT_EQ(Remove().message(), "cni plugin two (network testnet, DEL): io (code 5)");
  EXPECT_THAT(Calls(), ElementsAre("DEL two", "DEL one"));
}

TEST_F(CniNetworkTest, APluginThatHangsBothWaysDoesNotKeepWhatOthersAdded) {
  options_.plugin_timeout = absl::Seconds(1);
  Configure(R"({"type":"one"},{"type":"slow"})");
  Plugin("one", absl::StrCat("[ $CNI_COMMAND = ADD ] && echo '", kResult, "'; echo end >>", root_,
                             "/calls; exit 0"));
  Plugin("slow", "sleep 100");
  const absl::Time start = absl::Now();
  const absl::Status status = Add().status();
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_THAT(std::string(status.message()),
              testing::ContainsRegex("DEL\\): no answer within [345]..ms"));
  EXPECT_FALSE(attachment_.taken_down);
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "end", "ADD slow", "DEL slow", "DEL one", "end"));
}

TEST_F(CniNetworkTest, AFailedAddTellsWhetherSomethingIsLeft) {
  Configure(R"({"type":"one"})");
  Plugin("one", R"([ $CNI_COMMAND = DEL ] && exit 0; exit 1)");
  EXPECT_FALSE(Add().ok());
  EXPECT_TRUE(attachment_.taken_down);
}

TEST_F(CniNetworkTest, StatusDecidesWhetherTheNetworkIsReady) {
  Configure(R"({"type":"one"},{"type":"two","capabilities":{"dns":true}})", "1.1.0");
  Plugin("one", "exit 0");
  Plugin("two", R"(echo '{"cniVersion":"1.1.0","code":50,"msg":"agent is down"}'; exit 1)");
  const absl::Status status = network().Ready();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "cni plugin two (network testnet, STATUS): agent is down (code 50)");
  EXPECT_EQ(Input("two", "STATUS"),
            json::parse(R"({"type":"two","name":"testnet","cniVersion":"1.1.0"})"));
  EXPECT_THAT(Environment("two", "STATUS"),
              testing::IsSupersetOf({"CNI_NETNS=", "CNI_CONTAINERID=", "CNI_IFNAME="}));
  EXPECT_TRUE(network().Prepare(request_).ok());  // It is information, no lock.
  network_.reset();
  Plugin("two", "exit 0");
  EXPECT_TRUE(network().Ready().ok());
}

TEST_F(CniNetworkTest, OldVersionsAreNotAskedForTheirStatus) {
  Configure(R"({"type":"one"})", "1.0.0");
  Plugin("one", "exit 1");
  EXPECT_TRUE(network().Ready().ok());
  EXPECT_THAT(Calls(), testing::IsEmpty());
}

TEST_F(CniNetworkTest, TheHighestVersionThatAllPluginsSpeakIsUsed) {
  const std::string offered = R"(0.4.0","cniVersions":["1.1.0","1.0.0"],"x":")";
  Configure(R"({"type":"one"},{"type":"two"})", offered);
  const auto speaking = [](const std::string& versions) {
    return absl::StrCat("[ $CNI_COMMAND = VERSION ] && echo '{\"cniVersion\":\"1.1.0\",",
                        "\"supportedVersions\":[", versions,
                        "]}'\n[ $CNI_COMMAND = ADD ] && echo '", kResult, "'\nexit 0");
  };
  Plugin("one", speaking(R"("0.3.1","0.4.0","1.0.0","1.1.0","2.0.0")"));
  Plugin("two", speaking(R"("0.4.0","1.0.0")"));
  ASSERT_TRUE(Add().ok());
  ASSERT_TRUE(Add().ok());
  EXPECT_THAT(Calls(), ElementsAre("VERSION one", "VERSION two", "ADD one", "ADD two", "ADD one",
                                   "ADD two"));
  EXPECT_EQ(Input("two", "ADD")["cniVersion"], "1.0.0");
  EXPECT_TRUE(network().Ready().ok());  // 1.0.0 has no STATUS
  Plugin("two", speaking(R"("0.3.0")"));
  EXPECT_EQ(network().Prepare(request_).status().message(),
            "cni plugin two (network testnet) speaks 0.3.0, but the configuration and the plugins "
            "before it want 0.4.0, 1.0.0, 1.1.0");
  Plugin("two", "exit 1");
  ASSERT_TRUE(network().Prepare(request_).ok());
  EXPECT_EQ(json::parse(network().Prepare(request_)->config_json)["cniVersion"], "0.4.0");
}

TEST_F(CniNetworkTest, GarbageCollectionNamesWhatIsValid) {
  Configure(R"({"type":"one"},{"type":"two"})", "1.1.0");
  Answering("two");
  Plugin("one", R"([ $CNI_COMMAND = GC ] && { echo '{"code":5,"msg":"io"}'; exit 1; }
      echo ')" + std::string(kResult) +
                    "'");
  ASSERT_TRUE(Add().ok());
  Attachment foreign = attachment_;
  foreign.network_name = "other";
  const absl::Status status =
      network().CollectGarbage({attachment_, foreign}, absl::Now() + absl::Seconds(20));
  EXPECT_EQ(status.message(), "cni plugin one (network testnet, GC): io (code 5)");
  EXPECT_THAT(Calls(), ElementsAre("ADD one", "ADD two", "GC one", "GC two"));
  EXPECT_EQ(Input("two", "GC")["cni.dev/valid-attachments"],
            json::parse(absl::StrCat(R"([{"ifname":"eth0","containerID":")", std::string(64, 'a'),
                                     "\"}]")));
  EXPECT_FALSE(Input("two", "GC").contains("prevResult"));
}

TEST_F(CniNetworkTest, GarbageCollectionIsLeftOutWhereItIsNotWanted) {
  for (const char* version : {"1.0.0", R"(1.1.0","disableGC":true,"x":")"}) {
    Configure(R"({"type":"one"})", version);
    Answering("one");
    EXPECT_TRUE(network().CollectGarbage({}, absl::Now() + absl::Seconds(20)).ok());
    EXPECT_THAT(Calls(), testing::IsEmpty());
  }
}

TEST_F(CniNetworkTest, GarbageCollectionGoesAlone) {
  Configure(R"({"type":"one"})", "1.1.0");
  Plugin("one",
         absl::StrCat("[ $CNI_COMMAND = GC ] && { touch ", root_, "/gc; while [ ! -e ", root_,
                      "/go ]; do sleep 0.01; done; }\necho ended $CNI_COMMAND >>", root_,
                      "/calls\n[ $CNI_COMMAND = ADD ] && echo '", kResult, "'\nexit 0"));
  attachment_ = *network().Prepare(request_);
  std::thread collector(
      [this] { EXPECT_TRUE(network().CollectGarbage({}, absl::Now() + absl::Seconds(20)).ok()); });
  while (access((root_ + "/gc").c_str(), F_OK) != 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      network().Add(&attachment_, absl::Now() + absl::Milliseconds(50)).status()));
  ASSERT_TRUE(WriteFileAtomically(root_ + "/go", "", 0644).ok());
  EXPECT_TRUE(network().Add(&attachment_, absl::Now() + absl::Seconds(20)).ok());
  collector.join();
  EXPECT_THAT(Calls(), ElementsAre("GC one", "ended GC", "ADD one", "ended ADD"));
}

TEST_F(CniNetworkTest, BadRequestsNameTheField) {
  Configure(R"({"type":"one"})");
  const auto error = [this](auto change) {
    AttachRequest request = request_;
    change(&request);
    const absl::Status status = network().Prepare(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error([](auto* r) { r->pod_name = "a;b"; }), HasSubstr("metadata.name: "));
  EXPECT_THAT(error([](auto* r) { r->interface = "a/b"; }), HasSubstr("interface: "));
  EXPECT_THAT(
      error([](auto* r) { r->port_mappings = {{.container_port = 1, .host_port = 70000}}; }),
      HasSubstr("port_mappings[0].host_port"));
  EXPECT_THAT(error([](auto* r) { r->port_mappings = {{.host_port = 1}}; }),
              HasSubstr("port_mappings[0].container_port"));
  EXPECT_THAT(error([](auto* r) {
                r->port_mappings = {{.container_port = 1, .host_port = 1, .host_ip = "x"}};
              }),
              HasSubstr("port_mappings[0].host_ip"));
}

TEST_F(CniNetworkTest, DamagedRecordsAreRefused) {
  EXPECT_FALSE(Attachment::FromJson("{}").ok());
  EXPECT_FALSE(Attachment::FromJson(R"({"format":1,"pod":7})").ok());
  EXPECT_FALSE(network().Remove(Attachment(), absl::InfiniteFuture()).ok());
}

}  // namespace
}  // namespace berth
