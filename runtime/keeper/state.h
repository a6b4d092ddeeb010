// All that a keeper knows, in one trivially copyable struct: a re-exec writes it to a memfd.
//
// A container: kFree → kCreating → kCreated → kStarting → kRunning → kExited → kFree.
// A gated process that dies frees its slot: CREATED stays CREATED for the daemon, which makes it again.
#ifndef BERTH_RUNTIME_KEEPER_STATE_H_
#define BERTH_RUNTIME_KEEPER_STATE_H_

#include <stdint.h>

#include "runtime/keeper/protocol.h"

namespace berth::keeper {

inline constexpr int kMaxContainers = 256;
inline constexpr int kMaxExecs = 512;
inline constexpr int kMaxControls = 8;
inline constexpr uint32_t kCarryMax = 16384;  // CRI: a longer line is split there

enum class Phase : uint32_t { kFree = 0, kCreating, kCreated, kStarting, kRunning, kExited };

// What has come of a line whose end has not.
struct Carry {
  char* data;  // a mapping of kCarryMax bytes while size > 0
  uint32_t size;
};

struct Container {
  Phase phase;
  int32_t pid;
  int pidfd;
  int status;    // executor's socket: reports, gate
  int reply;     // of the pending Create, Start or Forget
  int plan;      // memfd
  int log;
  int out;       // read end, or the terminal's master
  int err;
  int in;        // write end that is held open
  uint32_t plan_flags;
  PidMode pid_mode;
  int32_t start_error;   // a step failed with
  Failure failure;
  bool forgetting;
  int64_t started_ns;
  int32_t leader;        // a hop's first process while it lives: the end waits for what it says
  int32_t over;          // the main process has ended: 1 + its wait status
  Carry carry[2];
  char id[kKeeperIdSize];
};

struct Exec {
  int32_t pid;  // 0: free
  int pidfd;
  int status;
  int reply;
  int plan;
  int32_t container;     // slot
  int32_t terminal;      // master on its way to the daemon
  uint32_t number;       // names its sub-cgroup; 0: none
  bool expired;
  bool failed;
  bool hop;
  int32_t leader;        // as a container's
  int32_t over;
  Failure failure;
  int64_t deadline_ns;
};

struct State {
  uint32_t magic;
  uint32_t version;
  uint32_t size;
  uint32_t flags;        // SetupFlag
  int state_dir;
  int mount_namespace;
  int own_pidns;
  int pod_init_pidfd;
  int32_t pod_init;
  int listener;
  int controls[kMaxControls];
  uint64_t bounding;
  uint64_t nofile_soft;
  uint32_t container_top;  // slots in use are below
  uint32_t exec_top;
  uint32_t exec_number;
  Container containers[kMaxContainers];
  Exec execs[kMaxExecs];
};

extern State state;

int64_t RealtimeNs();
int64_t MonotonicNs();

// keeper_setup.cc: carries KeeperParameters out. False with *failure set.
bool SetUp(const char* parameters, Failure* failure);

// keeper_log.cc. CopyOutput reads once from `stream` (0: stdout, 1: stderr), at most `limit` bytes, and
// writes what is complete to the log; returns bytes read, 0 at the end, -1 if nothing is there now.
long CopyOutput(Container& c, int stream, uint32_t limit);
// Reads what is in the pipes now, writes unfinished lines as partial ones, gives buffers back.
void DrainOutput(Container& c);

// keeper_cgroup.cc. Kills all of a container's cgroup, or of an exec's sub-cgroup.
void KillContainerCgroup(const Plan& plan);
int OpenExecCgroup(const Plan& plan, uint32_t number, uint32_t* index, bool* v2);  // -1: none
void KillExecCgroup(const Plan& plan, uint32_t number);
void RemoveExecCgroup(const Plan& plan, uint32_t number);
bool OomKilled(const Plan& plan);

// A validated, read-only mapping of a sealed memfd; null with errno.
const Plan* MapPlan(int fd);
void UnmapPlan(const Plan* plan);

}  // namespace berth::keeper

#endif  // BERTH_RUNTIME_KEEPER_STATE_H_
