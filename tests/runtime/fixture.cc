#include "tests/runtime/fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"

namespace berth {
namespace {

std::string Runfile(const std::string& path) {
  if (access(path.c_str(), R_OK) == 0) return path;
  char self[4096];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  return absl::StrCat(std::string(self, n > 0 ? n : 0), ".runfiles/berth/", path);
}

}  // namespace

absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

const std::string& GuestPath() {
  static const std::string* path = new std::string(Runfile("tests/runtime/bin/guest"));
  return *path;
}

const std::string& KeeperPath() {
  static const std::string* path = new std::string(Runfile("runtime/keeper/bin/berth-keeper"));
  return *path;
}

void Exits::OnExit(const PodId& pod, const ContainerId& container, const ExitRecord& record) {
  MutexLock lock(&mu_);
  exits_.emplace_back(container, record);
  changed_.SignalAll();
}

void Exits::OnKeeperDeath(const PodId& pod) {
  MutexLock lock(&mu_);
  deaths_.push_back(pod);
  changed_.SignalAll();
}

ExitRecord Exits::WaitForExit(const ContainerId& id) {
  const absl::Time deadline = Soon();
  MutexLock lock(&mu_);
  for (;;) {
    for (const auto& [container, record] : exits_) {
      if (container == id) return record;
    }
    if (changed_.WaitWithDeadline(&mu_, deadline)) break;
  }
  ADD_FAILURE() << "no exit of " << id.str();
  return {};
}

void Exits::WaitForDeath(const PodId& pod) {
  const absl::Time deadline = Soon();
  MutexLock lock(&mu_);
  for (;;) {
    for (const PodId& dead : deaths_) {
      if (dead == pod) return;
    }
    if (changed_.WaitWithDeadline(&mu_, deadline)) break;
  }
  ADD_FAILURE() << "no death of " << pod.str();
}

void RuntimeTest::SetUp() {
  ASSERT_EQ(geteuid(), 0u) << "these tests need root";
  // RUNTIME_TEST_DIR=/dev/shm leaves the disk out of a measurement.
  const char* base = getenv("RUNTIME_TEST_DIR");
  char dir[256];
  snprintf(dir, sizeof dir, "%s/berth-runtime-XXXXXX", base ? base : "/tmp");
  ASSERT_NE(mkdtemp(dir), nullptr);
  dir_ = dir;
  rootfs_ = dir_ + "/rootfs";
  state_ = dir_ + "/state";
  for (const std::string& d : {rootfs_, state_, rootfs_ + "/etc", dir_ + "/log"})
    ASSERT_TRUE(MakeDirectories(d, 0755).ok());
  const std::string guest = ReadFile(GuestPath()).value();
  ASSERT_TRUE(WriteFileAtomically(rootfs_ + "/guest", guest, 0755).ok());
  ASSERT_TRUE(WriteFileAtomically(
                  rootfs_ + "/etc/passwd",
                  "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:A:/home/alice:/bin/sh\n", 0644)
                  .ok());
  ASSERT_TRUE(WriteFileAtomically(rootfs_ + "/etc/group",
                                  "root:x:0:\nalice:x:1001:\nstaff:x:50:bob,alice\nbob:x:60:bob\n",
                                  0644)
                  .ok());
  for (const char* root :
       {"/sys/fs/cgroup/pids", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified"}) {
    if (access(absl::StrCat(root, "/cgroup.procs").c_str(), F_OK) != 0) continue;
    const std::string path = absl::StrCat(root, "/berth-test-", getpid());
    ASSERT_TRUE(MakeDirectories(path, 0755).ok());
    cgroup_dirs_.push_back(path);
    const bool v2 = absl::EndsWith(root, "unified");
    const bool freezer = absl::EndsWith(root, "freezer");
    cgroups_.push_back({path, v2        ? uint32_t{kCgroupV2 | kCgroupExecParent}
                              : freezer ? uint32_t{kCgroupFreezer}
                                        : 0u});
  }
  if (access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0) {
    const std::string path = absl::StrCat("/sys/fs/cgroup/berth-test-", getpid());
    ASSERT_TRUE(MakeDirectories(path, 0755).ok());
    cgroup_dirs_.push_back(path);
    cgroups_.push_back({path, kCgroupV2 | kCgroupExecParent});
  }
  absl::StatusOr<std::unique_ptr<KeeperLauncher>> launcher = KeeperLauncher::Make(KeeperPath(), {});
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  launcher_ = std::move(*launcher);
  watcher_ = KeeperWatcher::Start(&exits_).value();
}

void RuntimeTest::TearDown() {
  if (keeper_ != nullptr) {
    const absl::StatusOr<std::vector<KeptContainer>> kept = keeper_->List(Soon());
    if (kept.ok()) {
      for (const KeptContainer& c : *kept) {
        if (c.state == KeptState::kRunning) {
          EXPECT_TRUE(keeper_->Signal(c.id, SIGKILL, Soon()).ok());
          exits_.WaitForExit(c.id);
        }
        EXPECT_TRUE(keeper_->Forget(c.id, Soon()).ok());
      }
      EXPECT_TRUE(keeper_->Shutdown(Soon()).ok());
    }
    watcher_->Unwatch(pod_);
    keeper_.reset();
  }
  watcher_.reset();
  launcher_.reset();
  for (const std::string& path : cgroup_dirs_) {
    const std::vector<std::string> names = ListDirectory(path).value();
    for (const std::string& name : names) rmdir(absl::StrCat(path, "/", name).c_str());
    int rc = -1;
    for (int i = 0; i < 200 && (rc = rmdir(path.c_str())) != 0; ++i) usleep(10000);
    EXPECT_EQ(rc, 0) << path << " still holds " << ReadFile(path + "/cgroup.procs").value_or("");
  }
  EXPECT_FALSE(absl::StrContains(ReadFile("/proc/self/mountinfo").value(), dir_));
  EXPECT_TRUE(RemoveTree(dir_).ok());
}

KeeperOptions RuntimeTest::Options() {
  KeeperOptions options;
  options.pod = pod_;
  options.state_directory = state_;
  options.new_ipc = true;
  options.new_uts = true;
  options.hostname = "pod-host";
  return options;
}

void RuntimeTest::StartKeeper(const KeeperOptions& options) {
  absl::StatusOr<std::shared_ptr<Keeper>> keeper = launcher_->Spawn(options, Soon());
  ASSERT_TRUE(keeper.ok()) << keeper.status();
  keeper_ = *keeper;
  ASSERT_TRUE(watcher_->Watch(keeper_).ok());
}

PlanContents RuntimeTest::Contents(std::vector<std::string> argv) {
  constexpr uint64_t kNoSuid = 2, kNoDev = 4, kNoExec = 8, kReadonly = 1;
  PlanContents c;
  c.flags = kPlanNoNewPrivs | kPlanCgroupNamespace;
  c.rootfs_kind = RootfsKind::kBind;
  c.lowers = {rootfs_};
  c.cgroups = cgroups_;
  c.mounts = {
      {MountKind::kProc, "", "/proc", "", kNoSuid | kNoDev | kNoExec},
      {MountKind::kTmpfs, "", "/dev", "mode=755,size=65536k", kNoSuid},
      {MountKind::kDevpts, "", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
       kNoSuid | kNoExec},
      {MountKind::kPodShm, "", "/dev/shm", "", kNoSuid | kNoDev | kNoExec},
      {MountKind::kMqueue, "", "/dev/mqueue", "", kNoSuid | kNoDev | kNoExec},
      {MountKind::kSysfs, "", "/sys", "", kReadonly | kNoSuid | kNoDev | kNoExec},
  };
  c.devices = {{"/dev/null", S_IFCHR | 0666, 1, 3},   {"/dev/zero", S_IFCHR | 0666, 1, 5},
               {"/dev/full", S_IFCHR | 0666, 1, 7},   {"/dev/tty", S_IFCHR | 0666, 5, 0},
               {"/dev/random", S_IFCHR | 0666, 1, 8}, {"/dev/urandom", S_IFCHR | 0666, 1, 9}};
  c.symlinks = {{"/proc/self/fd", "/dev/fd"},
                {"/proc/self/fd/0", "/dev/stdin"},
                {"/proc/self/fd/1", "/dev/stdout"},
                {"/proc/self/fd/2", "/dev/stderr"},
                {"pts/ptmx", "/dev/ptmx"}};
  c.masked_paths = {"/proc/kcore", "/proc/keys", "/proc/timer_list",
                    "/proc/acpi",  "/proc/scsi", "/sys/firmware"};
  c.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  c.capabilities = {0xa80425fb, 0xa80425fb, 0xa80425fb, 0, 0};
  c.oom_score_adj = 100;
  c.argv = std::move(argv);
  c.envp = {"PATH=/bin:/", "A=b"};
  return c;
}

PlanContents RuntimeTest::ExecContents(std::vector<std::string> argv) {
  PlanContents c;
  c.flags = kPlanExec | kPlanNoNewPrivs | kPlanCgroupNamespace;
  c.capabilities = {0xa80425fb, 0xa80425fb, 0xa80425fb, 0, 0};
  c.argv = std::move(argv);
  c.envp = {"PATH=/"};
  return c;
}

void RuntimeTest::UseOverlay(PlanContents* c, const std::string& dir) {
  for (const char* name : {"/upper", "/work", "/layer"})
    ASSERT_TRUE(MakeDirectories(absl::StrCat(dir, name), 0755).ok());
  c->rootfs_kind = RootfsKind::kOverlay;
  c->lowers.insert(c->lowers.begin(), dir + "/layer");
  c->upper = dir + "/upper";
  c->work = dir + "/work";
}

UniqueFd RuntimeTest::OpenLog(const ContainerId& id) {
  return OpenFile(absl::StrCat(dir_, "/log/", id.str()), O_WRONLY | O_CREAT | O_APPEND, 0640)
      .value();
}

absl::Status RuntimeTest::CreateAndStart(const ContainerId& id, const PlanContents& contents) {
  const absl::StatusOr<std::string> plan = BuildPlan(contents);
  if (!plan.ok()) return plan.status();
  const absl::StatusOr<CreatedContainer> created = keeper_->Create(id, *plan, {}, Soon());
  if (!created.ok()) return created.status();
  return keeper_->Start(id, OpenLog(id), Soon());
}

ExitRecord RuntimeTest::RunToExit(const ContainerId& id, const PlanContents& contents) {
  const absl::Status status = CreateAndStart(id, contents);
  EXPECT_TRUE(status.ok()) << status;
  if (!status.ok()) return {};
  return exits_.WaitForExit(id);
}

std::string RuntimeTest::Log(const ContainerId& id) {
  return ReadFile(absl::StrCat(dir_, "/log/", id.str()), 64u << 20).value_or("");
}

std::string RuntimeTest::Output(const ContainerId& id) {
  std::string out;
  for (absl::string_view line : absl::StrSplit(Log(id), '\n')) {
    if (line.size() < 40) continue;
    out.append(line.data() + 40, line.size() - 40);
    if (line[38] == 'F') out += '\n';
  }
  return out;
}

void RuntimeTest::WaitForOutput(const ContainerId& id, const std::string& text) {
  for (int i = 0; i < 1000 && !absl::StrContains(Output(id), text); ++i) usleep(10000);
  EXPECT_TRUE(absl::StrContains(Output(id), text)) << Output(id);
}

std::string Fact(const std::string& output, const std::string& key) {
  std::string values;
  for (absl::string_view line : absl::StrSplit(output, '\n')) {
    if (!absl::StartsWith(line, key + "=")) continue;
    line.remove_prefix(key.size() + 1);
    if (!values.empty()) values += '\n';
    values.append(line.data(), line.size());
  }
  return values;
}

}  // namespace berth
