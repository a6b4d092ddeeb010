#include "runtime/plan.h"

#include <string.h>

namespace berth {
namespace {

class Validator {
 public:
  Validator(const char* base, uint32_t size) : base_(base), size_(size) {}

  bool Optional(Str s) const {
    if (s == 0) return true;
    return s >= sizeof(Plan) && s < size_ && memchr(base_ + s, 0, size_ - s) != nullptr;
  }
  bool Required(Str s) const { return s != 0 && Optional(s) && base_[s] != 0; }
  bool Path(Str s) const { return Required(s) && base_[s] == '/'; }

  template <typename T>
  bool Bounds(Table<T> t, uint32_t max) const {
    if (t.count == 0) return true;
    if (t.count > max || t.offset < sizeof(Plan) || t.offset % 8 != 0 || t.offset > size_)
      return false;
    return static_cast<uint64_t>(t.count) * sizeof(T) <= size_ - t.offset;
  }
  template <typename T, typename Check>
  bool Each(Table<T> t, uint32_t max, Check check) const {
    if (!Bounds(t, max)) return false;
    const T* entry = reinterpret_cast<const T*>(base_ + t.offset);
    for (uint32_t i = 0; i < t.count; ++i) {
      if (!check(entry[i])) return false;
    }
    return true;
  }

 private:
  const char* base_;
  uint32_t size_;
};

bool RelativeKey(const char* path) {  // no leading slash, no .. component
  if (path[0] == '/') return false;
  for (const char* p = path; *p;) {
    size_t n = 0;
    while (p[n] != 0 && p[n] != '/') ++n;
    if (n == 2 && p[0] == '.' && p[1] == '.') return false;
    p += n;
    while (*p == '/') ++p;
  }
  return true;
}

// Ids don't wrap, nothing is mapped twice (a kernel refuses that, too), and the text that the kernel takes
// stays below a page.
bool IdMapIsValid(const Validator& v, const char* base, Table<PlanIdMap> maps) {
  constexpr uint64_t kLine = 33;  // three numbers of ten digits, two spaces, a newline
  const auto overlap = [](uint64_t a, uint64_t b, uint64_t a_count, uint64_t b_count) {
    return a < b + b_count && b < a + a_count;
  };
  if (maps.count * kLine >= 4096) return false;
  const PlanIdMap* all = reinterpret_cast<const PlanIdMap*>(base + maps.offset);
  uint32_t index = 0;
  return v.Each(maps, kMaxPlanIdMaps, [&](const PlanIdMap& m) {
    // 0xffffffff is no id.
    if (m.count == 0 || uint64_t{m.inside} + m.count > 0xffffffffu ||
        uint64_t{m.outside} + m.count > 0xffffffffu)
      return false;
    for (uint32_t i = 0; i < index; ++i) {
      if (overlap(all[i].inside, m.inside, all[i].count, m.count) ||
          overlap(all[i].outside, m.outside, all[i].count, m.count))
        return false;
    }
    ++index;
    return true;
  });
}

const char* CheckIdMaps(const Validator& v, const Plan& plan, const char* base) {
  const auto maps_root = [&](Table<PlanIdMap> maps) {
    const PlanIdMap* all = reinterpret_cast<const PlanIdMap*>(base + maps.offset);
    for (uint32_t i = 0; i < maps.count; ++i) {
      if (all[i].inside == 0) return true;
    }
    return false;
  };
  if ((plan.uid_maps.count == 0) != (plan.gid_maps.count == 0)) return "gid_maps";
  if (!IdMapIsValid(v, base, plan.uid_maps)) return "uid_maps";
  if (!IdMapIsValid(v, base, plan.gid_maps)) return "gid_maps";
  if (plan.uid_maps.count != 0 && !maps_root(plan.uid_maps)) return "uid_maps";
  if (plan.gid_maps.count != 0 && !maps_root(plan.gid_maps)) return "gid_maps";
  if (!v.Each(plan.id_maps, kMaxPlanMounts, [&](const PlanMountIdMap& m) {
        return m.uids.count != 0 && m.gids.count != 0 && IdMapIsValid(v, base, m.uids) &&
               IdMapIsValid(v, base, m.gids);
      }))
    return "id_maps";
  return nullptr;
}

bool MountIsValid(const Validator& v, const Plan& plan, const PlanMount& m) {
  if (static_cast<uint32_t>(m.kind) > static_cast<uint32_t>(MountKind::kVolume)) return false;
  if (m.kind != MountKind::kBind && m.id_map != 0) return false;
  if (m.id_map > plan.id_maps.count) return false;
  if (m.kind != MountKind::kLayers) {
    if (m.lowers.count != 0 || m.sub_path != 0) return false;
  } else if (m.lowers.count < 2 || !v.Optional(m.sub_path) ||
             !v.Each(m.lowers, kMaxPlanLowers, [&](Str s) { return v.Path(s); })) {
    return false;
  }
  if (!v.Path(m.target) || !v.Optional(m.options)) return false;
  if (m.kind == MountKind::kBind) return v.Path(m.source);
  if (m.kind == MountKind::kOther) return v.Required(m.source);
  return v.Optional(m.source);
}

const char* CheckRootfs(const Validator& v, const Plan& plan) {
  const PlanRootfs& r = plan.rootfs;
  const bool exec = (plan.flags & kPlanExec) != 0;
  if (exec != (r.kind == RootfsKind::kNone)) return "rootfs.kind";
  if (static_cast<uint32_t>(r.kind) > static_cast<uint32_t>(RootfsKind::kBind))
    return "rootfs.kind";
  if (!v.Each(r.lowers, kMaxPlanLowers, [&](Str s) { return v.Path(s); })) return "rootfs.lowers";
  if (!exec && r.lowers.count == 0) return "rootfs.lowers";
  if (r.upper != 0 && !v.Path(r.upper)) return "rootfs.upper";
  if (r.work != 0 && !v.Path(r.work)) return "rootfs.work";
  if ((r.upper == 0) != (r.work == 0)) return "rootfs.work";
  if (!v.Optional(r.options)) return "rootfs.options";
  return nullptr;
}

}  // namespace

const char* ValidatePlan(const void* data, size_t size) {
  if (size < sizeof(Plan) || size > kMaxPlanSize || size % 8 != 0) return "size";
  const char* base = static_cast<const char*>(data);
  const Plan& plan = *static_cast<const Plan*>(data);
  if (plan.magic != kPlanMagic) return "magic";
  if (plan.version != kPlanVersion) return "version";
  if (plan.size != size) return "size";
  const Validator v(base, plan.size);

  if (static_cast<uint32_t>(plan.pid_mode) > static_cast<uint32_t>(PidMode::kTarget))
    return "pid_mode";
  if (!v.Optional(plan.pid_target)) return "pid_target";
  if (plan.pid_mode == PidMode::kTarget && !v.Required(plan.pid_target)) return "pid_target";
  if (!v.Each(plan.cgroups, 64, [&](const PlanCgroup& c) { return v.Path(c.path); }))
    return "cgroups";
  if (const char* field = CheckRootfs(v, plan)) return field;
  if (!v.Each(plan.mounts, kMaxPlanMounts,
              [&](const PlanMount& m) { return MountIsValid(v, plan, m); }))
    return "mounts";
  uint64_t layers = plan.rootfs.lowers.count;
  for (uint32_t i = 0; i < plan.mounts.count; ++i)
    layers += PlanTable(plan, plan.mounts)[i].lowers.count;
  if (layers > kMaxPlanLayers) return "mounts";
  if (!v.Each(plan.devices, 4096, [&](const PlanDevice& d) { return v.Path(d.path); }))
    return "devices";
  if (!v.Each(plan.symlinks, 4096,
              [&](const PlanSymlink& s) { return v.Required(s.target) && v.Path(s.path); }))
    return "symlinks";
  if (!v.Each(plan.masked_paths, 4096, [&](Str s) { return v.Path(s); })) return "masked_paths";
  if (!v.Each(plan.readonly_paths, 4096, [&](Str s) { return v.Path(s); })) return "readonly_paths";
  if (!v.Each(plan.sysctls, 4096, [&](const PlanSysctl& s) {
        return v.Required(s.path) && RelativeKey(base + s.path) && v.Optional(s.value) &&
               s.value != 0;
      }))
    return "sysctls";
  if (!v.Bounds(plan.rlimits, 64)) return "rlimits";
  if (!v.Bounds(plan.seccomp, kMaxPlanFilter)) return "seccomp";
  if (!v.Optional(plan.user.user)) return "user.user";
  if (!v.Optional(plan.user.group)) return "user.group";
  if (!v.Bounds(plan.user.groups, kMaxPlanGroups)) return "user.groups";
  if (!v.Path(plan.cwd)) return "cwd";
  if (!v.Optional(plan.hostname)) return "hostname";
  if (!v.Optional(plan.domainname)) return "domainname";
  if (!v.Optional(plan.apparmor)) return "apparmor";
  if (plan.argv.count == 0) return "argv";
  if (!v.Each(plan.argv, kMaxPlanStrings, [&](Str s) { return s != 0 && v.Optional(s); }))
    return "argv";
  if (!v.Required(PlanTable(plan, plan.argv)[0])) return "argv";
  if (!v.Each(plan.envp, kMaxPlanStrings, [&](Str s) { return v.Required(s); })) return "envp";
  return CheckIdMaps(v, plan, base);
}

}  // namespace berth
