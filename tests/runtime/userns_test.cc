// Pods with a user namespace: who is who inside and on the host, and what a root of theirs can't undo.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr uint32_t kBase = 300000;
constexpr uint32_t kCount = 65536;
constexpr uint64_t kMounting = 0xa80425fb | 1u << 21;  // and CAP_SYS_ADMIN
constexpr uint64_t kReadonly = 1, kNoSuid = 2, kNoDev = 4;

std::string LinkOf(const std::string& path) {
  char target[64];
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  return std::string(target, n > 0 ? n : 0);
}

class UsernsTest : public RuntimeTest {
 protected:
  KeeperOptions UsernsOptions() {
    KeeperOptions options = Options();
    options.new_net = true;
    options.uid_maps = {{0, kBase, kCount}};
    options.gid_maps = {{0, kBase + 1, kCount}};
    return options;
  }
  // An overlay whose upper belongs to the mapped root, as the snapshotter makes it.
  PlanContents UsernsContents(std::vector<std::string> argv) {
    PlanContents c = Contents(std::move(argv));
    UseOverlay(&c, dir_);
    EXPECT_EQ(chown(c.upper.c_str(), kBase, kBase + 1), 0);
    c.uid_maps = {{0, kBase, kCount}};
    c.gid_maps = {{0, kBase + 1, kCount}};
    return c;
  }
  PlanContents UsernsExec(std::vector<std::string> argv) {
    PlanContents c = ExecContents(std::move(argv));
    c.uid_maps = {{0, kBase, kCount}};
    c.gid_maps = {{0, kBase + 1, kCount}};
    c.cgroups = cgroups_;
    return c;
  }
  ExecResult Exec(const ContainerId& id, const PlanContents& c) {
    const absl::StatusOr<ExecResult> result =
        keeper_->ExecSync(id, BuildPlan(c).value(), 1 << 20, Soon());
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(ExecResult());
  }
  // A directory on the host that belongs to `uid`, with a file of the same.
  std::string Volume(const std::string& name, uint32_t uid) {
    const std::string path = absl::StrCat(dir_, "/", name);
    EXPECT_TRUE(MakeDirectories(path, 0755).ok());
    EXPECT_TRUE(WriteFileAtomically(path + "/file", "text", 0600).ok());
    EXPECT_EQ(chown(path.c_str(), uid, uid) | chown((path + "/file").c_str(), uid, uid), 0);
    return path;
  }
  struct stat StatOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return st;
  }
};

TEST_F(UsernsTest, RootInsideIsNobodyOnTheHost) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c =
      UsernsContents({"/guest", "facts", "/", "/etc/passwd", "/dev/null", "/dev/shm", "/dev/pts",
                      "/proc/keys", "/sys/firmware", "/proc/sys/kernel/hostname", "/work"});
  c.cwd = "/work";
  c.rlimits = {{7, 100, 200}};
  const ExitRecord record = RunToExit(id, c);
  EXPECT_EQ(record.exit_code, 0);
  const std::string out = Output(id);
  EXPECT_EQ(Fact(out, "pid"), "1");
  EXPECT_EQ(Fact(out, "uid"), "0 0");
  EXPECT_EQ(Fact(out, "groups"), "0 ");
  EXPECT_EQ(Fact(out, "cwd"), "/work");
  EXPECT_EQ(Fact(out, "hostname"), "pod-host");
  EXPECT_THAT(Fact(out, "uid_map"), HasSubstr("300000      65536"));
  for (const char* kind : {"mnt", "pid", "ipc", "uts", "net", "cgroup", "user"})
    EXPECT_NE(Fact(out, absl::StrCat("ns.", kind)), LinkOf(absl::StrCat("/proc/self/ns/", kind)))
        << kind;
  EXPECT_EQ(Fact(out, "CapEff"), "00000000a80425fb");
  EXPECT_EQ(Fact(out, "CapBnd"), "00000000a80425fb");
  EXPECT_EQ(Fact(out, "NoNewPrivs"), "1");
  EXPECT_EQ(Fact(out, "oom"), "100");
  EXPECT_EQ(Fact(out, "fd"), "0\n1\n2");
  EXPECT_EQ(Fact(out, "open /dev/stdout"), "ok");
  EXPECT_THAT(Fact(out, "nofile"), HasSubstr("100                  200"));
  EXPECT_THAT(Fact(out, "cgroup"), Not(HasSubstr("berth-test")));
  for (const char* path : {"/", "/etc/passwd", "/dev/null", "/dev/shm", "/dev/pts", "/work"})
    EXPECT_THAT(Fact(out, absl::StrCat("path ", path)), HasSubstr(" 0:0 ")) << path;
  EXPECT_THAT(Fact(out, "path /dev/null"), HasSubstr("chr rw 666"));
  EXPECT_THAT(Fact(out, "path /proc/keys"), HasSubstr("chr"));
  EXPECT_THAT(Fact(out, "path /proc/keys"), HasSubstr("read 0"));
  EXPECT_THAT(Fact(out, "path /sys/firmware"), HasSubstr("dir ro"));
  EXPECT_THAT(Fact(out, "path /proc/sys/kernel/hostname"), HasSubstr("ro"));
  EXPECT_THAT(Fact(out, "mount"), Not(HasSubstr(dir_ + " ")));
  // What was made on the way belongs to it, on the host's disk, too.
  EXPECT_EQ(StatOf(dir_ + "/upper/work").st_uid, kBase);
  EXPECT_EQ(StatOf(dir_ + "/upper/work").st_gid, kBase + 1);
}

TEST_F(UsernsTest, TheProcessAndItsFilesAreOfMappedIds) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "sleep"});
  c.uid = 1000;
  c.gid = 1001;
  ASSERT_TRUE(CreateAndStart(id, c).ok());
  const std::vector<KeptContainer> kept = keeper_->List(Soon()).value();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(StatOf(absl::StrCat("/proc/", kept[0].pid)).st_uid, kBase + 1000);
  EXPECT_NE(LinkOf(absl::StrCat("/proc/", kept[0].pid, "/ns/user")),
            LinkOf(absl::StrCat("/proc/", keeper_->pid(), "/ns/user")));
  // The network namespace is the user namespace's: loopback can be brought up from inside.
  EXPECT_EQ(LinkOf(absl::StrCat("/proc/", kept[0].pid, "/ns/net")),
            LinkOf(absl::StrCat("/proc/", keeper_->pid(), "/ns/net")));

  const ExecResult out = Exec(id, UsernsExec({"/guest", "touch", "/made"}));
  EXPECT_THAT(out.out, HasSubstr("path /made=file rw 644 0:0"));
  EXPECT_EQ(StatOf(dir_ + "/upper/made").st_uid, kBase);
  PlanContents as_user = UsernsExec({"/guest", "facts"});
  as_user.uid = 1000;
  as_user.gid = 1001;
  const std::string facts = Exec(id, as_user).out;
  EXPECT_EQ(Fact(facts, "uid"), "1000 1000");
  EXPECT_EQ(Fact(facts, "open /dev/stdout"), "ok");
  EXPECT_EQ(Fact(facts, "CapBnd"), "00000000a80425fb");
  EXPECT_EQ(Fact(facts, "fd"), "0\n1\n2");
  EXPECT_NE(Fact(facts, "ns.user"), LinkOf("/proc/self/ns/user"));
}

TEST_F(UsernsTest, VolumesAreIdMappedWhereTheirMountSaysSo) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c =
      UsernsContents({"/guest", "touch", "/mapped/new", "/mapped/file", "/plain/file", "/other/x"});
  c.id_maps = {{{{0, kBase, kCount}}, {{0, kBase + 1, kCount}}},
               {{{5000, kBase, 10}}, {{5000, kBase + 1, 10}}}};
  c.mounts.push_back({MountKind::kBind, Volume("mapped", 0), "/mapped", "", 0, 0, 0, 0, 1});
  c.mounts.push_back({MountKind::kBind, Volume("plain", 0), "/plain"});
  c.mounts.push_back({MountKind::kBind, Volume("other", 5000), "/other", "", 0, 0, 0, 0, 2});
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  const std::string out = Output(id);
  EXPECT_THAT(Fact(out, "path /mapped/new"), HasSubstr("file rw 644 0:0"));
  EXPECT_EQ(Fact(out, "path /mapped/file"), "file rw 600 0:0 read 1");
  EXPECT_THAT(out, HasSubstr("touch /plain/file=Permission denied"));
  EXPECT_THAT(Fact(out, "path /plain/file"), HasSubstr("65534:65534"));
  EXPECT_THAT(Fact(out, "path /other/x"), HasSubstr("file rw 644 0:0"));
  EXPECT_EQ(StatOf(dir_ + "/mapped/new").st_uid, 0u);
  EXPECT_EQ(StatOf(dir_ + "/other/x").st_uid, 5000u);
}

// The kernel locks what comes with a mount namespace's copy.
TEST_F(UsernsTest, ARootThatMayMountCannotUndoWhatWasMountedForIt) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "undo", "/data", "/sys", "/"});
  c.capabilities = {kMounting, kMounting, kMounting, 0, 0};
  c.mounts.push_back({MountKind::kBind, Volume("volume", kBase), "/data", "",
                      kReadonly | kNoSuid | kNoDev, 0, 0, kMountRecursive});
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  const std::string out = Output(id);
  for (const char* path : {"/data", "/sys"}) {
    EXPECT_EQ(Fact(out, absl::StrCat("rw ", path)), "Operation not permitted") << path;
    EXPECT_EQ(Fact(out, absl::StrCat("gone ", path)), "Invalid argument") << path;
  }
  for (const char* path : {"/data", "/"})
    EXPECT_EQ(Fact(out, absl::StrCat("dev ", path)), "Operation not permitted") << path;
}

TEST_F(UsernsTest, DeviceNodesOfAnImageDoNotWorkAndOnesThatWereAskedForDo) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "facts", "/hidden", "/asked", "/dev/asked"});
  ASSERT_EQ(mknod((rootfs_ + "/hidden").c_str(), S_IFCHR | 0666, makedev(1, 5)), 0);
  ASSERT_EQ(chmod((rootfs_ + "/hidden").c_str(), 0666), 0);
  c.devices.push_back({"/asked", S_IFCHR | 0640, 1, 5, 1000, 1001});
  c.devices.push_back({"/dev/asked", S_IFCHR | 0640, 1, 5, 1000, 1001});
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  const std::string out = Output(id);
  EXPECT_EQ(Fact(out, "path /hidden"), "chr rw 666 0:0 read -1");
  EXPECT_EQ(Fact(out, "path /asked"), "chr rw 640 1000:1001 read 1");
  EXPECT_EQ(Fact(out, "path /dev/asked"), "chr rw 640 1000:1001 read 1");
}

TEST_F(UsernsTest, AMountBelowASharedVolumeStaysInside) {
  const std::string volume = Volume("volume", kBase);
  ASSERT_TRUE(MakeDirectories(volume + "/inner", 0755).ok());
  ASSERT_EQ(mount(volume.c_str(), volume.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount(nullptr, volume.c_str(), nullptr, MS_SHARED, nullptr), 0);
  StartKeeper(UsernsOptions());
  for (const uint32_t propagation : {0u, static_cast<uint32_t>(MS_SLAVE)}) {
    const ContainerId id(absl::StrCat("c", propagation));
    PlanContents c = UsernsContents({"/guest", "mount", "/data/inner"});
    c.capabilities = {kMounting, kMounting, kMounting, 0, 0};
    c.mounts.push_back({MountKind::kBind, volume, "/data", "", 0, 0, propagation, kMountRecursive});
    const absl::Status status = CreateAndStart(id, c);
    EXPECT_TRUE(status.ok()) << status;
    WaitForOutput(id, "mounted=ok");
    EXPECT_FALSE(absl::StrContains(ReadFile("/proc/self/mountinfo").value(), "/volume/inner "));
    EXPECT_TRUE(keeper_->Signal(id, 9, Soon()).ok());
    exits_.WaitForExit(id);
    EXPECT_TRUE(keeper_->Forget(id, Soon()).ok());
  }
  umount2(volume.c_str(), MNT_DETACH);
}

TEST_F(UsernsTest, WithTheHostsNetwork) {
  KeeperOptions options = UsernsOptions();
  options.new_net = false;
  options.new_uts = false;
  StartKeeper(options);
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "facts", "/sys/class/net"});
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  const std::string out = Output(id);
  EXPECT_EQ(Fact(out, "ns.net"), LinkOf("/proc/self/ns/net"));
  EXPECT_NE(Fact(out, "ns.user"), LinkOf("/proc/self/ns/user"));
  EXPECT_THAT(Fact(out, "path /sys/class/net"), HasSubstr("dir ro"));
}

TEST_F(UsernsTest, ContainersShareThePodsPidNamespace) {
  KeeperOptions options = UsernsOptions();
  options.shared_pid = true;
  StartKeeper(options);
  PlanContents c = UsernsContents({"/guest", "sleep"});
  c.pid_mode = PidMode::kPod;
  c.flags |= kPlanHop;
  ASSERT_TRUE(CreateAndStart(ContainerId("first"), c).ok());
  PlanContents exec = UsernsExec({"/guest", "facts"});
  exec.pid_mode = PidMode::kPod;
  exec.flags |= kPlanHop;
  EXPECT_EQ(Fact(Exec(ContainerId("first"), exec).out, "uid"), "0 0");
  // Its end takes the rest of its cgroup with it, which is the first one's here, too.
  PlanContents other = UsernsContents({"/guest", "facts", "/proc/1", "/proc/2"});
  other.pid_mode = PidMode::kPod;
  other.flags |= kPlanHop;
  const ContainerId id("second");
  const ExitRecord record = RunToExit(id, other);
  EXPECT_EQ(record.exit_code, 0);
  EXPECT_NE(Fact(Output(id), "pid"), "1");
  EXPECT_THAT(Fact(Output(id), "path /proc/1"), HasSubstr("dir"));
}

TEST_F(UsernsTest, AContainerJoinsAnothersPidNamespace) {
  StartKeeper(UsernsOptions());
  ASSERT_TRUE(CreateAndStart(ContainerId("target"), UsernsContents({"/guest", "sleep"})).ok());
  PlanContents c = UsernsContents({"/guest", "facts"});
  c.pid_mode = PidMode::kTarget;
  c.pid_target = "target";
  c.flags |= kPlanHop;
  const ContainerId id("debugger");
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  EXPECT_EQ(Fact(Output(id), "pid"), "2");
}

// What a tracer of the pod could take from processes that have not executed yet.
TEST_F(UsernsTest, NothingCanBeTakenFromAnExecThatIsOnItsWay) {
  StartKeeper(UsernsOptions());
  constexpr uint64_t kTracing = 0xa80425fb | 1u << 19;
  PlanContents c = UsernsContents({"/guest", "scan", "1500"});
  c.capabilities = {kTracing, kTracing, kTracing, 0, 0};
  const ContainerId id("c1");
  ASSERT_TRUE(CreateAndStart(id, c).ok());
  WaitForOutput(id, "scanning");
  const absl::Time end = absl::Now() + absl::Milliseconds(1200);
  while (absl::Now() < end) Exec(id, UsernsExec({"/guest", "exit", "0"}));
  exits_.WaitForExit(id);
  EXPECT_EQ(Fact(Output(id), "taken"), "0");
}

TEST_F(UsernsTest, ATerminalIsTheUsersOwn) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "facts", "/dev/console", "/dev/pts/0"});
  c.flags |= kPlanTerminal;
  c.uid = 1000;
  c.gid = 1001;
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  const std::string out = Output(id);
  EXPECT_TRUE(absl::StrContains(out, "tty=1")) << out;
  EXPECT_TRUE(absl::StrContains(out, "path /dev/pts/0=chr rw 620 1000:5")) << out;
}

TEST_F(UsernsTest, AReadonlyRootAndTmpfsAreReadonly) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "touch", "/x", "/ro/x", "/rw/x"});
  c.flags |= kPlanReadonlyRootfs;
  c.mounts.push_back({MountKind::kTmpfs, "", "/ro", "mode=755", kReadonly});
  c.mounts.push_back({MountKind::kTmpfs, "", "/rw", "mode=755"});
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  EXPECT_THAT(Output(id), AllOf(HasSubstr("touch /x=Read-only file system"),
                                HasSubstr("touch /ro/x=Read-only file system"),
                                HasSubstr("path /rw/x=file rw 644 0:0")));
}

TEST_F(UsernsTest, FailuresComeOutByName) {
  StartKeeper(UsernsOptions());
  PlanContents c = UsernsContents({"/guest", "sleep"});
  c.uid = kCount + 5;
  absl::Status status = CreateAndStart(ContainerId("c1"), c);
  EXPECT_THAT(std::string(status.message()), HasSubstr("user id")) << status;
  // procfs can't be id-mapped.
  c = UsernsContents({"/guest", "sleep"});
  c.id_maps = {{{{0, kBase, kCount}}, {{0, kBase + 1, kCount}}}};
  c.mounts.push_back({MountKind::kBind, "/proc/sys", "/mnt", "", 0, 0, 0, 0, 1});
  status = CreateAndStart(ContainerId("c1"), c);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("mount /proc/sys at /mnt"), HasSubstr("id-map")))
      << status;
  // A plan of another kind than the pod.
  c = UsernsContents({"/guest", "sleep"});
  c.uid_maps.clear();
  c.gid_maps.clear();
  EXPECT_FALSE(CreateAndStart(ContainerId("c1"), c).ok());
  // A missing program shows at the start, and the container is not half there afterwards.
  c = UsernsContents({"/nowhere"});
  EXPECT_TRUE(absl::IsNotFound(CreateAndStart(ContainerId("c2"), c)));
  EXPECT_EQ(exits_.WaitForExit(ContainerId("c2")).exit_code, 128);
}

TEST_F(UsernsTest, AGatedContainerIsForgottenAndMadeAgain) {
  StartKeeper(UsernsOptions());
  const ContainerId id("c1");
  const std::string plan = BuildPlan(UsernsContents({"/guest", "facts"})).value();
  for (int i = 0; i < 5; ++i) {
    const absl::StatusOr<CreatedContainer> created = keeper_->Create(id, plan, {}, Soon());
    ASSERT_TRUE(created.ok()) << created.status();
    EXPECT_EQ(kill(created->pid, 0), 0);
    ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
    EXPECT_EQ(kill(created->pid, 0), -1);
  }
  ASSERT_TRUE(keeper_->Create(id, plan, {}, Soon()).ok());
  // Another program takes over meanwhile.
  ASSERT_TRUE(keeper_->Reexec(launcher_->binary(), Soon()).ok());
  ASSERT_TRUE(keeper_->Start(id, OpenLog(id), Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(id).exit_code, 0);
  EXPECT_EQ(RunToExit(ContainerId("c2"), UsernsContents({"/guest", "exit", "3"})).exit_code, 3);
}

TEST_F(UsernsTest, SysctlsOfThePodAreWrittenAsItsRoot) {
  KeeperOptions options = UsernsOptions();
  options.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "0"}, {"kernel.shm_rmid_forced", "1"}};
  StartKeeper(options);
  EXPECT_EQ(RunToExit(ContainerId("c1"), UsernsContents({"/guest", "exit"})).exit_code, 0);
}

TEST_F(UsernsTest, ALayersMountIsReadonlyAndItsSubPathStaysInside) {
  StartKeeper(UsernsOptions());
  for (const char* d : {"/low", "/top/dir", "/empty"})
    ASSERT_TRUE(MakeDirectories(dir_ + d, 0755).ok());
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/top/dir/file", "top", 0644).ok());
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/low/below", "low", 0644).ok());
  ASSERT_EQ(symlink("/../../etc", (dir_ + "/top/link").c_str()), 0);
  const auto layers = [&](const std::string& target, const std::string& sub) {
    PlanContents::Mount m;
    m.kind = MountKind::kLayers;
    m.source = "image";
    m.target = target;
    m.sub_path = sub;
    m.lowers = {dir_ + "/top", dir_ + "/low"};
    return m;
  };
  const ContainerId id("c1");
  PlanContents c = UsernsContents({"/guest", "touch", "/img/below", "/sub/file", "/sub/new"});
  c.mounts.push_back(layers("/img", ""));
  c.mounts.push_back(layers("/sub", "dir"));
  EXPECT_EQ(RunToExit(id, c).exit_code, 0);
  EXPECT_THAT(Output(id), AllOf(HasSubstr("path /img/below=file ro 644 0:0 read 1"),
                                HasSubstr("path /sub/file=file ro 644 0:0 read 1"),
                                HasSubstr("touch /sub/new=Read-only file system")));
  for (const char* missing : {"link/passwd", "nothing"}) {
    c = UsernsContents({"/guest", "exit"});
    c.mounts.push_back(layers("/img", missing));
    const absl::Status status = CreateAndStart(ContainerId("c2"), c);
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("sub-path ", missing)));
  }
}

}  // namespace
}  // namespace berth
