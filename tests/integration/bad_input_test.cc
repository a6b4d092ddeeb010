// Malformed and contradictory requests: a clear status that names the field, nothing left behind.
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class BadInputTest : public DaemonTest {
 protected:
  void ExpectRefused(const absl::Status& status, const std::string& part) {
    EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << "no `" << part << "` in: " << status;
  }
  void ExpectNothing() {
    ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
    EXPECT_TRUE(pods.empty());
  }
};

TEST_F(BadInputTest, EmptyRequests) {
  const auto code = [](const auto& result) { return result.status().code(); };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::RunPodSandbox, cri::RunPodSandboxRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::StopPodSandbox, cri::StopPodSandboxRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::RemovePodSandbox, cri::RemovePodSandboxRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::PodSandboxStatus, cri::PodSandboxStatusRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::CreateContainer, cri::CreateContainerRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::StartContainer, cri::StartContainerRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::StopContainer, cri::StopContainerRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::RemoveContainer, cri::RemoveContainerRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::ContainerStatus, cri::ContainerStatusRequest())),
            kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Runtime::ExecSync, cri::ExecSyncRequest())), kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Images::PullImage, cri::PullImageRequest())), kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Images::ImageStatus, cri::ImageStatusRequest())), kInvalid);
  EXPECT_EQ(code(cri().Call(&CriClient::Images::RemoveImage, cri::RemoveImageRequest())), kInvalid);
}

struct BadPod {
  const char* part;  // of the message
  std::function<void(cri::PodSandboxConfig*)> spoil;
};

TEST_F(BadInputTest, PodConfigurations) {
  const std::vector<BadPod> cases = {
      {"metadata", [](auto* c) { c->clear_metadata(); }},
      {"name", [](auto* c) { c->mutable_metadata()->clear_name(); }},
      {"hostname",
       [](auto* c) {
         c->mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_network(
             cri::POD);
         c->set_hostname(std::string(100, 'h'));
       }},
      {"container_port", [](auto* c) { c->add_port_mappings()->set_container_port(70000); }},
      {"cgroup_parent", [](auto* c) { c->mutable_linux()->set_cgroup_parent("../../escape"); }},
      {"log_directory", [](auto* c) { c->set_log_directory("relative/path"); }},
      {"sysctl",
       [](auto* c) { (*c->mutable_linux()->mutable_sysctls())["../../etc/passwd"] = "1"; }},
      {"kernel.panic",
       [](auto* c) { (*c->mutable_linux()->mutable_sysctls())["kernel.panic"] = "1"; }},
      {"network",
       [](auto* c) {
         c->mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_network(
             cri::CONTAINER);
       }},
  };
  for (const BadPod& bad : cases) {
    SCOPED_TRACE(bad.part);
    cri::PodSandboxConfig config = PodConfig("bad");
    bad.spoil(&config);
    const auto pod = cri().RunPod(config);
    ExpectRefused(pod.status(), bad.part);
    if (pod.ok()) cri().RemovePod(*pod).IgnoreError();
  }
  ExpectNothing();
}

TEST_F(BadInputTest, UnknownRuntimeHandler) {
  const auto pod = cri().RunPod(PodConfig("handled"), "no-such-handler");
  EXPECT_FALSE(pod.ok());
  EXPECT_TRUE(absl::StrContains(pod.status().message(), "no-such-handler")) << pod.status();
  ExpectNothing();
}

struct BadContainer {
  const char* part;
  std::function<void(cri::ContainerConfig*)> spoil;
};

TEST_F(BadInputTest, ContainerConfigurations) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  const std::string garbage = daemon_.directory() + "/garbage.json";
  ASSERT_OK(WriteFileAtomically(garbage, "{\"defaultAction\": 7", 0644));
  const auto security = [](cri::ContainerConfig* c) {
    return c->mutable_linux()->mutable_security_context();
  };
  const auto resources = [](cri::ContainerConfig* c) {
    return c->mutable_linux()->mutable_resources();
  };
  const std::vector<BadContainer> cases = {
      {"metadata", [](auto* c) { c->clear_metadata(); }},
      {"name", [](auto* c) { c->mutable_metadata()->clear_name(); }},
      {"image", [](auto* c) { c->clear_image(); }},
      {"log_path", [](auto* c) { c->set_log_path("../../../escape.log"); }},
      {"container_path", [](auto* c) { c->add_mounts()->set_host_path("/tmp"); }},
      {"host_path", [](auto* c) { c->add_mounts()->set_container_path("/data"); }},
      {"capabilit",
       [&](auto* c) { security(c)->mutable_capabilities()->add_add_capabilities("FLY"); }},
      {"run_as_group", [&](auto* c) { security(c)->mutable_run_as_group()->set_value(5); }},
      {"run_as_user", [&](auto* c) { security(c)->mutable_run_as_user()->set_value(-7); }},
      {"garbage.json",
       [&](auto* c) {
         security(c)->mutable_seccomp()->set_profile_type(cri::SecurityProfile::Localhost);
         security(c)->mutable_seccomp()->set_localhost_ref(garbage);
       }},
      {"masked_paths", [&](auto* c) { security(c)->add_masked_paths("relative"); }},
      {"memory", [&](auto* c) { resources(c)->set_memory_limit_in_bytes(-5); }},
      {"oom_score_adj", [&](auto* c) { resources(c)->set_oom_score_adj(5000); }},
      {"device",
       [](auto* c) {
         auto* device = c->add_devices();
         device->set_host_path("/dev/null");
         device->set_container_path("/dev/x");
         device->set_permissions("rwz");
       }},
      {"env",
       [](auto* c) {
         auto* env = c->add_envs();
         env->set_key("");
         env->set_value("x");
       }},
      {"working_dir", [](auto* c) { c->set_working_dir("relative"); }},
  };
  for (const BadContainer& bad : cases) {
    SCOPED_TRACE(bad.part);
    cri::ContainerConfig config = ContainerConfig("bad", {"true"});
    bad.spoil(&config);
    const auto created = Create(pod, config);
    ExpectRefused(created.status(), bad.part);
    if (created.ok()) cri().RemoveContainer(*created).IgnoreError();
  }
  ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
  EXPECT_TRUE(containers.empty());
  EXPECT_EQ(RunToEnd(pod, ContainerConfig("good", {"echo", "fine"})), "fine\n");
}

TEST_F(BadInputTest, UnknownPodAndImage) {
  cri::PodSandboxConfig config = PodConfig("absent");
  EXPECT_CODE(absl::StatusCode::kNotFound,
              cri().CreateContainer(std::string(64, 'a'), ContainerConfig("c", {"true"}), config));
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  cri::ContainerConfig container = ContainerConfig("c", {"true"});
  container.mutable_image()->set_image(registry_.Image("never-pulled:1"));
  const auto created = Create(pod, container);
  EXPECT_CODE(absl::StatusCode::kNotFound, created);
  EXPECT_TRUE(absl::StrContains(created.status().message(), "never-pulled")) << created.status();
}

TEST_F(BadInputTest, ExecWithoutACommand) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  ExpectRefused(cri().ExecSync(id, {}).status(), "cmd");
  ExpectRefused(cri().ExecSync(id, {"true"}, -1).status(), "timeout");
}

TEST_F(BadInputTest, References) {
  for (const char* reference :
       {"", " ", "upper/CASE:1", "a//b", "x@sha256:abc", "x@md5:0123456789abcdef0123456789abcdef",
        "http://127.0.0.1:5000/x", "127.0.0.1:5000/berth-test/busybox:", "a/../b", "-x-/y", "x:y:z",
        "127.0.0.1:5000/berth-test/busybox:1 "}) {
    SCOPED_TRACE(reference);
    EXPECT_CODE(absl::StatusCode::kInvalidArgument, cri().PullImage(reference));
  }
}

TEST_F(BadInputTest, GarbageOnTheSocketHurtsNobody) {
  Shell("head -c 100000 /dev/urandom | timeout 2 busybox nc local:" + daemon_.socket() +
        " >/dev/null 2>&1 || true");
  for (int i = 0; i < 20; ++i) {
    Shell("python3 - <<'E'\nimport socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('" +
          daemon_.socket() +
          "')\ns.send(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes(range(256)))\nE");
  }
  EXPECT_OK(cri().ListPods());
}

TEST_F(BadInputTest, ConfigurationFilesNameTheLine) {
  const std::string file = daemon_.directory() + "/bad.toml";
  ASSERT_OK(WriteFileAtomically(file, "[registry]\nno_such_key = 1\n", 0644));
  ASSERT_OK_AND_ASSIGN(CommandResult result,
                       RunCommand({FindOwnProgram("berthd"), "--config", file}));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_TRUE(absl::StrContains(result.output, "no_such_key")) << result.output;
  EXPECT_TRUE(absl::StrContains(result.output, ":2")) << result.output;
  ASSERT_OK_AND_ASSIGN(result, RunCommand({FindOwnProgram("berthd"), "--no-such-flag"}));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_TRUE(absl::StrContains(result.output, "no-such-flag")) << result.output;
}

}  // namespace
}  // namespace berth::testing
