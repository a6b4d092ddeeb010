#include "runtime/compiler.h"

#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/mount_options.h"

namespace berth {
namespace {

using testing::HasSubstr;

Spec Sample() {
  Spec spec;
  spec.process.emplace();
  spec.process->args = {"/bin/true"};
  spec.process->env = {"A=b"};
  spec.process->capabilities.emplace();
  spec.process->capabilities->bounding = 0x21;
  spec.process->capabilities->permitted = 0x21;
  spec.process->capabilities->effective = 0x21;
  spec.mounts = {{"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
                 {"/data", "bind", "/srv/data", {"rbind", "rslave", "ro"}}};
  spec.linux_.namespaces = {{NamespaceKind::kPid, ""},
                            {NamespaceKind::kMount, ""},
                            {NamespaceKind::kNetwork, "/run/netns/x"},
                            {NamespaceKind::kCgroup, ""}};
  return spec;
}

CompileInput Overlay() {
  CompileInput input;
  input.lowers = {"/layers/2/fs", "/layers/1/fs"};
  input.upper = "/up";
  input.work = "/work";
  input.cgroups = {{"/sys/fs/cgroup/x", "cgroup", kCgroupV2 | kCgroupExecParent}};
  input.capability_limit = kAllCapabilities;
  return input;
}

const Plan& AsPlan(const std::string& bytes) {
  return *reinterpret_cast<const Plan*>(bytes.data());
}

std::map<std::string, const PlanMount*> MountsOf(const Plan& plan) {
  std::map<std::string, const PlanMount*> out;
  for (uint32_t i = 0; i < plan.mounts.count; ++i) {
    const PlanMount* m = PlanTable(plan, plan.mounts) + i;
    out[PlanString(plan, m->target)] = m;
  }
  return out;
}

std::string ErrorOf(const Spec& spec, const CompileInput& input = Overlay()) {
  return std::string(CompilePlan(spec, input).status().message());
}

TEST(Compiler, ContainerPlan) {
  const auto bytes = CompilePlan(Sample(), Overlay());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const Plan& plan = AsPlan(*bytes);
  EXPECT_EQ(plan.rootfs.kind, RootfsKind::kOverlay);
  EXPECT_EQ(plan.pid_mode, PidMode::kOwn);
  EXPECT_EQ(plan.flags, kPlanCgroupNamespace | kPlanStrictGroups);
  EXPECT_EQ(plan.capabilities.bounding, 0x21u);
  EXPECT_EQ(plan.cgroups.count, 1u);
  EXPECT_EQ(plan.oom_score_adj, kOomScoreUnset);
  auto mounts = MountsOf(plan);
  EXPECT_EQ(mounts["/proc"]->kind, MountKind::kProc);
  EXPECT_EQ(mounts["/proc"]->attr_set, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV);
  EXPECT_EQ(mounts["/data"]->kind, MountKind::kBind);
  EXPECT_EQ(mounts["/data"]->propagation, MS_SLAVE);
  EXPECT_EQ(mounts["/data"]->flags, kMountRecursive);
  EXPECT_EQ(mounts["/data"]->attr_set, MOUNT_ATTR_RDONLY);
  EXPECT_EQ(plan.devices.count, 6u);
}

TEST(Compiler, SharedPidAndPtraceNeedTheHop) {
  Spec spec = Sample();
  spec.process->capabilities->bounding |= CapabilityBit(19);
  EXPECT_TRUE(AsPlan(*CompilePlan(spec, Overlay())).flags & kPlanHop);
  const SpecProcess modest =
      *Sample().process;  // what counts is what the container's processes may do
  EXPECT_TRUE(AsPlan(*CompileExecPlan(spec, modest, Overlay())).flags & kPlanHop);
  EXPECT_FALSE(AsPlan(*CompileExecPlan(Sample(), modest, Overlay())).flags & kPlanHop);
  spec = Sample();
  spec.linux_.namespaces[0].path = "/proc/7/ns/pid";
  const std::string bytes = *CompilePlan(spec, Overlay());
  EXPECT_EQ(AsPlan(bytes).pid_mode, PidMode::kPod);
  EXPECT_TRUE(AsPlan(bytes).flags & kPlanHop);
  spec.linux_.namespaces.erase(spec.linux_.namespaces.begin());
  EXPECT_EQ(AsPlan(*CompilePlan(spec, Overlay())).pid_mode, PidMode::kNode);
}

TEST(Compiler, CgroupMountsFollowTheHost) {
  Spec spec = Sample();
  spec.mounts.push_back({"/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid"}});
  CompileInput input = Overlay();
  std::string bytes = *CompilePlan(spec, input);
  EXPECT_EQ(MountsOf(AsPlan(bytes))["/sys/fs/cgroup"]->kind, MountKind::kCgroup2);

  input.cgroups = {{"/sys/fs/cgroup/cpu,cpuacct/x", "cpu,cpuacct", 0},
                   {"/sys/fs/cgroup/memory/x", "memory", kCgroupMemory}};
  bytes = *CompilePlan(spec, input);
  auto mounts = MountsOf(AsPlan(bytes));
  EXPECT_EQ(mounts["/sys/fs/cgroup"]->kind, MountKind::kTmpfs);
  EXPECT_EQ(mounts["/sys/fs/cgroup"]->attr_set & MOUNT_ATTR_RDONLY, 0u);
  EXPECT_STREQ(PlanString(AsPlan(bytes), mounts["/sys/fs/cgroup/memory"]->source),
               "/sys/fs/cgroup/memory/x");
  EXPECT_EQ(AsPlan(bytes).readonly_paths.count, 1u);
  EXPECT_EQ(AsPlan(bytes).symlinks.count, 2u + 4u);
}

TEST(Compiler, UsersByNameAreLeftToTheImage) {
  CompileInput input = Overlay();
  input.user.emplace();
  input.user->user = "www-data";
  input.user->gid = 5;
  const std::string bytes = *CompilePlan(Sample(), input);
  const Plan& plan = AsPlan(bytes);
  EXPECT_EQ(plan.user.flags, kUserHasGid);
  EXPECT_EQ(plan.user.gid, 5u);
  EXPECT_STREQ(PlanString(plan, plan.user.user), "www-data");
  EXPECT_FALSE(plan.flags & kPlanStrictGroups);
}

TEST(Compiler, NobodyGivesMoreThanItHas) {
  CompileInput input = Overlay();
  input.capability_limit = 0x1;
  const std::string bytes = *CompilePlan(Sample(), input);
  EXPECT_EQ(AsPlan(bytes).capabilities.effective, 0x1u);
}

TEST(Compiler, FiltersAreIn) {
  Spec spec = Sample();
  spec.linux_.seccomp = DefaultSeccompProfile(DefaultCapabilities());
  const std::string bytes = *CompilePlan(spec, Overlay());
  EXPECT_GT(AsPlan(bytes).seccomp.count, 100u);
}

TEST(Compiler, ExecPlansHaveNoRootfs) {
  SpecProcess process = *Sample().process;
  process.args = {"ps"};
  process.terminal = true;
  const std::string bytes = *CompileExecPlan(Sample(), process, Overlay());
  const Plan& plan = AsPlan(bytes);
  EXPECT_EQ(plan.flags & (kPlanExec | kPlanTerminal), kPlanExec | kPlanTerminal);
  EXPECT_EQ(plan.mounts.count, 0u);
  EXPECT_EQ(plan.rootfs.kind, RootfsKind::kNone);
}

TEST(Compiler, WithoutAPodNamespacesAndSysctlsAreItsOwn) {
  Spec spec = Sample();
  spec.linux_.namespaces[2].path = "";
  spec.linux_.sysctl = {{"net.ipv4.ip_forward", "1"}};
  CompileInput input = Overlay();
  input.in_pod = false;
  const std::string bytes = *CompilePlan(spec, input);
  const Plan& plan = AsPlan(bytes);
  EXPECT_TRUE(plan.flags & kPlanNewNet);
  EXPECT_STREQ(PlanString(plan, PlanTable(plan, plan.sysctls)->path), "net/ipv4/ip_forward");
  spec.linux_.sysctl = {{"kernel.shmmax", "1"}};
  EXPECT_EQ(ErrorOf(spec, input),
            "linux.sysctl.kernel.shmmax: is not in a namespace of the container");
}

TEST(Compiler, ErrorsNameTheField) {
  const auto error = [](auto change) {
    Spec spec = Sample();
    change(spec);
    return ErrorOf(spec);
  };
  EXPECT_EQ(error([](Spec& s) { s.process.reset(); }), "process: missing");
  EXPECT_EQ(error([](Spec& s) { s.process->args.clear(); }), "process.args: want a command");
  EXPECT_EQ(error([](Spec& s) { s.mounts[1].source = "data"; }),
            "mounts[1] (/data): source: want an absolute path");
  EXPECT_EQ(error([](Spec& s) { s.hooks.prestart.push_back({"/h"}); }),
            "hooks: only external runtimes run them");
  EXPECT_EQ(error([](Spec& s) { s.linux_.namespaces.push_back({NamespaceKind::kUser, ""}); }),
            "linux.uidMappings: missing");
  EXPECT_EQ(error([](Spec& s) { s.linux_.rootfs_propagation = "up"; }),
            "linux.rootfsPropagation: unknown \"up\"");
  EXPECT_THAT(error([](Spec& s) { s.process->capabilities->ambient = 1; }),
              HasSubstr("process.capabilities.ambient: CAP_CHOWN"));
  EXPECT_THAT(error([](Spec& s) { s.linux_.devices.push_back({'c', "/dev/x", -1, 2}); }),
              HasSubstr("linux.devices[0]"));
}

TEST(MountOptions, TheLastWordCounts) {
  auto o = *ParseMountOptions({"ro", "rw", "nodev", "strictatime", "noatime"});
  EXPECT_EQ(o.attr_set, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
  EXPECT_EQ(o.attr_clear, MOUNT_ATTR_RDONLY);
  o = *ParseMountOptions({"rro", "rbind"});
  EXPECT_EQ(o.attr_set, uint64_t{MOUNT_ATTR_RDONLY});
  EXPECT_EQ(o.flags, kMountRecursiveAttr | kMountRecursive);
  o = *ParseMountOptions({"size=1k", "mode=755", "defaults"});
  EXPECT_EQ(o.data, "size=1k,mode=755");
  EXPECT_TRUE(ParseMountOptions({"idmap"})->idmap);
  EXPECT_FALSE(ParseMountOptions({"a=1,b=2"}).ok());
}

}  // namespace
}  // namespace berth
