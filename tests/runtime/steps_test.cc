// Each step of the executor fails once, by a plan that can't be carried out or by a kernel that refuses: the
// error names the step, nobody hangs, nothing stays, and the keeper goes on.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <ostream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "runtime/keeper_failure.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::HasSubstr;

// A system call that fails in the keeper and in all that it clones: `call` with `value` as the low half of
// `argument`, or with anything if argument is -1.
struct Refusal {
  int call = -1;
  int argument = -1;
  uint32_t value = 0;
  int error = EPERM;
};

// For the calling thread, and what it starts.
void Refuse(const Refusal& r) {
  const uint32_t offset = static_cast<uint32_t>(offsetof(seccomp_data, args)) +
                          8 * static_cast<uint32_t>(r.argument < 0 ? 0 : r.argument);
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(r.call), 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, r.argument < 0 ? 0 : 0xffffffffu),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r.value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(r.error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter = {sizeof program / sizeof program[0], program};
  ASSERT_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), 0);
}

enum class At { kCreate, kStart, kExec };
enum class PodKind { kPlain, kSharedPid, kUserns };

struct StepCase {
  Step step;
  At at;
  const char* message;  // what the error says
  Refusal refusal = {};
  void (*change)(PlanContents& c) = [](PlanContents&) {};
  PodKind kind = PodKind::kPlain;
};

void PrintTo(const StepCase& c, std::ostream* out) { *out << c.message; }

constexpr uint32_t kBase = 300000, kCount = 65536;
constexpr int kEmptyPath = 0x1000;  // AT_EMPTY_PATH
constexpr uint64_t kReadonly = 1;

void Unmasked(PlanContents& c) {  // then mount_setattr has one use: sealing
  c.masked_paths.clear();
}

// In no cgroup: at the end of one that shares a PID namespace, all that is in its cgroup is killed.
void Hopping(PlanContents& c) {
  c.pid_mode = PidMode::kPod;
  c.flags |= kPlanHop;
  c.cgroups.clear();
}

PlanContents::Mount Layers(const std::string& sub_path) {
  PlanContents::Mount m;
  m.kind = MountKind::kLayers;
  m.source = "image";
  m.target = "/img";
  m.sub_path = sub_path;
  m.lowers = {"/etc", "/usr"};
  return m;
}

const StepCase kSteps[] = {
    {Step::kClone,
     At::kCreate,
     "clone the process: Function not implemented",
     {SYS_clone3, -1, 0, ENOSYS}},
    {Step::kClone,
     At::kCreate,
     "clone the process: No such process",
     {},
     [](PlanContents& c) { c.pid_mode = PidMode::kTarget, c.pid_target = "nobody"; }},
    // Its own means of a failure: see StartPod.
    {Step::kDescriptors, At::kCreate, "arrange descriptors: Invalid argument"},
    {Step::kJoinCgroup,
     At::kCreate,
     "join cgroup /sys/fs/cgroup/no/such: No such file",
     {},
     [](PlanContents& c) { c.cgroups = {{"/sys/fs/cgroup/no/such", 0}}; }},
    {Step::kOomScore,
     At::kCreate,
     "set oom_score_adj: Invalid argument",
     {},
     [](PlanContents& c) { c.oom_score_adj = 5000; }},
    {Step::kAppArmor,
     At::kCreate,
     "ask for AppArmor profile berth-no-such",
     {},
     [](PlanContents& c) { c.apparmor = "berth-no-such"; }},
    {Step::kRlimit,
     At::kCreate,
     "set rlimit 99: Invalid argument",
     {},
     [](PlanContents& c) { c.rlimits = {{99, 1, 1}}; }},
    {Step::kOverlay,
     At::kCreate,
     "make the overlay /no/layer: No such file",
     {},
     [](PlanContents& c) {
       c.rootfs_kind = RootfsKind::kOverlay, c.lowers = {"/no/layer", "/etc"};
     }},
    {Step::kRootfsSource,
     At::kCreate,
     "open the root file system /no/rootfs: No such file",
     {},
     [](PlanContents& c) { c.lowers = {"/no/rootfs"}; }},
    {Step::kMountSource,
     At::kCreate,
     "mount /no/source at /m: open the source: No such file",
     {},
     [](PlanContents& c) { c.mounts.push_back({MountKind::kBind, "/no/source", "/m"}); }},
    {Step::kMountAttributes,
     At::kCreate,
     "mount /etc at /m: set its attributes: Invalid",
     {},
     [](PlanContents& c) {
       c.mounts.push_back({MountKind::kBind, "/etc", "/m", "", uint64_t{1} << 40});
     }},
    {Step::kMountNamespace, At::kCreate, "make the mount namespace", {SYS_setns, 1, 0x20000}},
    {Step::kMountNamespace, At::kCreate, "make the mount namespace", {SYS_unshare, 0, 0x20000}},
    {Step::kCgroupNamespace, At::kCreate, "make the cgroup namespace", {SYS_unshare, 0, 0x2000000}},
    {Step::kAttachRootfs, At::kCreate, "attach the root file system", {SYS_move_mount, 4, 0x4}},
    {Step::kMountCreate,
     At::kCreate,
     "mount /m: make the file system: Invalid",
     {},
     [](PlanContents& c) { c.mounts.push_back({MountKind::kTmpfs, "", "/m", "nonsense=1"}); }},
    {Step::kMountTarget,
     At::kCreate,
     "mount /etc at /etc/passwd/m: make the mount point: Not a",
     {},
     [](PlanContents& c) { c.mounts.push_back({MountKind::kBind, "/etc", "/etc/passwd/m"}); }},
    {Step::kMountAttach, At::kCreate, "mount /proc: attach", {SYS_move_mount, 4, 0x44}},
    {Step::kDevice,
     At::kCreate,
     "make device /etc/passwd/d: Not a directory",
     {},
     [](PlanContents& c) { c.devices.push_back({"/etc/passwd/d", S_IFCHR | 0666, 1, 3}); }},
    {Step::kSymlink,
     At::kCreate,
     "make symlink /etc/passwd/l: Not a directory",
     {},
     [](PlanContents& c) { c.symlinks.push_back({"x", "/etc/passwd/l"}); }},
    {Step::kSysctl,
     At::kCreate,
     "write sysctl kernel/no_such: No such file",
     {},
     [](PlanContents& c) { c.sysctls = {{"kernel/no_such", "1"}}; }},
    {Step::kTerminal,
     At::kCreate,
     "open the terminal (0): No such file",
     {},
     [](PlanContents& c) {
       c.mounts.erase(c.mounts.begin() + 2);  // devpts
       c.flags |= kPlanTerminal;
     }},
    {Step::kMakeCwd,
     At::kCreate,
     "make working directory /etc/passwd/w: Not a directory",
     {},
     [](PlanContents& c) { c.cwd = "/etc/passwd/w"; }},
    {Step::kUser,
     At::kCreate,
     "find user nobody-here in /etc/passwd: No such file",
     {},
     [](PlanContents& c) { c.user_flags = 0, c.user = "nobody-here"; }},
    {Step::kUser,
     At::kCreate,
     "find user  in /etc/passwd: Invalid argument",
     {},
     [](PlanContents& c) { c.uid = ~0u; }},
    {Step::kGroup,
     At::kCreate,
     "find group nobodies in /etc/group: No such file",
     {},
     [](PlanContents& c) { c.user_flags = kUserHasUid, c.group = "nobodies"; }},
    {Step::kReadonlyPath,
     At::kCreate,
     "make /loop read-only: Too many levels",
     {},
     [](PlanContents& c) { c.readonly_paths = {"/loop"}; }},
    {Step::kMaskedPath,
     At::kCreate,
     "mask /loop: Too many levels",
     {},
     [](PlanContents& c) { c.masked_paths = {"/loop"}; }},
    {Step::kReadonlyMount,
     At::kCreate,
     "mount /m: make it read-only",
     {SYS_mount_setattr, 2, kEmptyPath},
     [](PlanContents& c) {
       Unmasked(c);
       c.mounts.push_back({MountKind::kTmpfs, "", "/m", "", kReadonly});
     }},
    {Step::kReadonlyRootfs,
     At::kCreate,
     "make the root file system read-only",
     {SYS_mount_setattr, 2, kEmptyPath},
     [](PlanContents& c) {
       Unmasked(c);
       c.flags |= kPlanReadonlyRootfs;
     }},
    {Step::kPivotRoot, At::kCreate, "pivot_root", {SYS_pivot_root}},
    {Step::kHostname,
     At::kCreate,
     "set host name hhhhh",
     {},
     [](PlanContents& c) { c.flags |= kPlanNewUts, c.hostname = std::string(65, 'h'); }},
    {Step::kJoinNamespaces,
     At::kExec,
     "join the container's namespaces",
     {SYS_setns, 1, 0x2020000}},
    {Step::kStdio,
     At::kCreate,
     "arrange stdio",
     {SYS_fchown},
     [](PlanContents& c) { c.uid = c.gid = 1000; }},
    {Step::kCapabilities, At::kStart, "set capabilities (3)", {SYS_capset}},
    {Step::kGroups, At::kStart, "set groups", {SYS_setgroups}},
    {Step::kUid, At::kStart, "set the user id", {SYS_setresuid}},
    {Step::kNoNewPrivs, At::kStart, "set no_new_privs", {SYS_prctl, 0, 38}},
    {Step::kSeccomp,
     At::kStart,
     "install the seccomp filter: Invalid argument",
     {},
     [](PlanContents& c) { c.seccomp = {{0xffff, 0, 0, 0}}; }},
    {Step::kCwd,
     At::kExec,
     "enter working directory /no/where: No such file",
     {},
     [](PlanContents& c) { c.cwd = "/no/where"; }},
    {Step::kExecve,
     At::kStart,
     "execute /no/program: No such file",
     {},
     [](PlanContents& c) { c.argv = {"/no/program"}; }},
    {Step::kExecve,
     At::kExec,
     "execute /no/program: No such file",
     {},
     [](PlanContents& c) { c.argv = {"/no/program"}; }},
    // One that the leader meets, and one of the ferry's, which has only a page to tell it.
    {Step::kHop,
     At::kStart,
     "enter the PID namespace (0)",
     {SYS_mmap, 3, 0x21},
     Hopping,
     PodKind::kSharedPid},
    {Step::kHop,
     At::kStart,
     "enter the PID namespace (4)",
     {SYS_madvise, 2, 10},
     Hopping,
     PodKind::kSharedPid},
    {Step::kUserNamespace,
     At::kCreate,
     "enter the pod's user namespace (2)",
     {SYS_setns, 1, 0x10000000},
     [](PlanContents&) {},
     PodKind::kUserns},
    {Step::kLayerIdMap,
     At::kCreate,
     "id-map the layer /proc/sys: Invalid",
     {},
     [](PlanContents& c) { c.lowers = {"/proc/sys"}; },
     PodKind::kUserns},
    {Step::kMountIdMap,
     At::kCreate,
     "mount /proc/sys at /m: id-map it (its file",
     {},
     [](PlanContents& c) {
       c.id_maps = {{{{0, kBase, kCount}}, {{0, kBase, kCount}}}};
       c.mounts.push_back({MountKind::kBind, "/proc/sys", "/m", "", 0, 0, 0, 0, 1});
     },
     PodKind::kUserns},
    {Step::kMountSubPath,
     At::kCreate,
     "mount image at /img: open sub-path no/such: No such file",
     {},
     [](PlanContents& c) { c.mounts.push_back(Layers("no/such")); }},
    // Of the keeper's own.
    {Step::kSupervisor,
     At::kCreate,
     "keeper of container failing",
     {},
     [](PlanContents& c) { c.uid_maps = c.gid_maps = {{0, kBase, kCount}}; }},
};

class StepsTest : public RuntimeTest, public testing::WithParamInterface<StepCase> {
 protected:
  const StepCase& Case() { return GetParam(); }
  bool Userns() { return Case().kind == PodKind::kUserns; }

  // Without namespaces of the pod's own: making them takes the calls that are refused later.
  void StartPod() {
    KeeperOptions options = Options();
    options.new_ipc = options.new_uts = false;
    options.shared_pid = Case().kind == PodKind::kSharedPid;
    if (Userns()) {
      options.new_net = true;
      options.uid_maps = options.gid_maps = {{0, kBase, kCount}};
    }
    std::thread([&] {
      if (Case().refusal.call >= 0) Refuse(Case().refusal);
      if (Case().step == Step::kDescriptors) ReplaceNullDevice();
      StartKeeper(options);
    }).join();
  }
  // In a mount namespace of the calling thread's.
  void ReplaceNullDevice() {
    const std::string file = dir_ + "/null";
    ASSERT_TRUE(WriteFileAtomically(file, "", 0666).ok());
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount(file.c_str(), "/dev/null", nullptr, MS_BIND, nullptr), 0);
  }
  // What is refused is refused for good.
  bool CanRun() {
    return Case().refusal.call < 0 && Case().step != Step::kDescriptors && !Userns();
  }
  PlanContents Plain(std::vector<std::string> argv) {
    PlanContents c = Contents(std::move(argv));
    c.mounts.erase(c.mounts.begin() + 3);  // the pod's shared memory
    if (Userns()) c.uid_maps = c.gid_maps = {{0, kBase, kCount}};
    return c;
  }
  PlanContents Changed(PlanContents c) {
    Case().change(c);
    return c;
  }
  // By the step that is to fail.
  absl::Status Attempt(int attempt) {
    const ContainerId id(absl::StrCat("failing", attempt));
    if (Case().at == At::kExec) {
      PlanContents c = ExecContents({"/guest", "exit"});
      c.cgroups = cgroups_;
      return keeper_->ExecSync(running_, BuildPlan(Changed(c)).value(), 100, Soon()).status();
    }
    const std::string plan = BuildPlan(Changed(Plain({"/guest", "exit"}))).value();
    absl::Status created = keeper_->Create(id, plan, {}, Soon()).status();
    if (Case().at == At::kCreate) return created;
    EXPECT_TRUE(created.ok()) << created;
    if (!created.ok()) return absl::OkStatus();
    const absl::Status started = keeper_->Start(id, OpenLog(id), Soon());
    const ExitRecord record = exits_.WaitForExit(id);
    EXPECT_EQ(record.exit_code, 128);
    EXPECT_FALSE(record.started);
    EXPECT_TRUE(keeper_->Forget(id, Soon()).ok());
    return started;
  }
  const ContainerId running_{"running"};
};

TEST_P(StepsTest, ComesOutByNameAndHangsNobody) {
  ASSERT_EQ(symlink("/loop", (rootfs_ + "/loop").c_str()), 0);
  ASSERT_NO_FATAL_FAILURE(StartPod());
  ASSERT_NE(keeper_, nullptr);
  if (Case().at == At::kExec) {
    ASSERT_TRUE(CreateAndStart(running_, Plain({"/guest", "sleep"})).ok());
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    const absl::Status status = Attempt(attempt);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(Case().message));
    EXPECT_FALSE(absl::IsDeadlineExceeded(status)) << status;
  }
  EXPECT_EQ(keeper_->List(Soon()).value().size(), Case().at == At::kExec ? 1u : 0u);
  if (CanRun()) {
    EXPECT_EQ(RunToExit(ContainerId("next"), Plain({"/guest", "exit", "3"})).exit_code, 3);
  }
}

INSTANTIATE_TEST_SUITE_P(All, StepsTest, testing::ValuesIn(kSteps));

// Of those in which the executor itself works. Nobody reports kGate: a process whose supervisor has gone ends.
TEST(StepTableTest, HasEveryStep) {
  for (uint32_t step = 1; step <= static_cast<uint32_t>(Step::kAppArmor); ++step) {
    const absl::Status status = DescribeFailure("", {step, 0, EPERM});
    const bool named = !absl::StartsWith(status.message(), "keeper:");
    bool found = static_cast<Step>(step) == Step::kGate;
    for (const StepCase& c : kSteps) found = found || static_cast<uint32_t>(c.step) == step;
    EXPECT_TRUE(found || !named) << step << ": " << status;
  }
}

}  // namespace
}  // namespace berth
