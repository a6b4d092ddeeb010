// Killing what is in a cgroup, execs' own sub-cgroups, OOM counts. Paths here are on cgroupfs only.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/keeper/state.h"

namespace berth::keeper {
namespace {

bool Join(char (&out)[512], const char* dir, const char* leaf, uint32_t number = 0) {
  const size_t a = strlen(dir), b = strlen(leaf);
  if (a + b + 14 > sizeof out) return false;
  memcpy(out, dir, a);
  out[a] = '/';
  memcpy(out + a + 1, leaf, b + 1);
  if (number != 0) {
    char digits[12];
    int n = 0;
    for (; number != 0; number /= 10) digits[n++] = static_cast<char>('0' + number % 10);
    char* p = out + a + 1 + b;
    while (n > 0) *p++ = digits[--n];
    *p = 0;
  }
  return true;
}

bool WriteAt(int dir, const char* leaf, const char* text) {
  const int fd = openat(dir, leaf, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t n = write(fd, text, strlen(text));
  close(fd);
  return n > 0;
}

// One pass over cgroup.procs, with SIGKILL or nothing (0); how many were there.
int SignalAll(int dir, int signal = SIGKILL) {
  const int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[2048];
  int count = 0, pid = 0;
  for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;) {
    for (ssize_t i = 0; i < n; ++i) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = pid * 10 + (text[i] - '0');
      } else {
        if (pid > 1) kill(pid, signal), ++count;
        pid = 0;
      }
    }
  }
  close(fd);
  return count;
}

// One that is within fork is not frozen before its child is here; one that sleeps uninterruptibly is not
// waited for.
void Freeze(int dir) {
  WriteAt(dir, "freezer.state", "FROZEN");
  for (int i = 0; i < 200; ++i) {
    char state[16] = {};
    const int fd = openat(dir, "freezer.state", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    const ssize_t n = read(fd, state, sizeof state - 1);
    close(fd);
    if (n < 6 || memcmp(state, "FROZEN", 6) == 0) return;
    sched_yield();
  }
}

// v2: cgroup.kill (5.14); not on an empty one, since a cgroup that was killed once kills whatever is cloned
// into it later (seen on 6.18: clone3 compares the kill counter of the parent's cgroup). v1: what is frozen does
// not fork; it dies when it is thawed.
void KillDirectory(const char* path, uint32_t flags) {
  const int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return;
  if ((flags & kCgroupV2) != 0 && SignalAll(dir, 0) == 0) {
    close(dir);
    return;
  }
  if ((flags & kCgroupV2) == 0 || !WriteAt(dir, "cgroup.kill", "1")) {
    const bool freezer = (flags & kCgroupFreezer) != 0;
    if (freezer) Freeze(dir);
    for (int round = 0; round < (freezer ? 1 : 8) && SignalAll(dir) > 0; ++round) continue;
    if (freezer) WriteAt(dir, "freezer.state", "THAWED");
  }
  close(dir);
}

const PlanCgroup* Find(const Plan& plan, uint32_t flags, uint32_t* index = nullptr) {
  const PlanCgroup* groups = PlanTable(plan, plan.cgroups);
  for (uint32_t i = 0; i < plan.cgroups.count; ++i) {
    if ((groups[i].flags & flags) == 0) continue;
    if (index != nullptr) *index = i;
    return &groups[i];
  }
  return nullptr;
}

bool ExecPath(const Plan& plan, uint32_t number, char (&path)[512]) {
  const PlanCgroup* parent = Find(plan, kCgroupExecParent);
  return parent != nullptr && number != 0 &&
         Join(path, PlanString(plan, parent->path), "exec-", number);
}

uint64_t NumberAfter(const char* text, const char* key) {
  const char* p = strstr(text, key);
  uint64_t value = 0;
  for (p = p ? p + strlen(key) : ""; *p >= '0' && *p <= '9'; ++p)
    value = value * 10 + static_cast<uint64_t>(*p - '0');
  return value;
}

}  // namespace

void KillContainerCgroup(const Plan& plan) {
  const PlanCgroup* group = Find(plan, kCgroupExecParent);
  if (group == nullptr) group = Find(plan, kCgroupV2 | kCgroupFreezer);
  if (group == nullptr) group = Find(plan, ~0u);
  if (group != nullptr) KillDirectory(PlanString(plan, group->path), group->flags);
}

int OpenExecCgroup(const Plan& plan, uint32_t number, bool make, uint32_t* index, bool* v2) {
  char path[512];
  if (!ExecPath(plan, number, path)) return -1;
  if (make && mkdir(path, 0755) != 0 && errno != EEXIST) return -1;
  *v2 = (Find(plan, kCgroupExecParent, index)->flags & kCgroupV2) != 0;
  return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void KillExecCgroup(const Plan& plan, uint32_t number) {
  char path[512];
  if (ExecPath(plan, number, path)) KillDirectory(path, Find(plan, kCgroupExecParent)->flags);
}

// Stays if a process that the exec left behind is in it; it goes with the container's then.
void RemoveExecCgroup(const Plan& plan, uint32_t number) {
  char path[512];
  if (ExecPath(plan, number, path)) rmdir(path);
}

// The cgroup is as old as the container, so any count is the container's. v2: memory.events,
// v1: memory.oom_control (4.13).
bool OomKilled(const Plan& plan) {
  const PlanCgroup* group = Find(plan, kCgroupMemory);
  char path[512];
  if (group == nullptr) return false;
  const bool v2 = (group->flags & kCgroupV2) != 0;
  if (!Join(path, PlanString(plan, group->path), v2 ? "memory.events" : "memory.oom_control"))
    return false;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[512];
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  return NumberAfter(text, "\noom_kill ") > 0;
}

}  // namespace berth::keeper
