// Retries: kubelet repeats calls, and no name is ever reserved.
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class RetryTest : public DaemonTest {};

TEST_F(RetryTest, TheSamePodAgainIsTheSameId) {
  const auto config = PodConfig("again");
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const TestPod second, RunPod(config));
  EXPECT_EQ(first.id, second.id);
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  EXPECT_EQ(pods.size(), 1u);
}

TEST_F(RetryTest, AChangedPodIsAlreadyExistsWithTheId) {
  auto config = PodConfig("changed");
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod(config));
  (*config.mutable_labels())["new"] = "label";
  const auto second = RunPod(config);
  EXPECT_CODE(absl::StatusCode::kAlreadyExists, second);
  EXPECT_TRUE(absl::StrContains(second.status().message(), first.id)) << second.status();
}

TEST_F(RetryTest, AnotherAttemptIsAnotherPod) {
  auto config = PodConfig("attempts");
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod(config));
  config.mutable_metadata()->set_attempt(1);
  ASSERT_OK_AND_ASSIGN(const TestPod second, RunPod(config));
  EXPECT_NE(first.id, second.id);
}

TEST_F(RetryTest, AStoppedPodIsNotReturned) {
  const auto config = PodConfig("stopped");
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod(config));
  ASSERT_OK(cri().StopPod(first.id));
  EXPECT_CODE(absl::StatusCode::kAlreadyExists, RunPod(config));
  ASSERT_OK(cri().RemovePod(first.id));
  ASSERT_OK_AND_ASSIGN(const TestPod second, RunPod(config));
  EXPECT_NE(first.id, second.id);
}

TEST_F(RetryTest, TheSamePodFromManySidesIsOnePod) {
  const auto config = PodConfig("joined");
  std::vector<std::thread> threads;
  threads.reserve(16);
  std::vector<std::string> ids(16);
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      auto id = cri().RunPod(config);
      ids[i] = id.ok() ? *id : id.status().ToString();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 1u)
      << *ids.begin() << " " << *ids.rbegin();
  EXPECT_EQ(ids[0].size(), 64u);
}

TEST_F(RetryTest, TheSameContainerAgainIsTheSameId) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  auto config = ContainerConfig("again", {"sleep", "1000"});
  ASSERT_OK_AND_ASSIGN(const std::string first, Create(pod, config));
  ASSERT_OK_AND_ASSIGN(const std::string second, Create(pod, config));
  EXPECT_EQ(first, second);
  config.set_working_dir("/tmp");
  const auto changed = Create(pod, config);
  EXPECT_CODE(absl::StatusCode::kAlreadyExists, changed);
  EXPECT_TRUE(absl::StrContains(changed.status().message(), first)) << changed.status();
  config.clear_working_dir();
  // Something happened to it since: the retry is not answered by it.
  ASSERT_OK(cri().StartContainer(first));
  EXPECT_CODE(absl::StatusCode::kAlreadyExists, Create(pod, config));
  ASSERT_OK(cri().RemoveContainer(first));
  EXPECT_OK(Create(pod, config));
}

TEST_F(RetryTest, RetriesAreTheSameAfterAKill) {
  const auto config = PodConfig("over");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  const auto container = ContainerConfig("c", {"sleep", "1000"});
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod, container));
  Restart();
  ASSERT_OK_AND_ASSIGN(const TestPod again, RunPod(config));
  EXPECT_EQ(again.id, pod.id);
  ASSERT_OK_AND_ASSIGN(const std::string id_again, Create(pod, container));
  EXPECT_EQ(id_again, id);
  EXPECT_OK(cri().StartContainer(id));
}

TEST_F(RetryTest, AFailedCreationFreesItsName) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  auto config = ContainerConfig("flawed", {"sleep", "1000"});
  auto* mount = config.add_mounts();
  mount->set_host_path("/etc/passwd/volume");
  mount->set_container_path("/data");
  EXPECT_FALSE(Create(pod, config).ok());
  config.clear_mounts();
  EXPECT_OK(Create(pod, config));
}

TEST_F(RetryTest, StartedTogetherIsStartedOnce) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(
      const std::string id,
      Create(pod, ContainerConfig("c", {"sh", "-c", "echo started; exec sleep 1000"})));
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_OK(cri().StartContainer(id)); });
  }
  for (std::thread& thread : threads) thread.join();
  Exec(id, "while ! ps -o args | grep -q '^sleep 1000'; do :; done");
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_EQ(LogText(ReadLog(pod.config.log_directory() + "/c_0.log")), "started\n");
}

TEST_F(RetryTest, StopAndRemoveTogetherEndWell) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("busy"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_OK(cri().StopContainer(id, 0)); });
    threads.emplace_back([&] { EXPECT_OK(cri().StopPod(pod.id)); });
    threads.emplace_back([&] { EXPECT_OK(cri().RemovePod(pod.id)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().PodStatus(pod.id));
}

}  // namespace
}  // namespace berth::testing
