#include "runtime/plan_builder.h"

#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace berth {
namespace {

class Writer {
 public:
  Writer() : bytes_(sizeof(Plan), '\0') {}

  // Absent if empty.
  Str Add(const std::string& s) { return s.empty() ? 0 : AddEvenEmpty(s); }
  Str AddEvenEmpty(const std::string& s) {
    if (s.find('\0') != std::string::npos) has_nul_ = true;
    const Str offset = bytes_.size();
    bytes_.append(s.data(), s.size() + 1);
    return offset;
  }

  template <typename T>
  Table<T> Add(const std::vector<T>& entries) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (entries.empty()) return {0, 0};
    Align();
    Table<T> table{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(entries.size())};
    bytes_.append(reinterpret_cast<const char*>(entries.data()), entries.size() * sizeof(T));
    return table;
  }
  Table<Str> AddStrings(const std::vector<std::string>& strings) {
    std::vector<Str> offsets;
    offsets.reserve(strings.size());
    for (const std::string& s : strings) offsets.push_back(AddEvenEmpty(s));
    return Add(offsets);
  }
  template <typename From, typename Convert>
  auto AddEach(const std::vector<From>& from, Convert convert) {
    std::vector<decltype(convert(from[0]))> entries;
    entries.reserve(from.size());
    for (const From& f : from) entries.push_back(convert(f));
    return Add(entries);
  }

  bool has_nul() const { return has_nul_; }
  std::string Finish(Plan plan) {
    Align();
    plan.size = bytes_.size();
    std::memcpy(bytes_.data(), &plan, sizeof plan);
    return std::move(bytes_);
  }

 private:
  void Align() { bytes_.resize((bytes_.size() + 7) & ~size_t{7}, '\0'); }

  std::string bytes_;
  bool has_nul_ = false;
};

}  // namespace

absl::StatusOr<std::string> BuildPlan(const PlanContents& c) {
  Writer w;
  Plan plan{};
  plan.magic = kPlanMagic;
  plan.version = kPlanVersion;
  plan.flags = c.flags;
  plan.pid_mode = c.pid_mode;
  plan.pid_target = w.Add(c.pid_target);
  plan.cgroups =
      w.AddEach(c.cgroups, [&](const auto& g) { return PlanCgroup{w.Add(g.path), g.flags}; });

  plan.rootfs = {.kind = c.rootfs_kind,
                 .propagation = c.rootfs_propagation,
                 .upper = w.Add(c.upper),
                 .work = w.Add(c.work),
                 .lowers = w.AddStrings(c.lowers),
                 .options = w.Add(c.overlay_options)};
  plan.mounts = w.AddEach(c.mounts, [&](const auto& m) {
    return PlanMount{m.kind,
                     m.flags,
                     w.Add(m.source),
                     w.Add(m.target),
                     w.Add(m.options),
                     m.propagation,
                     m.attr_set,
                     m.attr_clear,
                     m.id_map,
                     w.Add(m.sub_path),
                     w.AddStrings(m.lowers)};
  });
  plan.devices = w.AddEach(c.devices, [&](const auto& d) {
    return PlanDevice{w.Add(d.path), d.mode, d.major, d.minor, d.uid, d.gid};
  });
  plan.symlinks = w.AddEach(
      c.symlinks, [&](const auto& s) { return PlanSymlink{w.Add(s.target), w.Add(s.path)}; });
  plan.masked_paths = w.AddStrings(c.masked_paths);
  plan.readonly_paths = w.AddStrings(c.readonly_paths);
  plan.sysctls = w.AddEach(
      c.sysctls, [&](const auto& s) { return PlanSysctl{w.Add(s.path), w.AddEvenEmpty(s.value)}; });
  plan.rlimits = w.AddEach(
      c.rlimits, [&](const auto& r) { return PlanRlimit{r.resource, 0, r.soft, r.hard}; });

  plan.capabilities = c.capabilities;
  plan.seccomp = w.Add(c.seccomp);
  plan.seccomp_flags = c.seccomp_flags;
  plan.oom_score_adj = c.oom_score_adj;
  plan.user = {.flags = c.user_flags,
               .uid = c.uid,
               .gid = c.gid,
               .user = w.Add(c.user),
               .group = w.Add(c.group),
               .umask = c.umask,
               .groups = w.Add(c.groups)};
  plan.cwd = w.Add(c.cwd);
  plan.hostname = w.Add(c.hostname);
  plan.domainname = w.Add(c.domainname);
  plan.console_rows = c.console_rows;
  plan.console_columns = c.console_columns;
  plan.apparmor = w.Add(c.apparmor);
  plan.argv = w.AddStrings(c.argv);
  plan.envp = w.AddStrings(c.envp);
  plan.uid_maps = w.Add(c.uid_maps);
  plan.gid_maps = w.Add(c.gid_maps);
  plan.id_maps = w.AddEach(
      c.id_maps, [&](const auto& m) { return PlanMountIdMap{w.Add(m.uids), w.Add(m.gids)}; });

  if (w.has_nul()) return absl::InvalidArgumentError("plan: a string contains a NUL byte");
  std::string bytes = w.Finish(plan);
  if (const char* field = ValidatePlan(bytes.data(), bytes.size())) {
    return absl::InvalidArgumentError(absl::StrCat("plan: invalid ", field));
  }
  return bytes;
}

}  // namespace berth
