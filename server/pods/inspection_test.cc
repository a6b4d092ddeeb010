#include "server/pods/inspection.h"

#include <map>

#include "gtest/gtest.h"

namespace berth {
namespace {

using nlohmann::json;

TEST(InspectionTest, ACniResultReadsAsPeopleKnowIt) {
  const json result = json::parse(R"({
      "cniVersion": "1.0.0",
      "interfaces": [{"name": "cni0", "mac": "aa:aa:aa:aa:aa:aa"},
                     {"name": "eth0", "mac": "bb:bb:bb:bb:bb:bb", "sandbox": "/run/netns/x"}],
      "ips": [{"interface": 1, "address": "10.0.0.5/24", "gateway": "10.0.0.1"},
              {"interface": 1, "address": "fd00::5/64"}],
      "routes": [{"dst": "0.0.0.0/0"}]})");
  json read = CniResultForPeople(result, "eth0");
  json& eth0 = read["Interfaces"]["eth0"];
  EXPECT_EQ(eth0["IPConfigs"][0], json::parse(R"({"IP": "10.0.0.5", "Gateway": "10.0.0.1"})"));
  EXPECT_EQ(eth0["IPConfigs"][1]["IP"], "fd00::5");
  EXPECT_EQ(eth0["Sandbox"], "/run/netns/x");
  EXPECT_EQ(read["Interfaces"]["cni0"]["IPConfigs"], nullptr);
  EXPECT_EQ(read["Routes"][0]["dst"], "0.0.0.0/0");
}

TEST(InspectionTest, AStrangeCniResultIsNoTrouble) {
  for (const char* text :
       {"null", "[]", "{}", R"({"interfaces": [1], "ips": [{"interface": 9}]})",
        R"({"interfaces": {}, "ips": "x"})", R"({"ips": [{"interface": -1, "address": 3}]})"}) {
    const json read = CniResultForPeople(json::parse(text), "eth0");
    EXPECT_TRUE(read.is_null() || read.contains("Interfaces")) << text;
  }
  EXPECT_TRUE(CniResultForPeople(json::parse("{", nullptr, false), "eth0").is_null());
}

TEST(InspectionTest, AContainersUserIsTheOneThatItGot) {
  store::v1::ContainerRecord record;
  record.set_state(store::v1::CONTAINER_STATE_RUNNING);
  record.mutable_init()->set_pid(42);
  record.mutable_user()->set_uid(33);
  record.mutable_user()->add_supplemental_groups(7);
  record.mutable_config()->mutable_metadata()->set_name("c");
  Spec spec;
  spec.root_readonly = true;
  spec.process.emplace();
  json info = InspectContainer(record, spec, "berth");
  EXPECT_EQ(info["pid"], 42);
  EXPECT_EQ(info["runtimeSpec"]["process"]["user"]["uid"], 33);
  EXPECT_EQ(info["runtimeSpec"]["process"]["user"]["additionalGids"], json::array({7}));
  EXPECT_EQ(info["runtimeSpec"]["root"]["readonly"], true);
  EXPECT_EQ(info["config"]["metadata"]["name"], "c");
  record.set_state(store::v1::CONTAINER_STATE_EXITED);
  info = InspectContainer(record, absl::NotFoundError("its image is gone"), "berth");
  EXPECT_EQ(info["pid"], 0);
  EXPECT_EQ(info["runtimeSpecError"], "its image is gone");
}

TEST(InspectionTest, APodShowsItsNamespacesWhileItRuns) {
  store::v1::PodRecord record;
  record.set_state(store::v1::POD_STATE_READY);
  record.mutable_namespaces()->set_pid(runtime::v1::POD);
  record.mutable_keeper()->set_pid(7);
  record.mutable_pod_init()->set_pid(8);
  record.set_netns_path("/run/netns/p");
  const auto paths = [&] {
    std::map<std::string, std::string> found;
    json info = InspectPod(record, "berth");
    for (const json& ns : info["runtimeSpec"]["linux"]["namespaces"]) {
      found[ns["type"].get<std::string>()] = ns.value("path", std::string());
    }
    return found;
  };
  const std::map<std::string, std::string> running = {{"pid", "/proc/8/ns/pid"},
                                                      {"ipc", "/proc/7/ns/ipc"},
                                                      {"uts", "/proc/7/ns/uts"},
                                                      {"network", "/run/netns/p"}};
  EXPECT_EQ(paths(), running);
  record.set_state(store::v1::POD_STATE_NOTREADY);
  for (const auto& [type, path] : paths()) EXPECT_EQ(path, "") << type;
  EXPECT_EQ(InspectPod(record, "berth")["pid"], 0);
  EXPECT_EQ(InspectPod(record, "berth")["netNamespaceClosed"], true);
}

}  // namespace
}  // namespace berth
