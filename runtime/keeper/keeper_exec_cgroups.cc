// What the next exec of a container needs of its cgroups again: on v1 the open join file of each hierarchy, and
// an empty sub-cgroup. Opening and making them is a fifth of what an exec of /bin/true costs.
//
// None of it outlives a re-exec: the files are close-on-exec, and a sub-cgroup that is forgotten goes with the
// container's.
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

constexpr uint32_t kMaxKept = 16;

struct Kept {
  uint64_t key;  // of the plan's cgroups; 0: nothing is kept
  uint32_t count;
  int files[kMaxKept];
  uint32_t spare;  // number of an empty sub-cgroup; 0: none
};

Kept kept[kMaxContainers];

// FNV-1a over paths and flags. Plans of one container name the same cgroups, unless a newer daemon orders or
// mounts them differently.
uint64_t Key(const Plan& plan) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&hash](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3u; };
  for (uint32_t i = 0; i < plan.cgroups.count; ++i) {
    const PlanCgroup& group = PlanTable(plan, plan.cgroups)[i];
    for (const char* p = PlanString(plan, group.path); *p != 0; ++p) add(static_cast<uint8_t>(*p));
    add(static_cast<uint8_t>(group.flags));
  }
  return hash | 1;
}

int OpenTasks(const PlanCgroup& group, const char* directory) {
  constexpr char kLeaf[] = "/tasks";
  char path[512];
  const size_t length = strlen(directory);
  if ((group.flags & kCgroupV2) != 0 || length + sizeof kLeaf > sizeof path) return -1;
  strcpy(path, directory);
  strcpy(path + length, kLeaf);
  return open(path, O_WRONLY | O_CLOEXEC);
}

bool IsEmpty(int directory) {
  const int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char byte;
  const bool empty = read(fd, &byte, 1) == 0;
  close(fd);
  return empty;
}

Kept& KeptFor(const Container& c, const Plan& plan) {
  Kept& k = kept[Slot(c)];
  const uint64_t key = Key(plan);
  if (k.key == key) return k;
  DropExecCgroups(c);
  k.key = key;
  k.count = plan.cgroups.count < kMaxKept ? plan.cgroups.count : 0;
  for (uint32_t i = 0; i < k.count; ++i) {
    const PlanCgroup& group = PlanTable(plan, plan.cgroups)[i];
    k.files[i] = OpenTasks(group, PlanString(plan, group.path));
  }
  return k;
}

}  // namespace

ExecCgroup TakeExecCgroup(const Container& c, const Plan& plan) {
  Kept& k = KeptFor(c, plan);
  ExecCgroup taken;
  taken.files = k.count > 0 ? k.files : nullptr;
  if (k.spare != 0) {
    taken.number = k.spare;
    k.spare = 0;
    taken.directory = OpenExecCgroup(plan, taken.number, false, &taken.index, &taken.v2);
    if (taken.directory >= 0 && IsEmpty(taken.directory)) return taken;
    Close(taken.directory);  // it stays with what an exec left behind in it
  }
  taken.number = ++state.exec_number;
  taken.directory = OpenExecCgroup(plan, taken.number, true, &taken.index, &taken.v2);
  if (taken.directory < 0) taken.number = 0;
  return taken;
}

bool KeepExecCgroup(const Container& c, uint32_t number) {
  Kept& k = kept[Slot(c)];
  if (c.phase != Phase::kRunning || k.key == 0 || k.spare != 0) return false;
  k.spare = number;
  return true;
}

void DropExecCgroups(const Container& c) {
  Kept& k = kept[Slot(c)];
  for (uint32_t i = 0; i < k.count; ++i) Close(k.files[i]);
  k = {};
}

}  // namespace berth::keeper
