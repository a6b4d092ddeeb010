// What `crictl info`, `inspect`, `inspectp` and `inspecti` show, and ImageFsInfo.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using nlohmann::json;

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

class InspectTest : public DaemonTest {
 protected:
  json Container(const std::string& id) {
    cri::ContainerStatusRequest request;
    request.set_container_id(id);
    request.set_verbose(true);
    auto answer = cri().Call(&CriClient::Runtime::ContainerStatus, request);
    EXPECT_OK(answer);
    return answer.ok() ? json::parse(answer->info().at("info")) : json();
  }
  json PodInfo(const std::string& id) {
    auto answer = cri().PodStatus(id, /*verbose=*/true);
    EXPECT_OK(answer);
    return answer.ok() ? json::parse(answer->info().at("info")) : json();
  }
};

TEST_F(InspectTest, AContainerAsContainerdShowsIt) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
  SetLimits(&config);
  config.mutable_linux()->mutable_security_context()->set_run_as_username("www-data");
  config.mutable_linux()->mutable_security_context()->set_readonly_rootfs(true);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, config));
  for (const char* when : {"at first", "after a restart"}) {
    SCOPED_TRACE(when);
    json info = Container(id);
    EXPECT_EQ(info["sandboxID"], pod.id);
    EXPECT_GT(info["pid"], 0);
    EXPECT_EQ(info["removing"], false);
    EXPECT_EQ(info["snapshotter"], "overlayfs");
    EXPECT_TRUE(Exists(daemon_.root() + "/snapshots/" + info.value("snapshotKey", "")));
    EXPECT_EQ(info["runtimeType"], "berth");
    EXPECT_TRUE(info.contains("runtimeOptions"));
    EXPECT_EQ(info["config"]["metadata"]["name"], "c");
    EXPECT_EQ(info["config"]["log_path"], "c_0.log");
    EXPECT_EQ(info["config"]["linux"]["resources"]["memory_limit_in_bytes"], 128 << 20);
    json& spec = info["runtimeSpec"];
    EXPECT_EQ(spec["process"]["args"], json::array({"sleep", "1000"}));
    EXPECT_EQ(spec["process"]["user"]["uid"], 33);  // by its name in the image
    EXPECT_EQ(spec["root"]["readonly"], true);
    EXPECT_EQ(spec["linux"]["resources"]["memory"]["limit"], 128 << 20);
    EXPECT_EQ(spec["linux"]["cgroupsPath"], TestCgroup() + "/pods/" + id);
    EXPECT_EQ(spec["annotations"]["io.kubernetes.cri.sandbox-id"], pod.id);
    EXPECT_FALSE(spec["mounts"].empty());
    Restart();
  }
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_EQ(Container(id)["pid"], 0);
}

TEST_F(InspectTest, APodAsContainerdShowsIt) {
  ASSERT_OK(daemon_.WriteCniConfig());
  cri::PodSandboxConfig config = Pod("pod");
  config.set_log_directory(daemon_.pod_logs());
  config.mutable_linux()->mutable_overhead()->set_cpu_shares(10);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  json info = PodInfo(pod.id);
  EXPECT_TRUE(absl::StrContains(Shell(absl::StrCat("cat /proc/", info["pid"].get<int>(), "/comm")),
                                "berth-keeper"));
  EXPECT_EQ(info["processStatus"], "running");
  EXPECT_EQ(info["netNamespaceClosed"], false);
  EXPECT_EQ(info["runtimeType"], "berth");
  EXPECT_EQ(info["config"]["metadata"]["name"], "pod");
  EXPECT_EQ(info["overhead"]["cpu_shares"], 10);
  EXPECT_EQ(info["cgroupParent"], TestCgroup() + "/pods");
  ASSERT_OK_AND_ASSIGN(const auto status, cri().PodStatus(pod.id));
  EXPECT_EQ(info["cniResult"]["Interfaces"]["eth0"]["IPConfigs"][0]["IP"],
            status.status().network().ip());
  std::string netns;
  for (const json& ns : info["runtimeSpec"]["linux"]["namespaces"]) {
    if (ns["type"] == "network") netns = ns.value("path", "");
  }
  EXPECT_TRUE(absl::StartsWith(netns, "/run/netns/")) << netns;
  EXPECT_TRUE(Exists(netns));
  ASSERT_OK(cri().StopPod(pod.id));
  info = PodInfo(pod.id);
  EXPECT_EQ(info["pid"], 0);
  EXPECT_EQ(info["processStatus"], "stopped");
  EXPECT_EQ(info["netNamespaceClosed"], true);
}

TEST_F(InspectTest, AnImageAsContainerdShowsIt) {
  const std::string image = registry_.Image("volumes:1");
  ASSERT_OK(cri().PullImage(image));
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(image);
  request.set_verbose(true);
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().Call(&CriClient::Images::ImageStatus, request));
  json info = json::parse(answer.info().at("info"));
  json& layers = info["imageSpec"]["rootfs"]["diff_ids"];
  ASSERT_EQ(layers.size(), 1u);
  EXPECT_EQ(info["chainID"], layers[0]);  // of one layer
  EXPECT_EQ(info["imageSpec"]["os"], "linux");
  EXPECT_EQ(info["imageSpec"]["config"]["Cmd"], json::array({"sh"}));
  EXPECT_TRUE(info["imageSpec"]["config"]["Volumes"].contains("/data/deep/volume"));
  EXPECT_FALSE(info["imageSpec"]["config"].contains("StopSignal"));
}

TEST_F(InspectTest, StatusTellsConfigurationAndNetwork) {
  cri::StatusRequest request;
  request.set_verbose(true);
  ASSERT_OK_AND_ASSIGN(auto answer, cri().Call(&CriClient::Runtime::Status, request));
  EXPECT_EQ(json::parse(answer.info().at("config"))["root"], daemon_.root());
  EXPECT_TRUE(absl::StrContains(answer.info().at("lastCNILoadStatus"), "cni config"));
  ASSERT_OK(daemon_.WriteCniConfig());
  ASSERT_OK_AND_ASSIGN(answer, cri().Call(&CriClient::Runtime::Status, request));
  EXPECT_EQ(answer.info().at("lastCNILoadStatus"), "OK");
  json cni = json::parse(answer.info().at("cniconfig"));
  EXPECT_EQ(cni["PluginConfDir"], daemon_.cni_conf_dir());
  EXPECT_EQ(cni["Networks"][0]["Config"]["Name"], "berth-test-a");
  EXPECT_EQ(cni["Networks"][0]["IFName"], "eth0");
  EXPECT_EQ(cni["Networks"][0]["Config"]["Plugins"][0]["Network"]["type"], "bridge");
}

TEST_F(InspectTest, WhatImagesTakeIsCountedInBlocksAndInodes) {
  // Sparse files, hard links and many small files: none takes what its length says.
  ASSERT_OK(cri().PullImage(registry_.Image("layers:1")));
  ASSERT_OK_AND_ASSIGN(const auto answer,
                       cri().Call(&CriClient::Images::ImageFsInfo, cri::ImageFsInfoRequest()));
  ASSERT_EQ(answer.image_filesystems_size(), 1);
  const auto& images = answer.image_filesystems(0);
  EXPECT_EQ(images.fs_id().mountpoint(), daemon_.root());
  const std::string trees = daemon_.root() + "/layers/*/fs";
  uint64_t blocks = 0, inodes = 0;
  ASSERT_TRUE(absl::SimpleAtoi(
      Shell("du -s --block-size=1 " + trees + " | awk '{s += $1} END {printf \"%d\", s}'"),
      &blocks));
  ASSERT_TRUE(absl::SimpleAtoi(
      Shell("find " + trees + " -printf '%i\\n' | sort -u | wc -l | tr -d '\\n'"), &inodes));
  EXPECT_EQ(images.used_bytes().value(), blocks);
  EXPECT_EQ(images.inodes_used().value(), inodes);
  Restart();
  ASSERT_OK_AND_ASSIGN(const auto again,
                       cri().Call(&CriClient::Images::ImageFsInfo, cri::ImageFsInfoRequest()));
  EXPECT_EQ(again.image_filesystems(0).used_bytes().value(), blocks);
}

}  // namespace
}  // namespace berth::testing
