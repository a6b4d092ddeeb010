// Known escapes from other runtimes, as an image, a pod's configuration or a container attempts them through CRI.
// docs/security.md says which test is about which.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

class EscapeTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  // A container of an image of the hostile kind, at / unless the image's own directory is what is tried.
  cri::ContainerConfig Of(const std::string& image, const std::vector<std::string>& command) {
    const std::string reference = registry_.Image(image + ":1");
    EXPECT_OK(cri().PullImage(reference));
    cri::ContainerConfig config = ContainerConfig(absl::StrCat("c", ++containers_), command);
    config.mutable_image()->set_image(reference);
    config.set_working_dir("/");
    return config;
  }
  cri::ContainerConfig Script(const std::string& script) {
    return ContainerConfig(absl::StrCat("c", ++containers_), {"sh", "-c", script});
  }
  static cri::LinuxContainerSecurityContext* SecurityOf(cri::ContainerConfig& config) {
    return config.mutable_linux()->mutable_security_context();
  }
  static void SetUnconfined(cri::ContainerConfig& config) {
    SecurityOf(config)->mutable_seccomp()->set_profile_type(cri::SecurityProfile::Unconfined);
  }
  // The container's root, as its own root might change it.
  std::string RootOf(const std::string& id) { return absl::StrCat("/proc/", PidOf(id), "/root"); }
  void ExpectARefusal(const cri::ContainerConfig& config, const std::string& why) {
    const absl::Status status = Create(pod_, config).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
  // A pod and a container as if nothing had been tried.
  void ExpectAllWorks() {
    ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("after"));
    EXPECT_EQ(RunToEnd(pod, Script("echo works")), "works\n");
  }

  TestPod pod_;
  int containers_ = 0;
};

// CVE-2019-5736: the image's program is the runtime's, by way of /proc/self/exe. (What a container could do to the
// keeper's program: //tests/runtime:escape_test.)
TEST_F(EscapeTest, AnEntrypointThatIsTheRuntimeItself) {
  int exit_code = 0;
  RunToEnd(pod_, Of("hostile", {}), &exit_code);
  EXPECT_NE(exit_code, 0);
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       CreateAndStart(pod_, Of("hostile", {"sleep", "1000"})));
  for (const char* program : {"/entry", "/proc/self/exe"}) {
    const auto answer = cri().ExecSync(id, {program}, 10);
    EXPECT_TRUE(!answer.ok() || answer->exit_code() != 0) << program;
    EXPECT_NE(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  }
  ExpectAllWorks();
}

// CVE-2024-21626: a descriptor of the runtime's as the working directory, from the image, from the
// configuration, or put there before an exec.
TEST_F(EscapeTest, AWorkingDirectoryThatIsADescriptor) {
  cri::ContainerConfig config = Of("hostile", {"sleep", "1000"});
  config.clear_working_dir();
  ExpectARefusal(config, "working directory /fds/7");
  for (int fd = 3; fd < 32; ++fd) {
    config.set_working_dir(absl::StrCat("/fds/", fd));
    ExpectARefusal(config, absl::StrCat("working directory /fds/", fd));
  }
  config.set_working_dir("/work");
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  const std::string work = RootOf(id) + "/work";
  ASSERT_EQ(rmdir(work.c_str()), 0);
  for (int fd = 3; fd < 32; ++fd) {
    ASSERT_EQ(symlink(absl::StrCat("/proc/self/fd/", fd).c_str(), work.c_str()), 0);
    const auto answer = cri().ExecSync(id, {"pwd"}, 10);
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr("working directory /work")) << fd;
    ASSERT_EQ(unlink(work.c_str()), 0);
  }
}

// Device nodes in a layer: not even a privileged container opens them, nor what mounts the image as a volume.
TEST_F(EscapeTest, DeviceNodesOfAnImageDoNotOpen) {
  const std::string tries =
      "for n in $(find $D/nodes -type c); do (: < $n) 2>/dev/null && echo open $n; done;"
      "find $D/nodes -type c | wc -l";
  cri::PodSandboxConfig pod_config = PodConfig("privileged");
  pod_config.mutable_linux()->mutable_security_context()->set_privileged(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(pod_config));
  cri::ContainerConfig config = Of("hostile", {"sh", "-c", "D=; " + tries});
  SecurityOf(config)->set_privileged(true);
  EXPECT_EQ(RunToEnd(pod, config), "3\n");
  cri::ContainerConfig volume = Script("D=/image; " + tries);
  SecurityOf(volume)->set_privileged(true);
  cri::Mount* mount = volume.add_mounts();
  mount->set_container_path("/image");
  mount->mutable_image()->set_image(config.image().image());
  EXPECT_EQ(RunToEnd(pod, volume), "3\n");
}

// CVE-2019-19921, CVE-2023-27561: /proc of the image is a link, so that masks would lie elsewhere.
TEST_F(EscapeTest, AProcThatIsALink) {
  ExpectARefusal(Of("hostile-proc", {"true"}), "/proc: make the mount point");
}

// CVE-2025-31133, CVE-2025-52565: /dev is a link, out of the root or to where devices and terminals would cover
// something. The masks are in force, and the console is the container's terminal.
TEST_F(EscapeTest, ADevThatIsALink) {
  cri::ContainerConfig config =
      Of("hostile-dev", {"sh", "-c",
                         "test -c /dev/console && test -c /dev/null && echo devices; echo "
                         "masked $(cat /proc/keys | wc -c); test -t 0 && echo terminal; ls -d "
                         "/tmp/berth-escape-dev"});
  config.set_tty(true);
  config.set_stdin(true);
  const std::string out = RunToEnd(pod_, config);
  for (const char* part : {"devices", "terminal", "masked 0", "/tmp/berth-escape-dev"})
    EXPECT_THAT(out, HasSubstr(part));
  EXPECT_NE(access("/tmp/berth-escape-dev", F_OK), 0);
  ExpectARefusal(Of("hostile-dev-proc", {"true"}), "/dev: make the mount point");
}

// CVE-2025-31133: /dev/null of the container is another device when paths are masked.
TEST_F(EscapeTest, WhatMasksIsTheNullDeviceWhateverIsAtDevNull) {
  cri::ContainerConfig config =
      Script("stat -c '%t:%T' /proc/keys /dev/null; cat /proc/keys | wc -c");
  cri::Device* device = config.add_devices();
  device->set_host_path("/dev/zero");
  device->set_container_path("/dev/null");
  device->set_permissions("rwm");
  const absl::StatusOr<std::string> id = Create(pod_, config);
  if (!id.ok()) return;  // refused is as good
  EXPECT_OK(cri().RemoveContainer(*id));
  EXPECT_THAT(RunToEnd(pod_, config), HasSubstr("1:3\n"));
}

// CVE-2022-23648: a volume of the image at a path that leads out of it.
TEST_F(EscapeTest, AVolumeOfTheImageStaysInIt) {
  EXPECT_EQ(RunToEnd(pod_, Of("hostile", {"sh", "-c", "touch /out/volume/x && ls /out/volume"})),
            "x\n");
  EXPECT_NE(access("/tmp/berth-escape-volume", F_OK), 0);
}

// CVE-2024-40635, CVE-2016-3697: users that are not who they seem to be.
TEST_F(EscapeTest, NumbersOfUsersLeadToNoRoot) {
  for (const char* image : {"hostile-uid", "hostile-gid"}) {
    const absl::Status status = Create(pod_, Of(image, {"id"})).status();
    EXPECT_CODE(absl::StatusCode::kInvalidArgument, status);
    EXPECT_THAT(std::string(status.message()), HasSubstr("4294967295 is out of range"));
  }
  EXPECT_EQ(RunToEnd(pod_, Of("hostile-name", {"id", "-u"})), "1000\n");
  cri::ContainerConfig config = Of("hostile-name", {"id", "-u"});
  SecurityOf(config)->set_run_as_username("1000");
  EXPECT_EQ(RunToEnd(pod_, config), "1000\n");
}

// CVE-2022-0492: a program of the container's for the host to run when a cgroup empties.
TEST_F(EscapeTest, NoReleaseAgentCanBeSet) {
  const std::string script =
      "try='find /sys/fs/cgroup -name release_agent -o -name notify_on_release | while read f;"
      " do (echo 1 > $f) 2>/dev/null && echo written $f; done;"
      " for h in memory pids rdma cpu misc; do"
      "  mount -t cgroup -o $h none /tmp/c 2>/dev/null || continue;"
      "  (echo 1 > /tmp/c/release_agent) 2>/dev/null && echo written $h; umount /tmp/c; done; :';"
      "mkdir -p /tmp/c; sh -c \"$try\";"
      "unshare -U -r -m -C sh -c \"$try\" 2>/dev/null; unshare -U -r -m sh -c \"$try\" 2>/dev/null;"
      "echo end";
  EXPECT_EQ(RunToEnd(pod_, Script(script)), "end\n");
  cri::ContainerConfig config = Script(script);
  SetUnconfined(config);
  EXPECT_EQ(RunToEnd(pod_, config), "end\n");
}

// Files that make the host's kernel run something, or crash.
TEST_F(EscapeTest, WhatTheKernelObeysIsNotWritable) {
  const std::string before = Shell("cat /proc/sys/kernel/core_pattern");
  const std::string script =
      "try='for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe "
      "/proc/sys/kernel/hotplug"
      " /proc/sysrq-trigger /sys/kernel/uevent_helper /proc/self/root/proc/sys/kernel/core_pattern"
      " /proc/1/root/proc/sys/kernel/core_pattern; do"
      " (echo h >> $f) 2>/dev/null && echo written $f; done; :';"
      "sh -c \"$try\"; umount /proc/sys 2>/dev/null && echo unmounted;"
      "mount -o remount,rw,bind /proc/sys 2>/dev/null && echo remounted;"
      "mount -t proc none /tmp 2>/dev/null && echo mounted;"
      "unshare -U -r -m sh -c \"umount /proc/sys && echo unmounted; $try\" 2>/dev/null; echo end";
  for (const bool unconfined : {false, true}) {
    cri::ContainerConfig config = Script(script);
    if (unconfined) SetUnconfined(config);
    EXPECT_EQ(RunToEnd(pod_, config), "end\n") << unconfined;
  }
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  EXPECT_EQ(Exec(id, script), "end\n");
  EXPECT_EQ(Shell("cat /proc/sys/kernel/core_pattern"), before);
}

// CVE-2022-0811: sysctls that hide in the value or the name of another.
TEST_F(EscapeTest, SysctlsAreTheOnesThatTheySay) {
  const std::string before = Shell("cat /proc/sys/kernel/core_pattern");
  for (const auto& [name, value] :
       {std::make_pair("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/tmp/x"),
        std::make_pair("kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/tmp/x"),
        std::make_pair("kernel.core_pattern", "|/tmp/x"),
        std::make_pair("kernel/shm/../core_pattern", "|/tmp/x"),
        std::make_pair("kernel.shm.//.core_pattern", "|/tmp/x")}) {
    cri::PodSandboxConfig config = PodConfig("sysctl");
    (*config.mutable_linux()->mutable_sysctls())[name] = value;
    const absl::Status status = RunPod(config).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("sysctl")) << name << "=" << value;
  }
  EXPECT_EQ(Shell("cat /proc/sys/kernel/core_pattern"), before);
}

// CVE-2022-24769: capabilities that a program with file capabilities would get.
TEST_F(EscapeTest, NoCapabilityIsInheritable) {
  for (const int user : {0, 1000}) {
    cri::ContainerConfig config = Script("grep -E 'Cap(Inh|Amb)' /proc/self/status");
    SecurityOf(config)->mutable_run_as_user()->set_value(user);
    EXPECT_EQ(RunToEnd(pod_, config), "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
  }
}

// An exec into a container that has replaced its user database.
TEST_F(EscapeTest, AnExecBelievesNoUserDatabase) {
  cri::ContainerConfig config = Script("sleep 1000");
  SecurityOf(config)->mutable_run_as_user()->set_value(33);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  const std::string before = Exec(id, "id -u; id -g; id -G");
  const std::string etc = RootOf(id) + "/etc";
  Shell(absl::StrCat("echo other:x:33:0::/:/bin/sh > ", etc, "/passwd; echo root:x:0:other > ", etc,
                     "/group"));
  EXPECT_EQ(Exec(id, "id -u; id -g; id -G"), before);
  Shell(absl::StrCat("cd ", etc, " && rm passwd group && mkfifo passwd group"));
  EXPECT_EQ(Exec(id, "grep ^[UG]id: /proc/self/status | tr -s '\\t' ' '"),
            "Uid: 33 33 33 33\nGid: 33 33 33 33\n");
}

// ... or its programs, by ones that would be the runtime's.
TEST_F(EscapeTest, AnExecRunsNothingOfOurs) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod_));
  const std::string root = RootOf(id);
  Shell(absl::StrCat("cd ", root,
                     "/bin && ln -sf /proc/self/exe sh && ln -sf /proc/1/exe ls && printf ",
                     "'#!/proc/self/exe\\n' > cat"));
  for (const char* program : {"sh", "cat"}) {
    const auto answer = cri().ExecSync(id, {program, "/etc/passwd"}, 10);
    EXPECT_TRUE(!answer.ok() || answer->exit_code() != 0) << program;
    EXPECT_NE(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  }
  ExpectAllWorks();
}

// CVE-2025-52881: ... or its /proc and /dev. Nothing of what an exec needs is looked for there.
TEST_F(EscapeTest, AnExecNeedsNothingOfTheContainersProc) {
  cri::ContainerConfig config = Script(
      "mkdir -p /fake/self/attr/apparmor /fake/self/fd /fake/self/ns /fake/sys/kernel && cd /fake "
      "&&"
      "for f in self/oom_score_adj self/attr/exec self/attr/apparmor/exec self/setgroups bait; do"
      " echo bait > $f; done; mount --bind /fake /proc && mount -t tmpfs none /dev && echo x > "
      "/dev/null;"
      "touch /ready; sleep 1000");
  SetUnconfined(config);
  SecurityOf(config)->mutable_capabilities()->add_add_capabilities("SYS_ADMIN");
  config.mutable_linux()->mutable_resources()->set_oom_score_adj(200);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
  const std::string root = RootOf(id);
  for (int i = 0; i < 1000 && access((root + "/ready").c_str(), F_OK) != 0; ++i)
    absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(Exec(id, "cat /proc/bait; id -u"), "bait\n0\n");
  EXPECT_EQ(Exec(id, "find /fake -type f | xargs cat | sort -u"), "bait\n");
  EXPECT_EQ(Exec(id, "cat /dev/null"), "x\n");
}

// CVE-2020-15257: a pod of the host's network reaches sockets that have no file.
TEST_F(EscapeTest, NoSocketOfOursIsAbstract) {
  std::set<std::string> inodes;
  std::vector<pid_t> pids = Keepers();
  EXPECT_FALSE(pids.empty());
  pids.push_back(daemon_.pid());
  for (const pid_t pid : pids) {
    const std::string fds = absl::StrCat("/proc/", pid, "/fd");
    ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, ListDirectory(fds));
    for (const std::string& name : names) {
      char target[64];
      const ssize_t n = readlink(absl::StrCat(fds, "/", name).c_str(), target, sizeof target);
      const std::string text(target, n > 0 ? n : 0);
      if (absl::StartsWith(text, "socket:[")) inodes.insert(text.substr(8, text.size() - 9));
    }
  }
  EXPECT_FALSE(inodes.empty());
  ASSERT_OK_AND_ASSIGN(const std::string table, ReadFile("/proc/net/unix"));
  for (const absl::string_view line : absl::StrSplit(table, '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 8 || fields[7][0] != '@') continue;
    EXPECT_EQ(inodes.count(fields[6]), 0u) << std::string(line);
  }
}

// CVE-2021-41103, CVE-2024-25621: users of the host among the files of containers, and their set-uid programs.
TEST_F(EscapeTest, OtherUsersOfTheHostReachNoRootFileSystem) {
  const auto mode = [](const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(stat(path.c_str(), &st), 0) << path;
    return st.st_mode & 0777;
  };
  EXPECT_EQ(mode(daemon_.root()), 0700u);
  EXPECT_EQ(mode(daemon_.root() + "/layers") & 077, 0u);
  EXPECT_EQ(mode(daemon_.root() + "/snapshots") & 077, 0u);
  EXPECT_EQ(mode(daemon_.state()) & 066, 0u);
  EXPECT_EQ(mode(absl::StrCat(daemon_.state(), "/pods/", pod_.id)) & 077, 0u);
}

}  // namespace
}  // namespace berth::testing
