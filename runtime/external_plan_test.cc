#include "runtime/external_plan.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "runtime/mount_options.h"
#include "runtime/plan.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr char kBundle[] = "/state/oci/c1";

ExternalRuntime Runc() {
  return {.path = "/usr/sbin/runc", .options = {"--debug"}, .bundle = kBundle, .id = "c1"};
}

Spec SmallSpec() {
  Spec spec;
  spec.process.emplace();
  spec.process->args = {"/bin/true"};
  spec.hostname = "host";
  spec.linux_.cgroups_path = "/pods/c1";
  spec.linux_.resources.memory_limit = 1 << 20;
  spec.linux_.resources.devices = std::vector<DeviceRule>{{false, 'a', -1, -1, "rwm"}};
  spec.linux_.namespaces = {{NamespaceKind::kPid, ""}, {NamespaceKind::kMount, ""}};
  return spec;
}

CompileInput SmallInput() {
  CompileInput input;
  input.lowers = {"/layers/1"};
  input.upper = "/snapshots/c1/fs";
  input.work = "/snapshots/c1/work";
  input.user = UserReference{.user = "nobody"};
  return input;
}

SpecMount MountOf(const std::string& destination, const std::string& type,
                  std::vector<std::string> options = {}) {
  SpecMount mount;
  mount.destination = destination;
  mount.type = type;
  mount.source = "/src";
  mount.options = std::move(options);
  return mount;
}

json ConfigOf(const ExternalContainer& made) {
  return json::parse(made.config_head + R"({"uid":1})" + made.config_tail, nullptr, false);
}

const Plan& PlanOf(const std::string& bytes) {
  return *reinterpret_cast<const Plan*>(bytes.data());
}

std::vector<std::string> Argv(const Plan& plan) {
  std::vector<std::string> argv;
  argv.reserve(plan.argv.count);
  for (uint32_t i = 0; i < plan.argv.count; ++i)
    argv.emplace_back(PlanString(plan, PlanTable(plan, plan.argv)[i]));
  return argv;
}

TEST(ExternalPlanTest, TheUserIsLeftToBeFilledIn) {
  const auto made = CompileExternal(Runc(), SmallSpec(), SmallInput());
  ASSERT_TRUE(made.ok()) << made.status();
  const json config = ConfigOf(*made);
  ASSERT_TRUE(config.is_object()) << made->config_head << made->config_tail;
  EXPECT_EQ(config["process"]["user"], json({{"uid", 1}}));
  EXPECT_EQ(config["root"]["path"], "/state/oci/c1/rootfs");
  EXPECT_EQ(config["ociVersion"], "1.0.2");
  EXPECT_FALSE(config.contains("hostname"));
  EXPECT_STREQ(PlanString(PlanOf(made->plan), PlanOf(made->plan).user.user), "nobody");
}

TEST(ExternalPlanTest, LimitsStayTheDaemonsAndDevicesAreTheRuntimesToo) {
  const auto made = CompileExternal(Runc(), SmallSpec(), SmallInput());
  ASSERT_TRUE(made.ok()) << made.status();
  const json resources = ConfigOf(*made)["linux"]["resources"];
  EXPECT_FALSE(resources.contains("memory"));
  EXPECT_EQ(resources["devices"].size(), 1u);
  EXPECT_EQ(ConfigOf(*made)["linux"]["cgroupsPath"], "/pods/c1");
}

TEST(ExternalPlanTest, OnTheUnifiedTreeProcessesGoWhereTheDriverHasThem) {
  CompileInput input = SmallInput();
  input.cgroups = {{"/sys/fs/cgroup/a.slice/berth-c1.scope/x", "unified", kCgroupV2}};
  const auto made = CompileExternal(Runc(), SmallSpec(), input);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(ConfigOf(*made)["linux"]["cgroupsPath"], "/a.slice/berth-c1.scope/x");
  input.cgroups[0].path = "/mnt/cgroup/x";
  EXPECT_EQ(CompileExternal(Runc(), SmallSpec(), input).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(ExternalPlanTest, CommandLines) {
  Spec spec = SmallSpec();
  const std::vector<std::string> common = {
      "/usr/sbin/runc",         "--debug",      "--root", "/state/oci/c1/state", "--log",
      "/state/oci/c1/log.json", "--log-format", "json"};
  const auto with = [&](std::vector<std::string> rest) {
    rest.insert(rest.begin(), common.begin(), common.end());
    return rest;
  };
  const std::vector<std::string> start = with({"start", "c1"});
  auto made = CompileExternal(Runc(), spec, SmallInput());
  ASSERT_TRUE(made.ok()) << made.status();
  std::vector<std::string> want =
      with({"create", "--bundle", kBundle, "--pid-file", "/state/oci/c1/pid", "c1", ""});
  want.insert(want.end(), start.begin(), start.end());
  EXPECT_EQ(Argv(PlanOf(made->plan)), want);
  EXPECT_EQ(PlanOf(made->plan).flags & kPlanTerminal, 0u);
  EXPECT_EQ(ExternalDelete(Runc()), with({"delete", "--force", "c1"}));

  spec.process->terminal = true;
  made = CompileExternal(Runc(), spec, SmallInput());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(absl::StrContains(absl::StrCat(Argv(PlanOf(made->plan))[13]), "console"))
      << Argv(PlanOf(made->plan))[13];
  EXPECT_NE(PlanOf(made->plan).flags & kPlanTerminal, 0u);
}

TEST(ExternalPlanTest, WhatOnlyThisRuntimeKnowsIsMountedBefore) {
  Spec spec = SmallSpec();
  spec.mounts = {
      MountOf("/data", kVolumeType), MountOf("/proc", "proc"),
      MountOf("/dev/shm", kPodShmType, {"nosuid"}),
      MountOf("/img", kLayersType, {"ro", "noexec", absl::StrCat(kSubPathOption, "a/b")})};
  CompileInput input = SmallInput();
  input.layers["/img"] = {"/layers/2", "/layers/3"};
  const auto made = CompileExternal(Runc(), spec, input);
  ASSERT_TRUE(made.ok()) << made.status();
  const json mounts = ConfigOf(*made)["mounts"];
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0]["type"], "proc");
  EXPECT_EQ(mounts[1], json({{"destination", "/dev/shm"},
                             {"type", "bind"},
                             {"source", "/state/oci/c1/mounts/2"},
                             {"options", {"rbind", "rprivate", "nosuid"}}}));
  EXPECT_EQ(mounts[2], json({{"destination", "/img"},
                             {"type", "bind"},
                             {"source", "/state/oci/c1/mounts/3"},
                             {"options", {"rbind", "rprivate", "ro", "noexec"}}}));
  const Plan& plan = PlanOf(made->plan);
  ASSERT_EQ(plan.mounts.count, 3u);
  const PlanMount* staged = PlanTable(plan, plan.mounts);
  EXPECT_EQ(staged[0].kind, MountKind::kVolume);
  EXPECT_STREQ(PlanString(plan, staged[0].target), "/data");
  EXPECT_EQ(staged[1].kind, MountKind::kPodShm);
  EXPECT_EQ(staged[2].kind, MountKind::kLayers);
  EXPECT_STREQ(PlanString(plan, staged[2].sub_path), "a/b");
  EXPECT_STREQ(PlanString(plan, staged[2].target), "/state/oci/c1/mounts/3");
}

TEST(ExternalPlanTest, WhatCanNotBeHadIsNamed) {
  const auto refuse = [](const Spec& spec) {
    const absl::Status status = CompileExternal(Runc(), spec, SmallInput()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    return std::string(status.message());
  };
  Spec spec = SmallSpec();
  spec.linux_.uid_mappings = {{0, 100000, 65536}};
  EXPECT_EQ(refuse(spec), "linux.namespaces: no user namespaces with an external runtime");
  spec = SmallSpec();
  spec.mounts = {MountOf("/a", "bind", {"rbind", "rshared"})};
  EXPECT_TRUE(absl::StrContains(refuse(spec), "mounts[0] (/a): propagation")) << refuse(spec);
  spec.mounts = {MountOf("/a", "bind", {"rbind", "rro"})};
  EXPECT_TRUE(absl::StrContains(refuse(spec), "recursive_read_only")) << refuse(spec);
  ExternalRuntime newer = Runc();
  newer.recursive_read_only = true;
  EXPECT_TRUE(CompileExternal(newer, spec, SmallInput()).ok());
  spec.mounts = {MountOf("/a", "bind", {"rbind"})};
  spec.mounts[0].uid_mappings = {{0, 1, 1}};
  EXPECT_TRUE(absl::StrContains(refuse(spec), "id-mapped")) << refuse(spec);
}

TEST(ExternalPlanTest, AnExecHasItsOwnDirectory) {
  SpecProcess process;
  process.args = {"id"};
  process.user.uid = 7;
  process.user.additional_gids = {8};
  const auto made = CompileExternalExec(Runc(), SmallSpec(), process, "/state/oci/c1/exec-1");
  ASSERT_TRUE(made.ok()) << made.status();
  const json written = json::parse(made->process, nullptr, false);
  EXPECT_EQ(written["args"], json({"id"}));
  EXPECT_EQ(written["user"], json({{"uid", 7}, {"gid", 0}, {"additionalGids", {8}}}));
  const Plan& plan = PlanOf(made->plan);
  EXPECT_EQ(plan.flags & (kPlanExec | kPlanExternal), kPlanExec | kPlanExternal);
  EXPECT_STREQ(PlanString(plan, plan.cwd), "/state/oci/c1/exec-1");
  const std::vector<std::string> argv = Argv(plan);
  EXPECT_EQ(argv[3], "/state/oci/c1/state");
  EXPECT_EQ(argv[5], "/state/oci/c1/exec-1/log.json");
  EXPECT_EQ(argv[8], "exec");
  EXPECT_EQ(argv.back(), "c1");
}

TEST(ExternalPlanTest, TheLastErrorOfALog) {
  EXPECT_EQ(LastLoggedError(R"({"level":"error","msg":"first"}
{"level":"error","msg":"last","time":"x"}
{"level":"warning","msg":"deprecated"}
not json
{"level":"error","msg":1}
[]
)"),
            "last");
  EXPECT_EQ(LastLoggedError(""), "");
  EXPECT_EQ(LastLoggedError("\xff\n{"), "");
}

}  // namespace
}  // namespace berth
