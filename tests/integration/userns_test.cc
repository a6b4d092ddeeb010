// Pods with a user namespace, through CRI.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kBase = 300000;
constexpr uint32_t kLength = 65536;

void SetMapping(google::protobuf::RepeatedPtrField<cri::IDMapping>* list) {
  cri::IDMapping* m = list->Add();
  m->set_container_id(0);
  m->set_host_id(kBase);
  m->set_length(kLength);
}

cri::UserNamespace* OptionsOf(cri::PodSandboxConfig& config) {
  return config.mutable_linux()
      ->mutable_security_context()
      ->mutable_namespace_options()
      ->mutable_userns_options();
}

class UsernsTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(daemon_.WriteCniConfig());
  }
  // The network's configuration may not have been noticed yet.
  absl::StatusOr<TestPod> RunUserns(const cri::PodSandboxConfig& config) {
    absl::StatusOr<TestPod> pod = RunPod(config);
    for (int i = 0; i < 500 && !pod.ok() && absl::StrContains(pod.status().message(), "cni"); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      pod = RunPod(config);
    }
    return pod;
  }
  // With a network of its own.
  cri::PodSandboxConfig UsernsPod(const std::string& name) {
    cri::PodSandboxConfig config = Pod(name);
    config.set_log_directory(PodConfig(name).log_directory());
    OptionsOf(config)->set_mode(cri::POD);
    SetMapping(OptionsOf(config)->mutable_uids());
    SetMapping(OptionsOf(config)->mutable_gids());
    return config;
  }
  // As kubelet sends it: the pod's namespaces again.
  cri::ContainerConfig In(const TestPod& pod, const std::string& name, const std::string& script) {
    cri::ContainerConfig config = ContainerConfig(name, {"sh", "-c", script});
    MatchNamespaces(pod.config, &config);
    return config;
  }
  cri::Mount* AddVolume(cri::ContainerConfig& config, const std::string& name, bool mapped) {
    const std::string path = absl::StrCat(TestDirectory(), "/", name);
    EXPECT_OK(MakeDirectories(path, 0755));
    cri::Mount* mount = config.add_mounts();
    mount->set_host_path(path);
    mount->set_container_path("/" + name);
    if (mapped) {
      SetMapping(mount->mutable_uidmappings());
      SetMapping(mount->mutable_gidmappings());
    }
    return mount;
  }
  static uint32_t OwnerOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return st.st_uid;
  }
};

TEST_F(UsernsTest, StatusAnnouncesIt) {
  const auto status = cri().Call(&CriClient::Runtime::Status, cri::StatusRequest());
  ASSERT_OK(status);
  ASSERT_EQ(status->runtime_handlers_size(), 2);
  EXPECT_EQ(status->runtime_handlers(0).name(), "");
  EXPECT_EQ(status->runtime_handlers(1).name(), "berth");
  for (const cri::RuntimeHandler& handler : status->runtime_handlers()) {
    EXPECT_TRUE(handler.features().user_namespaces());
    EXPECT_TRUE(handler.features().recursive_read_only_mounts());
  }
  EXPECT_TRUE(status->features().user_namespaces_host_network());
  EXPECT_TRUE(status->features().mount_options());
}

// A file system without id-mapped mounts, as before 5.19 all were for layers.
class NoIdMapTest : public UsernsTest {
 protected:
  void SetUp() override {
    ASSERT_OK(RemoveTree(daemon_.directory()));
    ASSERT_OK(MakeDirectories(daemon_.root(), 0755));
    ASSERT_EQ(mount("ramfs", daemon_.root().c_str(), "ramfs", 0, nullptr), 0);
    UsernsTest::SetUp();
  }
  void TearDown() override {
    UsernsTest::TearDown();
    umount2(daemon_.root().c_str(), MNT_DETACH);
  }
};

TEST_F(NoIdMapTest, WhatDoesNotWorkIsNotAnnounced) {
  const auto status = cri().Call(&CriClient::Runtime::Status, cri::StatusRequest());
  ASSERT_OK(status);
  for (const cri::RuntimeHandler& handler : status->runtime_handlers()) {
    EXPECT_FALSE(handler.features().user_namespaces());
    EXPECT_TRUE(handler.features().recursive_read_only_mounts());
  }
  EXPECT_FALSE(status->features().user_namespaces_host_network());
  const auto refused = RunUserns(UsernsPod("pod"));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, refused);
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "userns_options")) << refused.status();
  EXPECT_OK(RunPod("ordinary"));
}

TEST_F(UsernsTest, RootInsideIsAnotherOnTheHost) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(UsernsPod("pod")));
  const auto status = cri().PodStatus(pod.id);
  ASSERT_OK(status);
  EXPECT_EQ(status->status().linux().namespaces().options().userns_options().uids(0).host_id(),
            kBase);
  EXPECT_FALSE(status->status().network().ip().empty());

  cri::ContainerConfig config = In(pod, "c", "sleep 1000");
  AddVolume(config, "mapped", true);
  AddVolume(config, "plain", false);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, config));
  EXPECT_EQ(Exec(id, "id -u; cut -c1-80 /proc/self/uid_map | tr -s ' '"), "0\n 0 300000 65536\n");
  EXPECT_EQ(Exec(id, "stat -c %u:%g / /etc/passwd /etc/hosts /etc/hostname /etc/resolv.conf"),
            "0:0\n0:0\n0:0\n0:0\n0:0\n");
  EXPECT_EQ(Exec(id, "echo text > /file && echo more >> /etc/hosts && stat -c %u /file"), "0\n");
  EXPECT_EQ(Exec(id, "echo > /mapped/file; echo > /plain/file || echo refused"), "refused\n");
  EXPECT_EQ(Exec(id, "ls /sys/class/net | sort | tr '\\n' ' '"), "eth0 lo ");
  // What is the host's stays out of reach.
  EXPECT_EQ(Exec(id, "echo 1 > /proc/sys/kernel/panic || echo refused"), "refused\n");
  EXPECT_EQ(Exec(id, "touch /dev/shm/x && stat -c %u /dev/shm/x /dev/shm"), "0\n0\n");
  EXPECT_EQ(OwnerOf(absl::StrCat(TestDirectory(), "/mapped/file")), 0u);
  EXPECT_EQ(OwnerOf(absl::StrCat("/proc/", PidOf(id))), kBase);
  EXPECT_EQ(OwnerOf(absl::StrCat(daemon_.root(), "/snapshots/", id, "/fs")), kBase);
  EXPECT_EQ(OwnerOf(absl::StrCat(daemon_.root(), "/snapshots/", id, "/fs/file")), kBase);
}

TEST_F(UsernsTest, UsersGroupsAndOutputWorkAsElsewhere) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(UsernsPod("pod")));
  cri::ContainerConfig config =
      In(pod, "c", "id -u; id -g; echo to-stdout > /dev/stdout; echo to-stderr > /dev/stderr");
  config.mutable_linux()->mutable_security_context()->mutable_run_as_user()->set_value(1000);
  config.mutable_linux()->mutable_security_context()->mutable_run_as_group()->set_value(2000);
  config.mutable_linux()->mutable_security_context()->add_supplemental_groups(3000);
  EXPECT_EQ(RunToEnd(pod, config), "1000\n2000\nto-stdout\nto-stderr\n");
  // A user that isn't mapped is no user.
  config = In(pod, "d", "true");
  config.mutable_linux()->mutable_security_context()->mutable_run_as_user()->set_value(kLength);
  absl::Status status = Create(pod, config).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("user id"));
}

TEST_F(UsernsTest, PrivilegedInsideIsNotOnTheHost) {
  cri::PodSandboxConfig pod_config = UsernsPod("pod");
  pod_config.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(pod_config));
  cri::ContainerConfig config =
      In(pod, "c",
         "mount -t tmpfs none /tmp && echo mounted; mount -o remount,bind,rw /ro || echo locked;"
         "echo 1 > /proc/sys/kernel/panic || echo refused; mknod /x c 1 3 || echo refused");
  config.mutable_linux()->mutable_security_context()->set_privileged(true);
  AddVolume(config, "ro", true)->set_readonly(true);
  const std::string out = RunToEnd(pod, config);
  EXPECT_THAT(out, HasSubstr("mounted\n"));
  EXPECT_THAT(out, HasSubstr("locked\n"));
  EXPECT_THAT(out, HasSubstr("refused\n"));
}

TEST_F(UsernsTest, WithTheHostsNetwork) {
  cri::PodSandboxConfig config = UsernsPod("pod");
  config.clear_hostname();
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_network(
      cri::NODE);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(config));
  const std::string out =
      RunToEnd(pod, In(pod, "c", "id -u; ls /sys/class/net; touch /sys/x 2>&1; stat -c %u /sys"));
  EXPECT_THAT(out, HasSubstr("0\n"));
  EXPECT_THAT(out, HasSubstr("lo\n"));
  EXPECT_THAT(out, HasSubstr("Read-only file system"));
}

TEST_F(UsernsTest, ContainersShareAPidNamespace) {
  cri::PodSandboxConfig config = UsernsPod("pod");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(config));
  ASSERT_OK(CreateAndStart(pod, In(pod, "first", "exec sleep 4711")));
  EXPECT_THAT(RunToEnd(pod, In(pod, "second", "ps")), HasSubstr("sleep 4711"));
}

TEST_F(UsernsTest, TheyOutliveTheDaemon) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(UsernsPod("pod")));
  ASSERT_OK_AND_ASSIGN(const std::string running,
                       CreateAndStart(pod, In(pod, "c", "trap 'exit 7' TERM; sleep 1000 & wait")));
  cri::ContainerConfig later = In(pod, "later", "id -u; sleep 1000");
  ASSERT_OK_AND_ASSIGN(const std::string created, Create(pod, later));
  Restart();
  EXPECT_EQ(Exec(running, "id -u"), "0\n");
  ASSERT_OK(cri().StartContainer(created));
  EXPECT_EQ(Exec(created, "cat /proc/self/uid_map | tr -s ' '"), " 0 300000 65536\n");
  ASSERT_OK(cri().StopContainer(running, 20));
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStatus status, cri().ContainerStatus(running));
  EXPECT_EQ(status.exit_code(), 7);
}

// Whatever the daemon was doing, a restart knows what is there, and the pod works afterwards.
TEST_F(UsernsTest, ACrashLeavesNothing) {
  for (const char* point : {"pods.run.keeper", "pods.run.netns", "pods.run.commit"}) {
    Restart(absl::StrCat(point, "=crash"));
    EXPECT_FALSE(RunPod(UsernsPod(absl::StrCat("pod-", point))).ok());
    ASSERT_OK(daemon_.WaitForEnd());
    ASSERT_OK(daemon_.Start());
  }
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(UsernsPod("pod")));
  for (const char* point : {"containers.create.keeper", "containers.create.commit"}) {
    Restart(absl::StrCat(point, "=crash"));
    EXPECT_FALSE(Create(pod, In(pod, absl::StrCat("c-", point), "true")).ok());
    ASSERT_OK(daemon_.WaitForEnd());
    ASSERT_OK(daemon_.Start());
  }
  EXPECT_EQ(RunToEnd(pod, In(pod, "c", "id -u")), "0\n");
}

TEST_F(UsernsTest, WhatContradictsIsRefusedByName) {
  const std::string field = "config.linux.security_context.namespace_options.userns_options";
  cri::PodSandboxConfig config = UsernsPod("pod");
  OptionsOf(config)->clear_gids();
  absl::Status status = RunPod(config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr(field + ".gids"));
  config = UsernsPod("pod");
  OptionsOf(config)->mutable_uids(0)->set_length(0);
  status = RunPod(config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr(field + ".uids[0].length"));

  config = UsernsPod("pod");
  config.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunUserns(config));
  cri::ContainerConfig c = In(pod, "c", "true");
  c.mutable_linux()->mutable_security_context()->set_privileged(true);
  AddVolume(c, "volume", true)->set_propagation(cri::PROPAGATION_BIDIRECTIONAL);
  status = Create(pod, c).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("mounts[0]: propagation: BIDIRECTIONAL"));
  c = In(pod, "c", "true");
  c.mutable_linux()
      ->mutable_security_context()
      ->mutable_namespace_options()
      ->mutable_userns_options()
      ->mutable_uids(0)
      ->set_host_id(1);
  status = cri().CreateContainer(pod.id, c, pod.config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("userns_options"));
}

}  // namespace
}  // namespace berth::testing
