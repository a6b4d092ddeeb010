#include "tests/harness/private_machine.h"

#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "base/files.h"
#include "base/unique_fd.h"

namespace berth::testing {

namespace {

constexpr char kCgroupVariable[] = "BERTH_TEST_CGROUP";
constexpr char kDirectoryVariable[] = "BERTH_TEST_DIRECTORY";
constexpr char kMachineVariable[] = "BERTH_TEST_MACHINE";
constexpr char kDriverVariable[] = "BERTH_TEST_CGROUP_DRIVER";
constexpr char kPlaceVariable[] = "BERTH_TEST_TMP";  // instead of /var/tmp
constexpr char kHierarchies[] = "/sys/fs/cgroup";

int Fail(const char* what) {
  fprintf(stderr, "private machine: %s: %s\n", what, strerror(errno));
  return 1;
}

bool BringLoopbackUp() {
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return fd.valid() && ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

bool MountEmpty(const char* path) {
  mkdir(path, 0755);
  return mount("tmpfs", path, "tmpfs", 0, "mode=755") == 0;
}

bool MakeMounts() {
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0 &&
         MountEmpty("/run/netns") && MountEmpty("/var/lib/cni") &&
         mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0;
}

int ExitCode(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// PID 1 of the machine: runs `body` in a child, reaps everything, ends with the child.
int Init(const std::function<int()>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!MakeMounts()) return Fail("mounts");
  if (!BringLoopbackUp()) return Fail("lo");
  const pid_t child = fork();
  if (child < 0) return Fail("fork");
  if (child == 0) exit(body());
  for (;;) {
    int status;
    const pid_t pid = waitpid(-1, &status, 0);
    if (pid == child) return ExitCode(status);
    if (pid < 0 && errno != EINTR) return Fail("waitpid");
  }
}

// rmdir, the deepest first: a cgroup's files are not removed, only its children.
void RemoveCgroup(const std::string& path) {
  auto names = ListDirectory(path);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    struct stat info;
    const std::string child = path + "/" + name;
    if (lstat(child.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) RemoveCgroup(child);
  }
  rmdir(path.c_str());
}

// The pods' parent and the keepers' cgroup, in every hierarchy: on a node they are kubelet's and
// the operator's, and outlive pods and daemons.
void MakeParentCgroups(const std::string& cgroup) {
  if (access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0) {  // pure cgroup v2
    for (const char* child : {"/pods", "/keepers"}) {
      MakeDirectories(kHierarchies + cgroup + child, 0755).IgnoreError();
    }
    return;
  }
  auto hierarchies = ListDirectory(kHierarchies);
  if (!hierarchies.ok()) return;
  for (const std::string& name : *hierarchies) {
    const std::string root = std::string(kHierarchies) + "/" + name;
    if (access((root + "/cgroup.procs").c_str(), F_OK) != 0) continue;
    for (const char* child : {"/pods", "/keepers"}) {
      MakeDirectories(root + cgroup + child, 0755).IgnoreError();
    }
  }
}

void RemoveCgroups(const std::string& cgroup) {
  RemoveCgroup(kHierarchies + cgroup);  // pure cgroup v2
  auto hierarchies = ListDirectory(kHierarchies);
  if (!hierarchies.ok()) return;
  for (const std::string& name : *hierarchies) {
    RemoveCgroup(std::string(kHierarchies) + "/" + name + cgroup);
  }
}

bool IsSet(const char* variable, const char* value) {
  const char* now = getenv(variable);
  return now != nullptr && strcmp(now, value) == 0;
}

// In a child, so that what the test starts has ended or lost its parent when the cgroups go.
int RunInWholeMachine(const std::function<int()>& body) {
  if (SystemdDriver() && system("systemctl start berthtest-pods.slice") != 0) {
    fprintf(stderr, "private machine: no slice for the tests\n");
    return 1;
  }
  mkdir("/run/netns", 0755);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t child = fork();
  if (child < 0) return Fail("fork");
  if (child == 0) exit(body());
  for (;;) {
    int status;
    const pid_t pid = waitpid(-1, &status, 0);
    if (pid == child) return ExitCode(status);
    if (pid < 0 && errno != EINTR) return Fail("waitpid");
  }
}

}  // namespace

int RunInPrivateMachine(const std::function<int()>& body) {
  if (geteuid() != 0) {
    fprintf(stderr, "private machine: integration tests need root\n");
    return 1;
  }
  const std::string cgroup = "/berth-test-" + std::to_string(getpid());
  const char* place = getenv(kPlaceVariable);
  std::string directory = (place != nullptr ? place : "/var/tmp") + cgroup + ".XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return Fail(directory.c_str());
  setenv(kCgroupVariable, cgroup.c_str(), 1);
  setenv(kDirectoryVariable, directory.c_str(), 1);

  MakeParentCgroups(cgroup);
  if (IsSet(kMachineVariable, "whole")) {
    const int result = RunInWholeMachine(body);
    RemoveCgroups(cgroup);
    RemoveTree(directory).IgnoreError();
    return result;
  }
  if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID) != 0) return Fail("unshare");
  const pid_t init = fork();
  if (init < 0) return Fail("fork");
  if (init == 0) _exit(Init(body));
  int status = 0;
  waitpid(init, &status, 0);
  RemoveCgroups(cgroup);
  RemoveTree(directory).IgnoreError();
  return ExitCode(status);
}

std::string TestCgroup() {
  const char* value = getenv(kCgroupVariable);
  return value != nullptr ? value : "/berth-test";
}

bool SystemdDriver() { return IsSet(kDriverVariable, "systemd"); }

std::string TestDirectory() {
  const char* value = getenv(kDirectoryVariable);
  return value != nullptr ? value : "/var/tmp";
}

}  // namespace berth::testing
