// Devices: CRI's, a vendor's CDI files, and what the cgroup lets a container do with them.
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

constexpr char kCdiDirectory[] = "/run/berth-cdi-test";

class DeviceTest : public DaemonTest {
 protected:
  DeviceTest()
      : DaemonTest({.config = absl::StrCat("[cdi]\ndirectories = [\"", kCdiDirectory, "\"]\n")}) {}
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(MakeDirectories(kCdiDirectory, 0755));
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  void TearDown() override {
    EXPECT_OK(RemoveTree(kCdiDirectory));
    DaemonTest::TearDown();
  }
  cri::ContainerConfig Script(const std::string& script) {
    cri::ContainerConfig config =
        ContainerConfig(absl::StrCat("c", ++containers_), {"sh", "-c", script});
    // For reading kmsg, which every host has and no container is given.
    config.mutable_linux()
        ->mutable_security_context()
        ->mutable_capabilities()
        ->add_add_capabilities("SYSLOG");
    return config;
  }
  static void AddDevice(cri::ContainerConfig& config, const std::string& host,
                        const std::string& container, const std::string& permissions) {
    cri::Device* device = config.add_devices();
    device->set_host_path(host);
    device->set_container_path(container);
    device->set_permissions(permissions);
  }
  void WriteCdi(const std::string& name, const std::string& edits) {
    EXPECT_OK(WriteFileAtomically(
        absl::StrCat(kCdiDirectory, "/", name),
        absl::StrCat(R"({"cdiVersion":"0.6.0","kind":"vendor.com/thing",)",
                     R"("containerEdits":{"env":["FILE=1"]},)",
                     R"("devices":[{"name":"one","containerEdits":)", edits, "}]}"),
        0644));
  }

  TestPod pod_;
  int containers_ = 0;
};

// Opened for reading, and for writing.
constexpr char kTry[] =
    "(: < $D) 2>/dev/null && echo r || echo -; (: > $D) 2>/dev/null && echo w || echo -";

TEST_F(DeviceTest, PermissionsAreTheCgroups) {
  for (const auto& [permissions, expected] :
       {std::make_pair("r", "r\n-\n"), std::make_pair("w", "-\nw\n"),
        std::make_pair("rw", "r\nw\n"), std::make_pair("rwm", "r\nw\n")}) {
    cri::ContainerConfig config = Script(absl::StrCat("D=/dev/mine; ", kTry));
    AddDevice(config, "/dev/kmsg", "/dev/mine", permissions);
    EXPECT_EQ(RunToEnd(pod_, config), expected) << permissions;
  }
  cri::ContainerConfig config = Script("true");
  AddDevice(config, "/dev/kmsg", "/dev/mine", "rx");
  const absl::Status status = Create(pod_, config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("devices[0]: permissions"));
}

TEST_F(DeviceTest, ADeviceWorksOutsideOfDev) {
  cri::ContainerConfig config = Script(absl::StrCat("D=/srv/deep/mine; ", kTry));
  AddDevice(config, "/dev/kmsg", "/srv/deep/mine", "rw");
  EXPECT_EQ(RunToEnd(pod_, config), "r\nw\n");
}

TEST_F(DeviceTest, ADirectoryBringsItsDevices) {
  const std::string directory = absl::StrCat(TestDirectory(), "/devices");
  ASSERT_OK(MakeDirectories(directory + "/sub", 0755));
  ASSERT_EQ(mknod((directory + "/a").c_str(), S_IFCHR | 0666, makedev(1, 11)), 0);
  ASSERT_EQ(mknod((directory + "/sub/b").c_str(), S_IFCHR | 0666, makedev(1, 11)), 0);
  ASSERT_OK(WriteFileAtomically(directory + "/plain", "text", 0644));
  cri::ContainerConfig config =
      Script(absl::StrCat("cd /dev/mine; find . -type c | sort; D=sub/b; ", kTry));
  AddDevice(config, directory, "/dev/mine", "r");
  EXPECT_EQ(RunToEnd(pod_, config), "./a\n./sub/b\nr\n-\n");
  config = Script("true");
  AddDevice(config, directory + "/plain", "/dev/mine", "r");
  const absl::Status status = Create(pod_, config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("devices[0]: host_path"));
}

TEST_F(DeviceTest, AnUpdateLeavesDevicesAsTheyAre) {
  cri::ContainerConfig config = Script("sleep 1000");
  AddDevice(config, "/dev/kmsg", "/dev/mine", "r");
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  const std::string given = absl::StrCat("D=/dev/mine; ", kTry);
  const std::string other =
      "rm -f /dev/other; mknod /dev/other c 10 229; (: > /dev/other) 2>/dev/null && echo open || "
      "echo no";
  EXPECT_EQ(Exec(id, given), "r\n-\n");
  EXPECT_EQ(Exec(id, other), "no\n");
  cri::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  request.mutable_linux()->set_memory_limit_in_bytes(200 << 20);
  request.mutable_linux()->set_cpu_shares(500);
  ASSERT_OK(cri().Call(&CriClient::Runtime::UpdateContainerResources, request));
  Restart();
  ASSERT_OK(cri().Call(&CriClient::Runtime::UpdateContainerResources, request));
  EXPECT_EQ(Exec(id, given), "r\n-\n");
  EXPECT_EQ(Exec(id, other), "no\n");
}

TEST_F(DeviceTest, PrivilegedHasAllOfTheHosts) {
  cri::PodSandboxConfig pod_config = PodConfig("privileged");
  pod_config.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(pod_config));
  cri::ContainerConfig config = Script(absl::StrCat("D=/dev/kmsg; ", kTry));
  config.mutable_linux()->mutable_security_context()->set_privileged(true);
  EXPECT_EQ(RunToEnd(pod, config), "r\nw\n");
}

TEST_F(DeviceTest, CdiDevicesByFieldAndByAnnotation) {
  ASSERT_OK(WriteFileAtomically(absl::StrCat(kCdiDirectory, "/library"), "vendor's\n", 0644));
  WriteCdi("vendor.json",
           absl::StrCat(R"({"env":["THING=one"],"deviceNodes":[{"path":"/dev/thing",)",
                        R"("hostPath":"/dev/kmsg","permissions":"r"}],"mounts":[{"hostPath":")",
                        kCdiDirectory, R"(/library","containerPath":"/lib/thing",)",
                        R"("options":["ro","nosuid","nodev","bind"]}],"additionalGids":[4711]})"));
  const std::string script = absl::StrCat("echo $FILE $THING; cat /lib/thing; D=/dev/thing; ", kTry,
                                          "; grep -c 4711 /proc/self/status");
  const std::string expected = "1 one\nvendor's\nr\n-\n1\n";
  cri::ContainerConfig config = Script(script);
  config.add_cdi_devices()->set_name("vendor.com/thing=one");
  EXPECT_EQ(RunToEnd(pod_, config), expected);
  config = Script(script);
  (*config.mutable_annotations())["cdi.k8s.io/plugin"] = "vendor.com/thing=one";
  EXPECT_EQ(RunToEnd(pod_, config), expected);
}

TEST_F(DeviceTest, CdiFilesAreSeenWithoutARestart) {
  cri::ContainerConfig config = Script("echo $THING");
  config.add_cdi_devices()->set_name("vendor.com/thing=one");
  absl::Status status = Create(pod_, config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("vendor.com/thing=one is unknown"));
  WriteCdi("vendor.json", R"({"env":["THING=first"]})");
  EXPECT_EQ(RunToEnd(pod_, config), "first\n");
  WriteCdi("vendor.json", R"({"env":["THING=second"]})");
  config.mutable_metadata()->set_name("again");
  config.set_log_path("again.log");
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod_, config));
  // A container that is there can do without the file.
  ASSERT_OK(cri().StartContainer(id));
  ASSERT_OK(cri().WaitForExit(id));
}

TEST_F(DeviceTest, CdiThatCannotBeIsRefusedByName) {
  WriteCdi("vendor.json", R"({"hooks":[{"hookName":"createRuntime","path":"/bin/true"}]})");
  cri::ContainerConfig config = Script("true");
  config.add_cdi_devices()->set_name("vendor.com/thing=one");
  absl::Status status = Create(pod_, config).status();
  EXPECT_CODE(absl::StatusCode::kUnimplemented, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("hooks"));
  WriteCdi("vendor.json", R"({"deviceNodes":[{"path":"/dev/none"}]})");
  status = Create(pod_, config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("CDI_devices: device node /dev/none"));
  config.mutable_cdi_devices(0)->set_name("thing");
  status = Create(pod_, config).status();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("CDI_devices"));
}

// What is running needs no file any more.
TEST_F(DeviceTest, AnExecAfterARestartNeedsNoCdiFile) {
  WriteCdi("vendor.json", R"({"env":["THING=one"]})");
  cri::ContainerConfig config = Script("sleep 1000");
  config.add_cdi_devices()->set_name("vendor.com/thing=one");
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(Exec(id, "echo $THING"), "one\n");
  ASSERT_EQ(unlink(absl::StrCat(kCdiDirectory, "/vendor.json").c_str()), 0);
  Restart();
  EXPECT_EQ(Exec(id, "echo ran"), "ran\n");
}

}  // namespace
}  // namespace berth::testing
