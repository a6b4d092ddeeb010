// The tables of containers and execs, and the mapped plans that they hold.
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/keeper/keeper.h"

namespace berth::keeper {

Container* FindContainer(const char* id) {
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase != Phase::kFree && strcmp(c.id, id) == 0) return &c;
  }
  return nullptr;
}

Container* NewContainer() {
  for (uint32_t i = 0; i < kMaxContainers; ++i) {
    Container& c = state.containers[i];
    if (c.phase != Phase::kFree || LogIsHeld(i)) continue;
    if (i >= state.container_top) state.container_top = i + 1;
    memset(&c, 0, sizeof c);
    c.pidfd = c.status = c.reply = c.plan = c.log = c.out = c.err = c.in = -1;
    return &c;
  }
  return nullptr;
}

void CloseStreams(Container& c) {
  if (c.err == c.out) c.err = -1;
  Close(c.out);
  Close(c.err);
  Close(c.in);
}

void FreeContainer(Container& c) {
  if (c.log >= 0) FlushLog(c);
  CloseStreams(c);
  int* const each1[] = {&c.pidfd, &c.status, &c.reply, &c.plan, &c.log};
  for (int* fd : each1) Close(*fd);
  DropExecCgroups(c);
  c.phase = Phase::kFree;
  ReleaseWriters();
  while (state.container_top > 0 && state.containers[state.container_top - 1].phase == Phase::kFree)
    --state.container_top;
}

Exec* NewExec() {
  for (uint32_t i = 0; i < kMaxExecs; ++i) {
    Exec& e = state.execs[i];
    if (e.pid != 0) continue;
    if (i >= state.exec_top) state.exec_top = i + 1;
    memset(&e, 0, sizeof e);
    e.pidfd = e.status = e.reply = e.plan = e.terminal = -1;
    return &e;
  }
  return nullptr;
}

void FreeExec(Exec& e) {
  int* const each2[] = {&e.pidfd, &e.status, &e.reply, &e.plan, &e.terminal};
  for (int* fd : each2) Close(*fd);
  e.pid = 0;
  while (state.exec_top > 0 && state.execs[state.exec_top - 1].pid == 0) --state.exec_top;
}

// Sealed, so that nothing changes between the check and the use.
const Plan* MapPlan(int fd) {
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
  struct stat st;
  if ((fcntl(fd, F_GET_SEALS) & kSeals) != kSeals || fstat(fd, &st) != 0) return nullptr;
  if (st.st_size < static_cast<off_t>(sizeof(Plan)) || st.st_size > kMaxPlanSize) return nullptr;
  void* map =
      mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (map == MAP_FAILED) return nullptr;
  if (ValidatePlan(map, static_cast<size_t>(st.st_size)) == nullptr)
    return static_cast<const Plan*>(map);
  munmap(map, static_cast<size_t>(st.st_size));
  return nullptr;
}

void UnmapPlan(const Plan* plan) {
  if (plan != nullptr) munmap(const_cast<Plan*>(plan), plan->size);
}

}  // namespace berth::keeper
