// What a container's process finds around itself: user, environment, privileges, mounts, devices.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class InsideTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }

  cri::ContainerConfig Script(const std::string& script) {
    return ContainerConfig(absl::StrCat("c", ++containers_), {"sh", "-c", script});
  }
  cri::LinuxContainerSecurityContext* SecurityOf(cri::ContainerConfig& config) {
    return config.mutable_linux()->mutable_security_context();
  }
  // A script's output in a container with the security context as `change` leaves it.
  template <typename Change>
  std::string With(const std::string& script, Change change) {
    cri::ContainerConfig config = Script(script);
    change(SecurityOf(config));
    return RunToEnd(pod_, config);
  }
  std::string Plain(const std::string& script) { return RunToEnd(pod_, Script(script)); }

  TestPod pod_;
  int containers_ = 0;
};

constexpr char kIds[] = "id -u; id -g; grep ^Groups: /proc/self/status | tr -s '\\t ' ' '";

TEST_F(InsideTest, RootByDefault) {
  EXPECT_EQ(Plain("id -u; id -g; pwd; echo $HOME"), "0\n0\n/\n/root\n");
}

TEST_F(InsideTest, UserByNumberTakesGroupsFromTheImage) {
  EXPECT_EQ(With(kIds, [](auto* s) { s->mutable_run_as_user()->set_value(1000); }),
            "1000\n1000\nGroups: 1000 50000 50001 \n");
}

TEST_F(InsideTest, UserByNameTakesItsGroupAndHome) {
  EXPECT_EQ(
      With(absl::StrCat(kIds, "; echo $HOME"), [](auto* s) { s->set_run_as_username("www-data"); }),
      "33\n33\nGroups: 33 50001 \n/var/www\n");
}

TEST_F(InsideTest, GroupAndSupplementalGroups) {
  EXPECT_EQ(With(kIds,
                 [](auto* s) {
                   s->mutable_run_as_user()->set_value(1000);
                   s->mutable_run_as_group()->set_value(2000);
                   s->add_supplemental_groups(3000);
                 }),
            "1000\n2000\nGroups: 2000 3000 50000 50001 \n");
}

TEST_F(InsideTest, SupplementalGroupsPolicyStrictLeavesTheImagesOut) {
  EXPECT_EQ(With(kIds,
                 [](auto* s) {
                   s->mutable_run_as_user()->set_value(1000);
                   s->add_supplemental_groups(3000);
                   s->set_supplemental_groups_policy(cri::Strict);
                 }),
            "1000\n1000\nGroups: 1000 3000 \n");
}

TEST_F(InsideTest, AnUnknownNumberIsAllowedAndAnUnknownNameIsNot) {
  EXPECT_EQ(With("id -u; id -g", [](auto* s) { s->mutable_run_as_user()->set_value(4711); }),
            "4711\n0\n");
  cri::ContainerConfig config = Script("true");
  SecurityOf(config)->set_run_as_username("nobody-has-this-name");
  auto id = Create(pod_, config);
  absl::Status status = id.status();
  if (id.ok()) status = cri().StartContainer(*id);
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(absl::StrContains(status.message(), "nobody-has-this-name")) << status;
}

TEST_F(InsideTest, TheImagesConfigurationIsTheDefault) {
  const std::string image = registry_.Image("user:1");
  ASSERT_OK(cri().PullImage(image));
  cri::ContainerConfig config = ContainerConfig("defaults", {});
  config.mutable_image()->set_image(image);
  const std::string text = RunToEnd(pod_, config);
  EXPECT_TRUE(absl::StrContains(text, "uid=33(www-data) gid=100(users)")) << text;
  EXPECT_TRUE(absl::StrContains(text, "\n/var/www/made\n")) << text;
  EXPECT_TRUE(absl::StrContains(text, "\nFROM_IMAGE=yes\n")) << text;

  // args replace CMD and keep ENTRYPOINT; env and working_dir override.
  cri::ContainerConfig changed = ContainerConfig("overrides", {});
  changed.mutable_image()->set_image(image);
  changed.add_args("echo $OVERRIDDEN $ADDED; pwd");
  auto* env = changed.add_envs();
  env->set_key("OVERRIDDEN");
  env->set_value("by config");
  env = changed.add_envs();
  env->set_key("ADDED");
  env->set_value("=a=b");
  changed.set_working_dir("/tmp/not/there/yet");
  EXPECT_EQ(RunToEnd(pod_, changed), "by config =a=b\n/tmp/not/there/yet\n");
}

TEST_F(InsideTest, AnImageUserWithoutPasswdEntry) {
  const std::string image = registry_.Image("uid:1");
  ASSERT_OK(cri().PullImage(image));
  cri::ContainerConfig config = ContainerConfig("uid", {"id", "-u"});
  config.mutable_image()->set_image(image);
  EXPECT_EQ(RunToEnd(pod_, config), "1002\n");
}

TEST_F(InsideTest, DefaultCapabilitiesAndNoNewPrivs) {
  // The 14 of Docker's and containerd's default, less what this machine's bounding set lacks.
  EXPECT_EQ(Plain("grep CapEff /proc/self/status"), "CapEff:\t00000000a80425fb\n");
  EXPECT_EQ(With("grep CapEff /proc/self/status",
                 [](auto* s) { s->mutable_run_as_user()->set_value(1000); }),
            "CapEff:\t0000000000000000\n");
  EXPECT_EQ(Plain("grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t0\n");
  EXPECT_EQ(With("grep NoNewPrivs /proc/self/status", [](auto* s) { s->set_no_new_privs(true); }),
            "NoNewPrivs:\t1\n");
}

TEST_F(InsideTest, CapabilitiesAreAddedAndDropped) {
  EXPECT_EQ(With("grep CapEff /proc/self/status",
                 [](auto* s) {
                   s->mutable_capabilities()->add_drop_capabilities("ALL");
                   s->mutable_capabilities()->add_add_capabilities("NET_ADMIN");
                 }),
            "CapEff:\t0000000000001000\n");
  EXPECT_EQ(With("grep CapEff /proc/self/status",
                 [](auto* s) { s->mutable_capabilities()->add_drop_capabilities("CHOWN"); }),
            "CapEff:\t00000000a80425fa\n");
  const std::string all = With("grep CapEff /proc/self/status", [](auto* s) {
    s->mutable_capabilities()->add_add_capabilities("ALL");
  });
  EXPECT_EQ(all, Shell("grep CapBnd /proc/self/status | sed s/CapBnd/CapEff/"));
}

TEST_F(InsideTest, RuntimeDefaultSeccompFiltersAndUnconfinedDoesNot) {
  EXPECT_EQ(Plain("grep Seccomp: /proc/self/status"), "Seccomp:\t2\n");
  EXPECT_EQ(Plain("unshare -U true 2>/dev/null && echo allowed || echo refused"), "refused\n");
  EXPECT_EQ(With("grep Seccomp: /proc/self/status",
                 [](auto* s) {
                   s->mutable_seccomp()->set_profile_type(cri::SecurityProfile::Unconfined);
                 }),
            "Seccomp:\t0\n");
  // A profile that is not given at all means unconfined.
  EXPECT_EQ(With("grep Seccomp: /proc/self/status", [](auto* s) { s->clear_seccomp(); }),
            "Seccomp:\t0\n");
}

TEST_F(InsideTest, ALocalhostSeccompProfileIsLoaded) {
  const std::string path = daemon_.directory() + "/profile.json";
  ASSERT_OK(WriteFileAtomically(path,
                                R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                                   {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]})",
                                0644));
  EXPECT_EQ(With("mkdir /tmp/x 2>/dev/null && echo made || echo refused",
                 [&](auto* s) {
                   s->mutable_seccomp()->set_profile_type(cri::SecurityProfile::Localhost);
                   s->mutable_seccomp()->set_localhost_ref(path);
                 }),
            "refused\n");
}

TEST_F(InsideTest, ReadOnlyRootfs) {
  EXPECT_EQ(
      With("touch /x 2>/dev/null && echo written || echo refused; touch /dev/shm/x && echo shm",
           [](auto* s) { s->set_readonly_rootfs(true); }),
      "refused\nshm\n");
}

TEST_F(InsideTest, MaskedAndReadOnlyPaths) {
  EXPECT_EQ(Plain("cat /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware | wc -l; ls /proc/scsi "
                  "2>/dev/null | wc -l"),
            "0\n0\n0\n");
  EXPECT_EQ(
      Plain("(echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null && echo written || echo refused"),
      "refused\n");
  EXPECT_EQ(Plain("touch /sys/x 2>/dev/null && echo written || echo refused"), "refused\n");
}

TEST_F(InsideTest, TheCgroupTreeIsReadOnlyAndMountedOnce) {
  EXPECT_EQ(Plain("grep -c ' /sys/fs/cgroup ro,' /proc/self/mountinfo;"
                  "grep -c ' /sys/fs/cgroup ' /proc/self/mountinfo;"
                  "mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused"),
            "1\n1\nrefused\n");
}

TEST_F(InsideTest, AFileOverADirectoryIsExplained) {
  cri::ContainerConfig config = Script("true");
  cri::Mount* mount = config.add_mounts();
  mount->set_host_path("/etc/hostname");
  mount->set_container_path("/tmp");
  const auto id = Create(pod_, config);
  EXPECT_TRUE(absl::StrContains(id.status().message(), "directory")) << id.status();
}

TEST_F(InsideTest, Privileged) {
  cri::PodSandboxConfig config = PodConfig("privileged");
  config.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  cri::ContainerConfig container = Script(
      "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; "
      "mount -t tmpfs none /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs none /mnt && echo "
      "mounted; "
      "ls /dev | wc -l");
  auto* security = SecurityOf(container);
  security->set_privileged(true);
  security->clear_masked_paths();
  security->clear_readonly_paths();
  const std::string text = RunToEnd(pod, container);
  EXPECT_TRUE(absl::StrContains(
      text, absl::StripSuffix(Shell("grep CapBnd /proc/self/status | cut -f2"), "\n")))
      << text;
  EXPECT_TRUE(absl::StrContains(text, "Seccomp:\t0")) << text;
  EXPECT_TRUE(absl::StrContains(text, "mounted")) << text;
}

TEST_F(InsideTest, APrivilegedContainerNeedsAPrivilegedPod) {
  cri::ContainerConfig config = Script("true");
  SecurityOf(config)->set_privileged(true);
  EXPECT_FALSE(Create(pod_, config).ok());
}

TEST_F(InsideTest, StandardDevicesAndNoOthers) {
  EXPECT_EQ(
      Plain("for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; "
            "for l in ptmx fd stdin stdout stderr; do readlink /dev/$l; done; "
            "test -d /dev/pts && test -d /dev/shm && test -d /dev/mqueue && echo dirs; "
            "ls -d /dev/sda /dev/vda /dev/mem /dev/kmsg 2>/dev/null; true"),
      "pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\ndirs\n");
  EXPECT_EQ(Plain("head -c 4 /dev/zero | wc -c; echo x > /dev/null; (echo x > /dev/full) "
                  "2>/dev/null || echo full"),
            "4\nfull\n");
  // A node that the container makes itself doesn't open.
  EXPECT_EQ(
      Plain("mknod /tmp/vda b 254 0 && head -c 1 /tmp/vda >/dev/null 2>&1 && echo open || echo no"),
      "no\n");
}

TEST_F(InsideTest, AHostDeviceIsGivenWithItsPermissions) {
  cri::ContainerConfig config = Script("test -c /dev/mykmsg && stat -c '%t %T' /dev/mykmsg");
  auto* device = config.add_devices();
  device->set_host_path("/dev/kmsg");
  device->set_container_path("/dev/mykmsg");
  device->set_permissions("r");
  EXPECT_EQ(RunToEnd(pod_, config), "1 b\n");
}

TEST_F(InsideTest, HostMounts) {
  const std::string host = daemon_.directory() + "/volume";
  ASSERT_OK(MakeDirectories(host + "/sub", 0755));
  ASSERT_OK(WriteFileAtomically(host + "/file", "from host\n", 0644));
  cri::ContainerConfig config = Script(
      "cat /data/file /single; echo back > /data/sub/answer; "
      "touch /ro/x 2>/dev/null && echo written || echo refused");
  auto* mount = config.add_mounts();
  mount->set_host_path(host);
  mount->set_container_path("/data");
  mount = config.add_mounts();
  mount->set_host_path(host);
  mount->set_container_path("/ro");
  mount->set_readonly(true);
  mount = config.add_mounts();
  mount->set_host_path(host + "/file");
  mount->set_container_path("/single");
  EXPECT_EQ(RunToEnd(pod_, config), "from host\nfrom host\nrefused\n");
  EXPECT_EQ(Shell("cat " + host + "/sub/answer"), "back\n");
}

TEST_F(InsideTest, ReadOnlyIsOfTheMountAndRecursivelyOfWhatIsBelow) {
  const std::string host = daemon_.directory() + "/rro";
  ASSERT_OK(MakeDirectories(host + "/sub", 0755));
  Shell("mount -t tmpfs none " + host + "/sub");
  const auto writes = [&](bool recursive) {
    cri::ContainerConfig config = Script(
        "for d in /data /data/sub; do touch $d/x 2>/dev/null && echo $d written || echo $d "
        "refused; done");
    auto* mount = config.add_mounts();
    mount->set_host_path(host);
    mount->set_container_path("/data");
    mount->set_readonly(true);
    mount->set_recursive_read_only(recursive);
    return RunToEnd(pod_, config);
  };
  EXPECT_EQ(writes(false), "/data refused\n/data/sub written\n");
  EXPECT_EQ(writes(true), "/data refused\n/data/sub refused\n");
  Shell("umount " + host + "/sub");
  // What contradicts itself is named.
  for (const auto propagation : {cri::PROPAGATION_PRIVATE, cri::PROPAGATION_HOST_TO_CONTAINER,
                                 cri::PROPAGATION_BIDIRECTIONAL}) {
    cri::ContainerConfig config = Script("true");
    auto* mount = config.add_mounts();
    mount->set_host_path(host);
    mount->set_container_path("/data");
    mount->set_propagation(propagation);
    mount->set_readonly(propagation != cri::PROPAGATION_PRIVATE);
    mount->set_recursive_read_only(true);
    EXPECT_CODE(absl::StatusCode::kInvalidArgument, Create(pod_, config));
  }
}

TEST_F(InsideTest, MountPropagationHostToContainer) {
  const std::string host = daemon_.directory() + "/slave";
  ASSERT_OK(MakeDirectories(host + "/point", 0755));
  ASSERT_EQ(mount(host.c_str(), host.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount(nullptr, host.c_str(), nullptr, MS_SHARED, nullptr), 0);
  const auto cleanup = [&] { umount2(host.c_str(), MNT_DETACH); };
  for (const auto propagation : {cri::PROPAGATION_PRIVATE, cri::PROPAGATION_HOST_TO_CONTAINER}) {
    cri::ContainerConfig config =
        ContainerConfig(absl::StrCat("p", propagation), {"sleep", "1000"});
    auto* entry = config.add_mounts();
    entry->set_host_path(host);
    entry->set_container_path("/data");
    entry->set_propagation(propagation);
    auto id = CreateAndStart(pod_, config);
    EXPECT_OK(id);
    if (!id.ok()) break;
    Shell("mount -t tmpfs none " + host + "/point && echo late > " + host + "/point/file");
    EXPECT_EQ(Exec(*id, "cat /data/point/file 2>/dev/null || echo unseen"),
              propagation == cri::PROPAGATION_PRIVATE ? "unseen\n" : "late\n");
    Shell("umount " + host + "/point");
  }
  cleanup();
}

TEST_F(InsideTest, APrivateMountOfTheHostIsNotSaidToPropagate) {
  const std::string host = daemon_.directory() + "/private";
  ASSERT_OK(MakeDirectories(host, 0755));
  Shell("mount --bind " + host + " " + host + " && mount --make-private " + host);
  cri::ContainerConfig config = Script("true");
  auto* entry = config.add_mounts();
  entry->set_host_path(host);
  entry->set_container_path("/data");
  entry->set_propagation(cri::PROPAGATION_HOST_TO_CONTAINER);
  const auto id = Create(pod_, config);
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, id);
  EXPECT_TRUE(absl::StrContains(id.status().message(), "mounts[0]: propagation")) << id.status();
  Shell("umount " + host);
}

TEST_F(InsideTest, MountPropagationBidirectional) {
  cri::PodSandboxConfig pod_config = PodConfig("bidirectional");
  pod_config.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(pod_config));
  const std::string host = daemon_.directory() + "/shared";
  ASSERT_OK(MakeDirectories(host + "/point", 0755));
  ASSERT_EQ(mount(host.c_str(), host.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount(nullptr, host.c_str(), nullptr, MS_SHARED, nullptr), 0);
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
  SecurityOf(config)->set_privileged(true);
  auto* entry = config.add_mounts();
  entry->set_host_path(host);
  entry->set_container_path("/data");
  entry->set_propagation(cri::PROPAGATION_BIDIRECTIONAL);
  auto id = CreateAndStart(pod, config);
  EXPECT_OK(id);
  if (id.ok()) {
    Exec(*id, "mount -t tmpfs none /data/point && echo inside > /data/point/file");
    EXPECT_EQ(Shell("cat " + host + "/point/file"), "inside\n");
  }
  Shell("umount " + host + "/point; umount -l " + host);
}

TEST_F(InsideTest, AMissingHostPathIsMadeAsADirectory) {
  // As containerd and CRI-O do, and critest wants it.
  const std::string host = daemon_.directory() + "/not/there";
  cri::ContainerConfig config = Script("test -d /data && echo directory");
  auto* entry = config.add_mounts();
  entry->set_host_path(host);
  entry->set_container_path("/data");
  EXPECT_EQ(RunToEnd(pod_, config), "directory\n");
  EXPECT_OK(ListDirectory(host));
}

TEST_F(InsideTest, AnImpossibleHostPathIsNamed) {
  cri::ContainerConfig config = Script("true");
  auto* entry = config.add_mounts();
  entry->set_host_path("/etc/passwd/volume");
  entry->set_container_path("/data");
  const auto id = Create(pod_, config);
  EXPECT_FALSE(id.ok());
  EXPECT_TRUE(absl::StrContains(id.status().message(), "/etc/passwd/volume")) << id.status();
}

TEST_F(InsideTest, MountPointsAreMadeInsideTheRootfsOnly) {
  // /kept/symbolic/.. style escapes: a mount point through a link that leads out of the root.
  const std::string victim = daemon_.directory() + "/victim";
  const std::string host = daemon_.directory() + "/source";
  ASSERT_OK(MakeDirectories(host, 0755));
  cri::ContainerConfig config = Script("true");
  auto* entry = config.add_mounts();
  entry->set_host_path(host);
  entry->set_container_path("/../../../../.." + victim);
  Create(pod_, config).status().IgnoreError();
  EXPECT_FALSE(ListDirectory(victim).ok());
}

TEST_F(InsideTest, HostnameSysctlsAndHosts) {
  cri::PodSandboxConfig config = PodConfig("named");
  (*config.mutable_linux()->mutable_sysctls())["kernel.shm_rmid_forced"] = "1";
  (*config.mutable_linux()->mutable_sysctls())["kernel.msgmax"] = "9000";
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Exec(id, "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/kernel/msgmax"), "1\n9000\n");
  EXPECT_EQ(Exec(id, "hostname"), Shell("hostname"));  // a host-network pod has the host's
  EXPECT_EQ(Exec(id, "echo $HOSTNAME"), Shell("hostname"));
  Exec(id, "test -s /etc/resolv.conf || test -e /etc/resolv.conf; test -s /etc/hosts");
}

TEST_F(InsideTest, OnlyThreeDescriptorsAreOpen) {
  // ls itself has the fourth, its directory.
  EXPECT_EQ(Plain("ls /proc/self/fd | wc -l"), "4\n");
}

TEST_F(InsideTest, SignalsAreNotBlocked) {
  // Not by a shell: that ignores some itself.
  EXPECT_EQ(RunToEnd(pod_, ContainerConfig("signals",
                                           {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"})),
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(InsideTest, MountsOfTheHostAreNotSeen) {
  const std::string mounts = Plain("cat /proc/self/mountinfo");
  EXPECT_FALSE(absl::StrContains(mounts, "/run/netns")) << mounts;
  EXPECT_FALSE(absl::StrContains(mounts, "/berth-test-images")) << mounts;
  EXPECT_EQ(Plain("set -- /proc/[0-9]*; echo $#"), "1\n");  // the shell sees itself only
}

}  // namespace
}  // namespace berth::testing
