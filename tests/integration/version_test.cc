// Who the runtime is and how it is: Version, Status, RuntimeConfig, UpdateRuntimeConfig.
#include "absl/strings/match.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class VersionTest : public DaemonTest {
 protected:
  cri::RuntimeStatus Status() {
    auto answer = cri().Call(&CriClient::Runtime::Status, cri::StatusRequest());
    EXPECT_OK(answer);
    return answer.ok() ? answer->status() : cri::RuntimeStatus();
  }
  static const cri::RuntimeCondition* Condition(const cri::RuntimeStatus& status,
                                                const std::string& type) {
    for (const auto& condition : status.conditions()) {
      if (condition.type() == type) return &condition;
    }
    return nullptr;
  }
};

TEST_F(VersionTest, VersionNamesBerthAndCriV1) {
  cri::VersionRequest request;
  request.set_version("0.1.0");  // what kubelet sends
  ASSERT_OK_AND_ASSIGN(auto answer, cri().Call(&CriClient::Runtime::Version, request));
  EXPECT_EQ(answer.version(), "0.1.0");
  EXPECT_EQ(answer.runtime_name(), "berth");
  EXPECT_EQ(answer.runtime_api_version(), "v1");
  EXPECT_FALSE(answer.runtime_version().empty());
}

TEST_F(VersionTest, RuntimeIsReadyAndNetworkIsNotWithoutCniConfiguration) {
  const auto status = Status();
  const auto* runtime = Condition(status, "RuntimeReady");
  const auto* network = Condition(status, "NetworkReady");
  ASSERT_NE(runtime, nullptr);
  ASSERT_NE(network, nullptr);
  EXPECT_TRUE(runtime->status());
  EXPECT_FALSE(network->status());
  EXPECT_FALSE(network->reason().empty());
  EXPECT_TRUE(absl::StrContains(network->message(), daemon_.cni_conf_dir())) << network->message();
}

TEST_F(VersionTest, NetworkBecomesReadyWhenAConfigurationAppears) {
  ASSERT_OK(daemon_.WriteCniConfig());
  bool ready = false;
  for (const absl::Time end = absl::Now() + absl::Seconds(5); !ready && absl::Now() < end;) {
    const auto status = Status();
    const auto* network = Condition(status, "NetworkReady");
    ASSERT_NE(network, nullptr);
    ready = network->status();
  }
  EXPECT_TRUE(ready);
}

TEST_F(VersionTest, VerboseStatusHasTheConfiguration) {
  cri::StatusRequest request;
  request.set_verbose(true);
  ASSERT_OK_AND_ASSIGN(auto answer, cri().Call(&CriClient::Runtime::Status, request));
  std::string all;
  for (const auto& [key, value] : answer.info()) all += key + value;
  EXPECT_TRUE(absl::StrContains(all, daemon_.root())) << all;
  ASSERT_OK_AND_ASSIGN(auto terse, cri().Call(&CriClient::Runtime::Status, cri::StatusRequest()));
  EXPECT_EQ(terse.info_size(), 0);
}

// That each works is shown where it is used; the handlers' features depend on the kernel.
TEST_F(VersionTest, FeaturesAreAnnounced) {
  ASSERT_OK_AND_ASSIGN(auto answer, cri().Call(&CriClient::Runtime::Status, cri::StatusRequest()));
  EXPECT_TRUE(answer.features().supplemental_groups_policy());
  EXPECT_TRUE(answer.features().mount_options());
  ASSERT_GT(answer.runtime_handlers_size(), 0);
  EXPECT_EQ(answer.runtime_handlers(0).name(), "");
}

TEST_F(VersionTest, RuntimeConfigNamesTheCgroupDriver) {
  ASSERT_OK_AND_ASSIGN(auto answer,
                       cri().Call(&CriClient::Runtime::RuntimeConfig, cri::RuntimeConfigRequest()));
  EXPECT_EQ(answer.linux().cgroup_driver(), cri::CGROUPFS);
}

TEST_F(VersionTest, UpdateRuntimeConfigAcceptsThePodCidr) {
  cri::UpdateRuntimeConfigRequest request;
  request.mutable_runtime_config()->mutable_network_config()->set_pod_cidr("10.1.2.0/24");
  EXPECT_OK(cri().Call(&CriClient::Runtime::UpdateRuntimeConfig, request));
}

TEST_F(VersionTest, WhatIsNotServedIsUnimplementedByName) {
  const auto answer = cri().Call(&CriClient::Runtime::CheckpointPod, cri::CheckpointPodRequest());
  EXPECT_CODE(absl::StatusCode::kUnimplemented, answer);
  EXPECT_TRUE(absl::StrContains(answer.status().message(), "CheckpointPod")) << answer.status();
}

TEST_F(VersionTest, SocketHasMode0660AndASecondDaemonOnItIsRefused) {
  EXPECT_EQ(Shell("stat -c %a " + daemon_.socket()), "660\n");
  auto second = RunCommand({FindOwnProgram("berthd"), "--root", daemon_.directory() + "/root2",
                            "--state", daemon_.directory() + "/state2", "--address",
                            "unix://" + daemon_.socket(), "--metrics-address", "127.0.0.1:9700"},
                           absl::Seconds(10));
  ASSERT_OK(second);
  EXPECT_NE(second->exit_code, 0);
  EXPECT_TRUE(absl::StrContains(second->output, daemon_.socket())) << second->output;
  Status();  // the first still answers
}

TEST_F(VersionTest, ASecondDaemonOnTheSameRootIsRefused) {
  auto second = RunCommand(
      {FindOwnProgram("berthd"), "--root", daemon_.root(), "--state", daemon_.state(), "--address",
       "unix://" + daemon_.directory() + "/second.sock", "--metrics-address", "127.0.0.1:9700"},
      absl::Seconds(10));
  ASSERT_OK(second);
  EXPECT_NE(second->exit_code, 0);
  EXPECT_TRUE(absl::StrContains(second->output, daemon_.root())) << second->output;
}

}  // namespace
}  // namespace berth::testing
