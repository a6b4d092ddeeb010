// What a container finds inside, and how a failing step is told.
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::HasSubstr;
using testing::Not;
using ContainerTest = RuntimeTest;

std::string Namespace(const std::string& kind) {
  char target[64];
  const ssize_t n = readlink(("/proc/self/ns/" + kind).c_str(), target, sizeof target);
  return std::string(target, n > 0 ? n : 0);
}

TEST_F(ContainerTest, FactsFromInsideADirectoryRootfs) {
  StartKeeper(Options());
  const ContainerId id("c1");
  PlanContents c = Contents({"/guest", "facts", "/proc/keys", "/sys/firmware",
                             "/proc/sys/kernel/hostname", "/dev/null", "/dev/shm", "/etc"});
  c.cwd = "/work/dir";
  c.rlimits = {{7, 100, 200}};
  const ExitRecord record = RunToExit(id, c);
  EXPECT_EQ(record.exit_code, 0);
  EXPECT_TRUE(record.started);
  const std::string out = Output(id);
  EXPECT_EQ(Fact(out, "pid"), "1");
  EXPECT_EQ(Fact(out, "uid"), "0 0");
  EXPECT_EQ(Fact(out, "cwd"), "/work/dir");
  EXPECT_EQ(Fact(out, "env"), "PATH=/bin:/\nA=b\nHOME=/root");
  EXPECT_EQ(Fact(out, "hostname"), "pod-host");
  for (const char* kind : {"mnt", "pid", "ipc", "uts", "cgroup"})
    EXPECT_NE(Fact(out, absl::StrCat("ns.", kind)), Namespace(kind)) << kind;
  EXPECT_EQ(Fact(out, "ns.net"), Namespace("net"));
  EXPECT_EQ(Fact(out, "CapEff"), "00000000a80425fb");
  EXPECT_EQ(Fact(out, "CapBnd"), "00000000a80425fb");
  EXPECT_EQ(Fact(out, "NoNewPrivs"), "1");
  EXPECT_EQ(Fact(out, "SigBlk"), "0000000000000000");
  EXPECT_EQ(Fact(out, "SigIgn"), "0000000000000000");
  EXPECT_EQ(Fact(out, "oom"), "100");
  EXPECT_EQ(Fact(out, "umask"), "22");
  EXPECT_THAT(Fact(out, "nofile"), HasSubstr("100                  200"));
  EXPECT_EQ(Fact(out, "fd"), "0\n1\n2");
  EXPECT_EQ(Fact(out, "open /dev/stdout"), "ok");
  EXPECT_THAT(Fact(out, "cgroup"), Not(HasSubstr("berth-test")));
  EXPECT_THAT(Fact(out, "mount"), Not(HasSubstr("ext4 /dev/vda rw,relatime shared")));
  EXPECT_THAT(Fact(out, "path /proc/keys"), HasSubstr("chr"));
  EXPECT_THAT(Fact(out, "path /proc/keys"), HasSubstr("read 0"));
  EXPECT_THAT(Fact(out, "path /sys/firmware"), HasSubstr("dir ro"));
  EXPECT_THAT(Fact(out, "path /proc/sys/kernel/hostname"), HasSubstr("ro"));
  EXPECT_THAT(Fact(out, "path /dev/null"), HasSubstr("chr rw 666"));
  EXPECT_THAT(Fact(out, "path /dev/shm"), HasSubstr("1777"));
}

TEST_F(ContainerTest, AnOverlayTakesTheWritesAndNothingIsMountedOnTheHost) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "sleep"});
  UseOverlay(&c, dir_);
  ASSERT_TRUE(CreateAndStart(ContainerId("c1"), c).ok());
  EXPECT_FALSE(absl::StrContains(ReadFile("/proc/self/mountinfo").value(), dir_));
  EXPECT_EQ(access((dir_ + "/upper/proc").c_str(), F_OK), 0);
  EXPECT_NE(access((rootfs_ + "/proc").c_str(), F_OK), 0);
}

TEST_F(ContainerTest, LayersWithLongPathsUseTheOldOverlayInterface) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "facts"});
  const std::string deep =
      absl::StrCat(dir_, "/", std::string(200, 'd'), "/", std::string(100, 'e'));
  ASSERT_TRUE(MakeDirectories(deep, 0755).ok());
  UseOverlay(&c, deep);
  const ExitRecord record = RunToExit(ContainerId("c1"), c);
  EXPECT_EQ(record.exit_code, 0);
  EXPECT_THAT(Fact(Output(ContainerId("c1")), "mount"), HasSubstr("overlay"));
  EXPECT_EQ(access((deep + "/upper/proc").c_str(), F_OK), 0);
}

TEST_F(ContainerTest, AReadonlyRootfsAndReadonlyVolumesRefuseWrites) {
  StartKeeper(Options());
  ASSERT_TRUE(MakeDirectories(dir_ + "/volume", 0755).ok());
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/file", "x", 0644).ok());
  PlanContents c = Contents({"/guest", "facts", "/", "/data", "/data-rw", "/etc/file"});
  c.flags |= kPlanReadonlyRootfs;
  c.mounts.push_back({MountKind::kBind, dir_ + "/volume", "/data", "", 1, 0, 0,
                      kMountRecursive | kMountRecursiveAttr});
  c.mounts.push_back(
      {MountKind::kBind, dir_ + "/volume", "/data-rw", "", 0, 0, 0, kMountRecursive});
  c.mounts.push_back({MountKind::kBind, dir_ + "/file", "/etc/file"});
  RunToExit(ContainerId("c1"), c);
  const std::string out = Output(ContainerId("c1"));
  EXPECT_THAT(Fact(out, "path /"), HasSubstr("dir ro"));
  EXPECT_THAT(Fact(out, "path /data"), HasSubstr("dir ro"));
  EXPECT_THAT(Fact(out, "path /data-rw"), HasSubstr("dir rw"));
  EXPECT_THAT(Fact(out, "path /etc/file"), HasSubstr("file rw"));
}

TEST_F(ContainerTest, UsersAreResolvedInTheImage) {
  StartKeeper(Options());
  PlanContents c = Contents({"guest", "facts"});
  c.user_flags = 0;
  c.user = "alice";
  c.groups = {7};
  const ContainerId id("c1");
  const CreatedContainer created = keeper_->Create(id, BuildPlan(c).value(), {}, Soon()).value();
  EXPECT_EQ(created.user.uid, 1000u);
  EXPECT_EQ(created.user.gid, 1001u);
  EXPECT_EQ(created.user.groups, (std::vector<uint32_t>{50, 1001, 7}));
  ASSERT_TRUE(keeper_->Start(id, OpenLog(id), Soon()).ok());
  exits_.WaitForExit(id);
  const std::string out = Output(id);
  EXPECT_EQ(Fact(out, "uid"), "1000 1000");
  EXPECT_EQ(Fact(out, "gid"), "1001 1001");
  EXPECT_EQ(Fact(out, "groups"), "7 50 1001 ");
  EXPECT_THAT(Fact(out, "env"), HasSubstr("HOME=/home/alice"));
  EXPECT_EQ(Fact(out, "CapEff"), "0000000000000000");
  EXPECT_EQ(Fact(out, "open /dev/stdout"), "ok");
}

TEST_F(ContainerTest, StrictGroupsLeaveTheImagesOut) {
  StartKeeper(Options());
  PlanContents c = Contents({"guest", "facts"});
  c.flags |= kPlanStrictGroups;
  c.user_flags = kUserHasUid | kUserHasGid;
  c.uid = 1000;
  c.gid = 3000;
  c.groups = {7};
  RunToExit(ContainerId("c1"), c);
  EXPECT_EQ(Fact(Output(ContainerId("c1")), "groups"), "7 3000 ");
}

TEST_F(ContainerTest, LinksInTheImageLeadNowhereElse) {
  StartKeeper(Options());
  ASSERT_TRUE(MakeDirectories(dir_ + "/volume", 0755).ok());
  ASSERT_EQ(symlink("/run", (rootfs_ + "/var-run").c_str()), 0);           // dangling: made
  ASSERT_EQ(symlink("../../../../../tmp", (rootfs_ + "/up").c_str()), 0);  // stays inside
  PlanContents c = Contents({"/guest", "facts", "/run/secrets", "/tmp/x"});
  c.mounts.push_back({MountKind::kBind, dir_ + "/volume", "/var-run/secrets"});
  c.mounts.push_back({MountKind::kBind, dir_ + "/volume", "/up/x"});
  RunToExit(ContainerId("c1"), c);
  const std::string out = Output(ContainerId("c1"));
  EXPECT_THAT(Fact(out, "path /run/secrets"), HasSubstr("dir"));
  EXPECT_THAT(Fact(out, "path /tmp/x"), HasSubstr("dir"));
  EXPECT_NE(access("/tmp/x", F_OK), 0);
}

TEST_F(ContainerTest, AProcThatIsALinkIsRefused) {
  StartKeeper(Options());
  ASSERT_EQ(symlink("/etc", (rootfs_ + "/proc").c_str()), 0);
  const auto created =
      keeper_->Create(ContainerId("c1"), BuildPlan(Contents({"/guest"})).value(), {}, Soon());
  EXPECT_THAT(std::string(created.status().message()),
              HasSubstr("mount /proc: make the mount point"));
}

TEST_F(ContainerTest, FailuresNameTheStepAndTheObject) {
  StartKeeper(Options());
  auto message = [this](auto change) {
    PlanContents c = Contents({"/guest", "exit", "0"});
    change(c);
    const ContainerId id("failing");
    return CreateAndStart(id, c);
  };
  EXPECT_EQ(
      message([&](auto& c) { c.mounts.push_back({MountKind::kBind, dir_ + "/no/such", "/data"}); }),
      absl::NotFoundError(absl::StrCat(
          "mount ", dir_, "/no/such at /data: open the source: No such file or directory")));
  EXPECT_EQ(message([&](auto& c) { c.lowers = {"/no/rootfs"}; }),
            absl::NotFoundError("open the root file system /no/rootfs: No such file or directory"));
  EXPECT_EQ(message([&](auto& c) { c.cgroups = {{"/sys/fs/cgroup/pids/no-such-cgroup", 0}}; }),
            absl::NotFoundError(
                "join cgroup /sys/fs/cgroup/pids/no-such-cgroup: No such file or directory"));
  EXPECT_EQ(message([&](auto& c) { c.user_flags = 0, c.user = "nobody-here"; }),
            absl::NotFoundError("find user nobody-here in /etc/passwd: No such file or directory"));
  EXPECT_EQ(message([&](auto& c) { c.sysctls = {{"kernel/no_such", "1"}}; }),
            absl::NotFoundError("write sysctl kernel/no_such: No such file or directory"));
  EXPECT_THAT(std::string(message([&](auto& c) {
                            c.mounts.push_back({MountKind::kTmpfs, "", "/t", "nonsense=1"});
                          }).message()),
              HasSubstr("mount /t: make the file system"));
  EXPECT_TRUE(keeper_->List(Soon()).value().empty());
}

TEST_F(ContainerTest, AMissingProgramIsNotFoundAtStart) {
  StartKeeper(Options());
  const ContainerId id("c1");
  EXPECT_EQ(CreateAndStart(id, Contents({"/no/program"})),
            absl::NotFoundError("execute /no/program: No such file or directory"));
  const ExitRecord record = exits_.WaitForExit(id);
  EXPECT_EQ(record.exit_code, 128);
  EXPECT_FALSE(record.started);
}

TEST_F(ContainerTest, ASharedPidNamespaceIsOneForAllAndRestDiesWithTheMainProcess) {
  KeeperOptions options = Options();
  options.shared_pid = true;
  StartKeeper(options);
  PlanContents first = Contents({"/guest", "facts"});
  first.pid_mode = PidMode::kPod;
  RunToExit(ContainerId("c1"), first);
  PlanContents second = Contents({"/guest", "facts"});
  second.pid_mode = PidMode::kPod;
  RunToExit(ContainerId("c2"), second);
  const std::string one = Output(ContainerId("c1")), two = Output(ContainerId("c2"));
  EXPECT_EQ(Fact(one, "ns.pid"), Fact(two, "ns.pid"));
  EXPECT_NE(Fact(one, "ns.pid"), Namespace("pid"));
  EXPECT_NE(Fact(one, "pid"), "1");
  PlanContents leaver = Contents({"/guest", "grandchild"});
  leaver.pid_mode = PidMode::kPod;
  RunToExit(ContainerId("c3"), leaver);  // TearDown sees the cgroup empty
}

TEST_F(ContainerTest, ANodePidNamespaceIsTheHosts) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "facts"});
  c.pid_mode = PidMode::kNode;
  RunToExit(ContainerId("c1"), c);
  EXPECT_EQ(Fact(Output(ContainerId("c1")), "ns.pid"), Namespace("pid"));
}

TEST_F(ContainerTest, ATerminalIsTheContainersOwn) {
  StartKeeper(Options());
  PlanContents c = Contents({"/guest", "facts", "/dev/console", "/dev/pts/0"});
  c.flags |= kPlanTerminal;
  RunToExit(ContainerId("c1"), c);
  const std::string out = Output(ContainerId("c1"));
  EXPECT_THAT(Fact(out, "tty"), HasSubstr("1"));
  EXPECT_THAT(Fact(out, "path /dev/console"), HasSubstr("chr"));
}

TEST_F(ContainerTest, SysctlsAndHostNamesAreThePodsOwn) {
  KeeperOptions options = Options();
  options.new_net = true;
  options.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "0"}, {"kernel/shm_rmid_forced", "1"}};
  StartKeeper(options);
  RunToExit(ContainerId("c1"), Contents({"/guest", "facts"}));
  EXPECT_NE(Fact(Output(ContainerId("c1")), "ns.net"), Namespace("net"));
  KeeperOptions wrong = Options();
  wrong.pod = PodId("pod2");
  wrong.state_directory = dir_ + "/state2";
  ASSERT_TRUE(MakeDirectories(wrong.state_directory, 0700).ok());
  wrong.sysctls = {{"kernel/no_such", "1"}};
  const absl::Status status = launcher_->Spawn(wrong, Soon()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("write sysctl kernel/no_such"));
}

}  // namespace
}  // namespace berth
