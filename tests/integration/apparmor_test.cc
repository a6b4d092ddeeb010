// AppArmor profiles, on a kernel that has them on: ./dev vm.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

// CRI's deprecated profile string still comes from older clients.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace berth::testing {
namespace {

constexpr char kProfile[] = "berth-test-no-write";

class AppArmorTest : public DaemonTest {
 protected:
  void SetUp() override {
    ASSERT_EQ(ReadFile("/sys/module/apparmor/parameters/enabled").value_or("missing"), "Y\n");
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(WriteFileAtomically(
        "/tmp/profile",
        absl::StrCat("profile ", kProfile,
                     " flags=(attach_disconnected) { file, capability, network, "
                     "signal, deny /shut/** w, }\n"),
        0600));
    Shell("apparmor_parser -Kqr /tmp/profile");
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  cri::ContainerConfig Config(const std::string& name) {
    return ContainerConfig(name, {"sh", "-c", "mkdir /shut; exec sleep 1000"});
  }
  static auto* Profile(cri::ContainerConfig* config) {
    return config->mutable_linux()->mutable_security_context()->mutable_apparmor();
  }
  std::string LabelOf(const std::string& id) {
    return Shell(absl::StrCat("cat /proc/", PidOf(id), "/attr/apparmor/current"));
  }
  TestPod pod_;
};

TEST_F(AppArmorTest, TheDefaultProfileIsInForceAlsoForExecs) {
  ASSERT_OK_AND_ASSIGN(const std::string silent, CreateAndStart(pod_, Config("silent")));
  EXPECT_EQ(LabelOf(silent), "berth-default (enforce)\n");
  cri::ContainerConfig asked = Config("asked");
  Profile(&asked)->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  asked.mutable_linux()->mutable_security_context()->clear_masked_paths();
  asked.mutable_linux()->mutable_security_context()->clear_readonly_paths();
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, asked));
  EXPECT_EQ(LabelOf(id), "berth-default (enforce)\n");
  EXPECT_EQ(Exec(id, "cat /proc/self/attr/apparmor/current"), "berth-default (enforce)\n");
  EXPECT_EQ(Exec(id, "echo b 2>/dev/null >/proc/sysrq-trigger || echo refused"), "refused\n");
  EXPECT_EQ(Exec(id, "echo core 2>/dev/null >/proc/sys/kernel/core_pattern || echo refused"),
            "refused\n");
  EXPECT_EQ(Exec(id, "echo fine >/tmp/x && kill -0 1 && cat /tmp/x"), "fine\n");
}

TEST_F(AppArmorTest, ALoadedProfileCanBeNamed) {
  cri::ContainerConfig config = Config("named");
  Profile(&config)->set_profile_type(cri::SecurityProfile::Localhost);
  Profile(&config)->set_localhost_ref(kProfile);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(LabelOf(id), absl::StrCat(kProfile, " (enforce)\n"));
  EXPECT_EQ(Exec(id, "touch /shut/x 2>/dev/null || echo refused; touch /open"), "refused\n");
  cri::ContainerConfig old = Config("old");
  old.mutable_linux()->mutable_security_context()->set_apparmor_profile(
      absl::StrCat("localhost/", kProfile));
  ASSERT_OK_AND_ASSIGN(const std::string old_id, CreateAndStart(pod_, old));
  EXPECT_EQ(LabelOf(old_id), absl::StrCat(kProfile, " (enforce)\n"));
}

TEST_F(AppArmorTest, WhatIsNotLoadedIsRefused) {
  cri::ContainerConfig config = Config("unknown");
  Profile(&config)->set_profile_type(cri::SecurityProfile::Localhost);
  Profile(&config)->set_localhost_ref("berth-no-such-profile");
  const auto id = Create(pod_, config);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, id);
  EXPECT_TRUE(absl::StrContains(id.status().message(), "berth-no-such-profile")) << id.status();
}

TEST_F(AppArmorTest, UnconfinedAndPrivilegedContainersAreUnconfined) {
  cri::ContainerConfig config = Config("unconfined");
  Profile(&config)->set_profile_type(cri::SecurityProfile::Unconfined);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(LabelOf(id), "unconfined\n");
  cri::PodSandboxConfig privileged_pod = PodConfig("privileged");
  privileged_pod.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(privileged_pod));
  cri::ContainerConfig privileged = Config("privileged");
  privileged.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const std::string second, CreateAndStart(pod, privileged));
  EXPECT_EQ(LabelOf(second), "unconfined\n");
}

// The process hops into the namespace: the profile has to come along.
TEST_F(AppArmorTest, ASharedPidNamespaceKeepsTheProfile) {
  cri::PodSandboxConfig shared = PodConfig("shared");
  shared.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(shared));
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, Config("sharing")));
  EXPECT_EQ(LabelOf(id), "berth-default (enforce)\n");
  EXPECT_EQ(Exec(id, "cat /proc/self/attr/apparmor/current"), "berth-default (enforce)\n");
}

}  // namespace
}  // namespace berth::testing
