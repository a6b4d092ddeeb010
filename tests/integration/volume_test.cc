// Mounts that a container asks for: read-only ones, image volumes, options, paths that are missing or links.
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
using ::testing::Not;

class VolumeTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  cri::ContainerConfig Script(const std::string& script) {
    return ContainerConfig(absl::StrCat("c", ++containers_), {"sh", "-c", script});
  }
  std::string Directory(const std::string& name) {
    const std::string path = absl::StrCat(TestDirectory(), "/", name);
    EXPECT_OK(MakeDirectories(path, 0755));
    return path;
  }
  cri::Mount* Add(cri::ContainerConfig& config, const std::string& host,
                  const std::string& container) {
    cri::Mount* mount = config.add_mounts();
    mount->set_host_path(host);
    mount->set_container_path(container);
    return mount;
  }
  absl::Status Refusal(const cri::ContainerConfig& config) { return Create(pod_, config).status(); }

  TestPod pod_;
  int containers_ = 0;
};

TEST_F(VolumeTest, ReadOnlyIsRecursiveIfThatIsAskedFor) {
  const std::string outer = Directory("outer");
  const std::string inner = Directory("outer/inner");
  ASSERT_EQ(mount("none", inner.c_str(), "tmpfs", 0, nullptr), 0);
  const std::string script = "touch /v/x 2>&1 | tail -c 23; touch /v/inner/x 2>&1 | tail -c 23";
  cri::ContainerConfig config = Script(script);
  Add(config, outer, "/v")->set_readonly(true);
  EXPECT_EQ(RunToEnd(pod_, config), " Read-only file system\n");
  config = Script(script);
  cri::Mount* m = Add(config, outer, "/v");
  m->set_readonly(true);
  m->set_recursive_read_only(true);
  EXPECT_EQ(RunToEnd(pod_, config), " Read-only file system\n Read-only file system\n");
  umount2(inner.c_str(), MNT_DETACH);
}

TEST_F(VolumeTest, MountOptionsAreApplied) {
  const std::string path = Directory("volume");
  ASSERT_OK(WriteFileAtomically(path + "/run", "#!/bin/sh\necho ran\n", 0755));
  cri::ContainerConfig config = Script("/v/run || echo refused; grep ' /v ' /proc/self/mountinfo");
  cri::Mount* m = Add(config, path, "/v");
  for (const char* option : {"noexec", "nodev", "nosuid"}) m->add_mount_options(option);
  const std::string out = RunToEnd(pod_, config);
  EXPECT_THAT(out, HasSubstr("refused\n"));
  EXPECT_THAT(out, HasSubstr("rw,nosuid,nodev,noexec"));
  m->add_mount_options("suid");
  config.mutable_metadata()->set_name("other");
  const absl::Status status = Refusal(config);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("mounts[0]: mount_options[3]: \"suid\""));
}

// As with other runtimes: kubelet leaves it to them for a hostPath of no type.
TEST_F(VolumeTest, AMissingHostPathIsMadeADirectory) {
  const std::string path = absl::StrCat(TestDirectory(), "/missing/deep");
  cri::ContainerConfig config = Script("touch /v/x");
  Add(config, path, "/v");
  RunToEnd(pod_, config);
  EXPECT_EQ(access((path + "/x").c_str(), F_OK), 0);
  struct stat st = {};
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  // A link that leads nowhere is not.
  const std::string link = absl::StrCat(TestDirectory(), "/dangling");
  ASSERT_EQ(symlink("/nowhere/at/all", link.c_str()), 0);
  config = Script("true");
  Add(config, link, "/v");
  EXPECT_FALSE(Refusal(config).ok());
  EXPECT_NE(access("/nowhere", F_OK), 0);
}

TEST_F(VolumeTest, ALinkOnTheHostIsFollowed) {
  const std::string real = Directory("real");
  const std::string link = absl::StrCat(TestDirectory(), "/link");
  ASSERT_EQ(symlink(real.c_str(), link.c_str()), 0);
  cri::ContainerConfig config = Script("touch /v/x");
  Add(config, link, "/v");
  RunToEnd(pod_, config);
  EXPECT_EQ(access((real + "/x").c_str(), F_OK), 0);
}

// Where a mount goes is resolved inside, whatever links stand in the way.
TEST_F(VolumeTest, LinksInTheWayLeadNowhereOutside) {
  const std::string outside = Directory("outside");
  const std::string volume = Directory("volume");
  const std::string inner = Directory("inner");
  ASSERT_OK(WriteFileAtomically(inner + "/file", "text", 0644));
  ASSERT_EQ(symlink(outside.c_str(), (volume + "/absolute").c_str()), 0);
  ASSERT_EQ(symlink("../../../../../../../../etc", (volume + "/relative").c_str()), 0);
  cri::ContainerConfig config =
      Script(absl::StrCat("cat ", outside, "/a/file; cat /etc/b/file; ls -d /etc/passwd"));
  Add(config, volume, "/v");
  Add(config, inner, "/v/absolute/a");
  Add(config, inner, "/v/relative/b");
  EXPECT_EQ(RunToEnd(pod_, config), "texttext/etc/passwd\n");
  EXPECT_TRUE(ListDirectory(outside)->empty());
  EXPECT_NE(access("/etc/b", F_OK), 0);
  // Not even by way of a process' own files.
  ASSERT_EQ(symlink("/proc/1/root", (volume + "/proc").c_str()), 0);
  config = Script("true");
  Add(config, volume, "/v");
  Add(config, inner, "/v/proc/c");
  EXPECT_FALSE(Refusal(config).ok());
}

TEST_F(VolumeTest, AnImageVolumeIsReadOnlyAndStaysWhileItIsUsed) {
  cri::ContainerConfig config = Script(
      "ls /whole/bin/busybox; cat /sub/passwd | head -1 | cut -d: -f1; touch /whole/x 2>&1;"
      "/whole/bin/busybox true || echo not executable; sleep 1000");
  cri::Mount* whole = config.add_mounts();
  whole->set_container_path("/whole");
  whole->mutable_image()->set_image(image());
  cri::Mount* sub = config.add_mounts();
  sub->set_container_path("/sub");
  sub->mutable_image()->set_image(image());
  sub->set_image_sub_path("etc");
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  EXPECT_EQ(Exec(id, "ls /whole/bin/busybox"), "/whole/bin/busybox\n");
  EXPECT_EQ(Exec(id, "head -1 /sub/passwd | cut -d: -f1"), "root\n");
  EXPECT_THAT(Exec(id, "touch /whole/x 2>&1 || true"), HasSubstr("Read-only file system"));
  EXPECT_EQ(Exec(id, "/whole/bin/busybox true || echo refused"), "refused\n");
  Restart();
  EXPECT_EQ(Exec(id, "ls /whole/bin/busybox"), "/whole/bin/busybox\n");
  ASSERT_OK(cri().RemoveContainer(id));
  ASSERT_OK_AND_ASSIGN(const auto snapshots, ListDirectory(daemon_.root() + "/snapshots"));
  EXPECT_THAT(snapshots, ::testing::IsEmpty());
}

TEST_F(VolumeTest, ImageVolumesThatCannotBeAreRefusedByName) {
  const auto with = [this](const std::string& image, const std::string& sub_path) {
    cri::ContainerConfig config = Script("true");
    cri::Mount* mount = config.add_mounts();
    mount->set_container_path("/v");
    mount->mutable_image()->set_image(image);
    mount->set_image_sub_path(sub_path);
    return Refusal(config);
  };
  absl::Status status = with("registry.example/none:1", "");
  EXPECT_CODE(absl::StatusCode::kNotFound, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("config.mounts[0].image"));
  status = with(image(), "no/such/path");
  EXPECT_CODE(absl::StatusCode::kNotFound, status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("sub-path no/such/path"));
  for (const char* path : {"/etc", "../etc", "etc/../.."}) {
    status = with(image(), path);
    EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
    EXPECT_THAT(std::string(status.message()), HasSubstr("mounts[0]: image_sub_path"));
  }
  ASSERT_OK_AND_ASSIGN(const auto snapshots, ListDirectory(daemon_.root() + "/snapshots"));
  EXPECT_THAT(snapshots, ::testing::IsEmpty());
}

}  // namespace
}  // namespace berth::testing
