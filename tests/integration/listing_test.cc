// Lists: filters, labels, states, unique prefixes of ids.
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class ListingTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    for (int i = 0; i < 3; ++i) {
      cri::PodSandboxConfig config = PodConfig(absl::StrCat("pod-", i));
      (*config.mutable_labels())["index"] = absl::StrCat(i);
      (*config.mutable_labels())["app"] = "listing";
      ASSERT_OK_AND_ASSIGN(pods_[i], RunPod(config));
      cri::ContainerConfig container = ContainerConfig("c", {"sleep", "1000"});
      (*container.mutable_labels())["index"] = absl::StrCat(i);
      ASSERT_OK_AND_ASSIGN(containers_[i], Create(pods_[i], container));
    }
    // 0: ready, running; 1: ready, exited; 2: not ready, created (and so never started).
    ASSERT_OK(cri().StartContainer(containers_[0]));
    ASSERT_OK(cri().StartContainer(containers_[1]));
    ASSERT_OK(cri().StopContainer(containers_[1], 0));
    ASSERT_OK(cri().StopPod(pods_[2].id));
  }

  std::vector<std::string> Pods(const cri::PodSandboxFilter& filter) {
    auto pods = cri().ListPods(filter);
    EXPECT_OK(pods);
    std::vector<std::string> ids;
    if (pods.ok()) {
      for (const auto& pod : *pods) ids.push_back(pod.id());
    }
    return ids;
  }
  std::vector<std::string> Containers(const cri::ContainerFilter& filter) {
    auto containers = cri().ListContainers(filter);
    EXPECT_OK(containers);
    std::vector<std::string> ids;
    if (containers.ok()) {
      for (const auto& container : *containers) ids.push_back(container.id());
    }
    return ids;
  }

  TestPod pods_[3];
  std::string containers_[3];
};

TEST_F(ListingTest, PodsByStateLabelAndId) {
  EXPECT_THAT(Pods({}), UnorderedElementsAre(pods_[0].id, pods_[1].id, pods_[2].id));
  cri::PodSandboxFilter ready;
  ready.mutable_state()->set_state(cri::SANDBOX_READY);
  EXPECT_THAT(Pods(ready), UnorderedElementsAre(pods_[0].id, pods_[1].id));
  cri::PodSandboxFilter not_ready;
  not_ready.mutable_state()->set_state(cri::SANDBOX_NOTREADY);
  EXPECT_THAT(Pods(not_ready), ElementsAre(pods_[2].id));
  cri::PodSandboxFilter label;
  (*label.mutable_label_selector())["index"] = "1";
  (*label.mutable_label_selector())["app"] = "listing";
  EXPECT_THAT(Pods(label), ElementsAre(pods_[1].id));
  (*label.mutable_label_selector())["index"] = "7";
  EXPECT_THAT(Pods(label), ElementsAre());
  cri::PodSandboxFilter id;
  id.set_id(pods_[2].id);
  EXPECT_THAT(Pods(id), ElementsAre(pods_[2].id));
  id.set_id(std::string(64, 'f'));
  EXPECT_THAT(Pods(id), ElementsAre());
}

TEST_F(ListingTest, ContainersByStateLabelPodAndId) {
  EXPECT_EQ(Containers({}).size(), 3u);
  cri::ContainerFilter running;
  running.mutable_state()->set_state(cri::CONTAINER_RUNNING);
  EXPECT_THAT(Containers(running), ElementsAre(containers_[0]));
  cri::ContainerFilter exited;
  exited.mutable_state()->set_state(cri::CONTAINER_EXITED);
  exited.set_pod_sandbox_id(pods_[1].id);
  EXPECT_THAT(Containers(exited), ElementsAre(containers_[1]));
  exited.set_pod_sandbox_id(pods_[0].id);
  EXPECT_THAT(Containers(exited), ElementsAre());
  cri::ContainerFilter pod;
  pod.set_pod_sandbox_id(pods_[2].id);
  EXPECT_THAT(Containers(pod), ElementsAre(containers_[2]));
  cri::ContainerFilter label;
  (*label.mutable_label_selector())["index"] = "0";
  EXPECT_THAT(Containers(label), ElementsAre(containers_[0]));
}

TEST_F(ListingTest, AUniquePrefixIsEnough) {
  const std::string prefix = containers_[0].substr(0, 13);
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(prefix));
  EXPECT_EQ(status.id(), containers_[0]);
  EXPECT_OK(cri().ExecSync(prefix, {"true"}));
  ASSERT_OK_AND_ASSIGN(const auto pod, cri().PodStatus(pods_[0].id.substr(0, 13)));
  EXPECT_EQ(pod.status().id(), pods_[0].id);
  cri::ContainerFilter filter;
  filter.set_id(prefix);
  EXPECT_THAT(Containers(filter), ElementsAre(containers_[0]));
  cri::PodSandboxFilter pod_filter;
  pod_filter.set_id(pods_[1].id.substr(0, 13));
  EXPECT_THAT(Pods(pod_filter), ElementsAre(pods_[1].id));
}

TEST_F(ListingTest, EntriesAgreeWithTheStatus) {
  cri::ContainerFilter filter;
  filter.set_id(containers_[0]);
  ASSERT_OK_AND_ASSIGN(const auto list, cri().ListContainers(filter));
  ASSERT_EQ(list.size(), 1u);
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(containers_[0]));
  EXPECT_EQ(list[0].pod_sandbox_id(), pods_[0].id);
  EXPECT_EQ(list[0].created_at(), status.created_at());
  EXPECT_EQ(list[0].image_ref(), status.image_ref());
  EXPECT_EQ(list[0].image_id(), status.image_id());
  EXPECT_EQ(list[0].image().image(), status.image().image());
  EXPECT_EQ(list[0].metadata().name(), "c");
  EXPECT_EQ(list[0].labels().at("index"), "0");
}

TEST_F(ListingTest, ListsAreTheSameAfterAKill) {
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
  Restart();
  const auto text = [](const auto& list) {
    std::vector<std::string> result;
    for (const auto& entry : list) result.push_back(entry.ShortDebugString());
    return result;
  };
  ASSERT_OK_AND_ASSIGN(const auto pods_after, cri().ListPods());
  ASSERT_OK_AND_ASSIGN(const auto containers_after, cri().ListContainers());
  EXPECT_THAT(text(pods_after), ::testing::UnorderedElementsAreArray(text(pods)));
  EXPECT_THAT(text(containers_after), ::testing::UnorderedElementsAreArray(text(containers)));
}

}  // namespace
}  // namespace berth::testing
