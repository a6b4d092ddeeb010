#include "tests/fuzz/plan_walk.h"

#include <cstring>
#include <vector>

#include "tests/fuzz/filter_check.h"
#include "tests/fuzz/fuzz.h"

namespace berth {
namespace {

volatile size_t sink;

void ReadText(const Plan& plan, Str s) {
  const char* text = PlanString(plan, s);
  if (text != nullptr) sink = sink + strlen(text);
}

// An absolute path that is there.
void ReadPath(const Plan& plan, Str s) {
  FUZZ_CHECK(s != 0);
  FUZZ_CHECK(PlanString(plan, s)[0] == '/');
  ReadText(plan, s);
}

template <typename T, typename Function>
void Each(const Plan& plan, Table<T> table, Function function) {
  const T* entries = PlanTable(plan, table);
  for (uint32_t i = 0; i < table.count; ++i) function(entries[i]);
}

template <typename T>
void ReadNumbers(const Plan& plan, Table<T> table) {
  Each(plan, table, [](const T& entry) {
    unsigned char bytes[sizeof entry];
    memcpy(bytes, &entry, sizeof entry);
    for (const unsigned char byte : bytes) sink = sink + byte;
  });
}

void WalkRootfs(const Plan& plan) {
  const auto path = [&](Str s) { ReadPath(plan, s); };
  Each(plan, plan.rootfs.lowers, path);
  if (plan.rootfs.upper != 0) path(plan.rootfs.upper);
  if (plan.rootfs.work != 0) path(plan.rootfs.work);
  ReadText(plan, plan.rootfs.options);
}

void WalkFiles(const Plan& plan) {
  const auto path = [&](Str s) { ReadPath(plan, s); };
  Each(plan, plan.mounts, [&](const PlanMount& m) {
    path(m.target);
    ReadText(plan, m.source);
    ReadText(plan, m.options);
    ReadText(plan, m.sub_path);
    Each(plan, m.lowers, path);
    FUZZ_CHECK(m.id_map <= plan.id_maps.count);
    FUZZ_CHECK(m.kind <= MountKind::kVolume);
  });
  Each(plan, plan.devices, [&](const PlanDevice& d) { path(d.path); });
  Each(plan, plan.symlinks, [&](const PlanSymlink& s) {
    FUZZ_CHECK(s.target != 0);
    ReadText(plan, s.target);
    path(s.path);
  });
  Each(plan, plan.masked_paths, path);
  Each(plan, plan.readonly_paths, path);
  Each(plan, plan.sysctls, [&](const PlanSysctl& s) {
    FUZZ_CHECK(s.path != 0 && s.value != 0 && PlanString(plan, s.path)[0] != '/');
    ReadText(plan, s.path);
    ReadText(plan, s.value);
  });
}

void WalkProcess(const Plan& plan) {
  FUZZ_CHECK(plan.argv.count > 0);
  const auto text = [&](Str s) {
    FUZZ_CHECK(s != 0);
    ReadText(plan, s);
  };
  Each(plan, plan.argv, text);
  Each(plan, plan.envp, text);
  ReadPath(plan, plan.cwd);
  for (const Str s : {plan.user.user, plan.user.group, plan.hostname, plan.domainname}) {
    ReadText(plan, s);
  }
  ReadNumbers(plan, plan.user.groups);
  ReadNumbers(plan, plan.rlimits);
  ReadNumbers(plan, plan.seccomp);
  ReadNumbers(plan, plan.uid_maps);
  ReadNumbers(plan, plan.gid_maps);
  FUZZ_CHECK((plan.uid_maps.count == 0) == (plan.gid_maps.count == 0));
  Each(plan, plan.id_maps, [&](const PlanMountIdMap& m) {
    FUZZ_CHECK(m.uids.count > 0 && m.gids.count > 0);
    ReadNumbers(plan, m.uids);
    ReadNumbers(plan, m.gids);
  });
}

}  // namespace

void WalkPlan(const Plan& plan) {
  FUZZ_CHECK(plan.pid_mode <= PidMode::kTarget);
  FUZZ_CHECK(plan.rootfs.kind <= RootfsKind::kBind);
  FUZZ_CHECK(plan.pid_mode != PidMode::kTarget || plan.pid_target != 0);
  ReadText(plan, plan.pid_target);
  Each(plan, plan.cgroups, [&](const PlanCgroup& c) { ReadPath(plan, c.path); });
  WalkRootfs(plan);
  WalkFiles(plan);
  WalkProcess(plan);
}

void CheckCompiledPlan(absl::string_view bytes) {
  FUZZ_CHECK(bytes.size() % sizeof(uint64_t) == 0);
  std::vector<uint64_t> copy(bytes.size() / sizeof(uint64_t));
  memcpy(copy.data(), bytes.data(), bytes.size());
  FUZZ_CHECK(ValidatePlan(copy.data(), bytes.size()) == nullptr);
  const Plan& plan = *reinterpret_cast<const Plan*>(copy.data());
  WalkPlan(plan);
  if (plan.seccomp.count == 0) return;
  std::vector<sock_filter> program(plan.seccomp.count);
  memcpy(program.data(), PlanTable(plan, plan.seccomp), program.size() * sizeof program[0]);
  FUZZ_CHECK(FilterFault(program) == nullptr);
}

}  // namespace berth
