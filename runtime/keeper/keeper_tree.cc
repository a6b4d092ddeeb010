// Killing a process with what descends from it, where no cgroup of its own tells what that is.
//
// An external runtime puts an exec's process straight into the container's cgroup. What belongs to it is found by
// parents and by sessions, which such a process leads: only a daemon that has left both is missed, and ends with
// the container.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

constexpr uint32_t kMostPids = 1u << 22;  // PID_MAX_LIMIT (include/linux/threads.h)
constexpr int kRounds = 32;

// By pid; there only while it is needed.
uint8_t* found = nullptr;
constexpr size_t kFoundSize = kMostPids / 8;
bool IsFound(uint32_t pid) { return pid < kMostPids && (found[pid / 8] >> pid % 8 & 1) != 0; }

void Mark(uint32_t pid) {
  if (pid > 1 && pid < kMostPids) found[pid / 8] |= static_cast<uint8_t>(1 << pid % 8);
}

struct Process {
  uint32_t parent;
  uint32_t session;
  bool ended;
};

uint32_t Number(const char*& p) {
  uint32_t value = 0;
  while (*p == ' ') ++p;
  for (; *p >= '0' && *p <= '9'; ++p) value = value * 10 + static_cast<uint32_t>(*p - '0');
  return value;
}

// proc_pid_stat(5): pid (name) state ppid pgrp session
bool Read(int proc, const char* name, Process* process) {
  char path[32], text[512];
  if (strlen(name) > 10) return false;
  Append(Append(path, name), "/stat");
  const int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  const char* p = strrchr(text, ')');
  if (p == nullptr || strlen(p) < 8) return false;
  process->ended = p[2] == 'Z' || p[2] == 'X';
  p += 3;
  process->parent = Number(p);
  Number(p);
  process->session = Number(p);
  return true;
}

// How many living ones were killed or seen for the first time.
int KillRound(int proc, uint32_t root) {
  struct Entry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
  };
  alignas(8) char buffer[8192];
  int count = 0;
  lseek(proc, 0, SEEK_SET);
  for (long n; (n = syscall(__NR_getdents64, proc, buffer, sizeof buffer)) > 0;) {
    for (long at = 0; at < n;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      const char* p = entry->name;
      const uint32_t pid = Number(p);
      Process process;
      if (pid < 2 || pid == root || *p != 0 || !Read(proc, entry->name, &process)) continue;
      if (!IsFound(pid) && !IsFound(process.parent) && !IsFound(process.session)) continue;
      Mark(pid);
      // Its leader may have been the runtime itself (crun), which is gone. The driver has left our own.
      if (process.session != static_cast<uint32_t>(getsid(0))) Mark(process.session);
      if (process.ended) continue;
      kill(static_cast<int>(pid), SIGKILL);
      ++count;
    }
  }
  return count;
}

}  // namespace

void KillTree(int root) {
  const int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  void* map = mmap(nullptr, kFoundSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (proc >= 0 && map != MAP_FAILED && root > 1 && static_cast<uint32_t>(root) < kMostPids) {
    found = static_cast<uint8_t*>(map);
    Mark(static_cast<uint32_t>(root));
    // Again until nothing new is born. One that sleeps uninterruptibly goes on being counted.
    for (int i = 0; i < kRounds && KillRound(proc, static_cast<uint32_t>(root)) > 0; ++i) continue;
  }
  if (map != MAP_FAILED) munmap(map, kFoundSize);
  if (proc >= 0) close(proc);
  kill(root, SIGKILL);
}

}  // namespace berth::keeper
