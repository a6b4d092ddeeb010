// All that a keeper knows, in one trivially copyable struct: a re-exec writes it to a memfd.
//
// A container: kFree → kCreating → kCreated → kStarting → kRunning → kFlushing → kExited → kFree.
// kFlushing: its process has ended, and the writer was asked for the rest of its output.
// A gated process that dies frees its slot: CREATED stays CREATED for the daemon, which makes it again.
#ifndef BERTH_RUNTIME_KEEPER_STATE_H_
#define BERTH_RUNTIME_KEEPER_STATE_H_

#include <stdint.h>

#include "runtime/keeper/protocol.h"

namespace berth::keeper {

inline constexpr int kMaxContainers = 256;
inline constexpr int kMaxExecs = 512;
inline constexpr int kMaxControls = 8;
enum class Phase : uint32_t {
  kFree = 0,
  kCreating,
  kCreated,
  kStarting,
  kRunning,
  kFlushing,
  kExited
};

struct Container {
  Phase phase;
  int32_t pid;
  int pidfd;
  int status;  // executor's socket: reports, gate
  int reply;   // of the pending Create, Start or Forget
  int plan;    // memfd
  int log;     // O_PATH, for another writer if this one dies; -1: output is dropped
  int out;     // read end, or the terminal's master; the writer has a copy
  int err;
  int in;  // write end that is held open
  uint32_t plan_flags;
  PidMode pid_mode;
  int32_t start_error;  // a step failed with
  Failure failure;
  bool forgetting;
  int64_t started_ns;
  int32_t leader;   // a hop's first process while it lives: the end waits for what it says
  int32_t over;     // the main process has ended: 1 + its wait status
  uint32_t serial;  // tells the writer's answers apart
  bool log_lost;    // a writer died with some of the output
  int64_t flush_deadline_ns;
  KeeperExit exit;  // kFlushing: the record to be
  char id[kKeeperIdSize];
};

struct Exec {
  int32_t pid;  // 0: free
  int pidfd;
  int status;
  int reply;
  int plan;
  int32_t container;  // slot
  int32_t terminal;   // master on its way to the daemon
  uint32_t number;    // names its sub-cgroup; 0: none
  bool expired;
  bool failed;
  bool hop;
  int32_t leader;  // as a container's
  int32_t over;
  Failure failure;
  int64_t deadline_ns;
};

struct State {
  uint32_t magic;
  uint32_t version;
  uint32_t size;
  uint32_t flags;  // SetupFlag
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
  int writer_shared;  // memfd of a WriterShared; -1 before the first writer
  int writer;         // socket of the log writer; -1: there is none
  int32_t writer_pid;
  uint32_t writers;  // how many there have been
  uint32_t serial;
  int user_namespace;  // the pod's; -1: the host's
  Container containers[kMaxContainers];
  Exec execs[kMaxExecs];
};

extern State state;

int64_t RealtimeNs();
int64_t MonotonicNs();

// keeper_setup.cc: carries KeeperParameters out. False with *failure set.
bool SetUp(const char* parameters, Failure* failure);

// keeper_writer.cc: the process that writes containers' logs, so that a disk that stalls stalls neither
// exits, execs nor answers. It is forked at the first start with a log, gets the read ends of the pipes, and
// ends with the keeper. Both sides are of one program or its predecessor: the layout below stays.
enum class WriterVerb : uint32_t {
  kAdd = 1,  // descriptors: log, stdout, and stderr if there is one
  kReopen,   // descriptors: log
  kFlush,    // write what is in the pipes now and forget the slot
  kFlushed,  // the writer's answer
};
enum WriterFlag : uint32_t {
  kWriterLogIsPath = 1u << 0,  // kAdd: the log is O_PATH
  kWriterLost = 1u << 1,       // kFlushed: a write failed, some output is not in the log
};
struct WriterMessage {
  WriterVerb verb;
  uint32_t slot;
  uint32_t serial;
  uint32_t flags;
};
// In a shared page, by slot, so that an exit needs no answer when all has been written. The writer sets
// `busy` before it reads a pipe and clears it when everything that it has read is in the log: who finds the
// pipes empty first and `busy` clear then, knows that the log is complete.
struct WriterShared {
  uint8_t busy[kMaxContainers];
  uint8_t lost[kMaxContainers];
};
[[noreturn]] void RunWriter(int socket, WriterShared* shared);
bool SendToWriter(int socket, const WriterMessage& message, const int* fds,
                  int count);  // never waits
int ReceiveForWriter(int socket, WriterMessage* message, int (&fds)[3],
                     int flags);  // size, 0 or -1

// keeper_log.cc, in the writer. CopyOutput reads once from `stream` (0: stdout, 1: stderr), at most `limit`
// bytes, and writes what is complete to the log; returns bytes read, 0 at the end, -1 if nothing is there.
inline constexpr uint32_t kCarryMax = 16384;  // CRI: a longer line is split there

// What has come of a line whose end has not.
struct Carry {
  char* data;  // a mapping of kCarryMax bytes while size > 0
  uint32_t size;
};

struct LogSlot {
  uint32_t serial;  // 0: free
  bool lost;
  bool terminal;  // one stream; what was written to it may still be on its way
  int log;
  int pipe[2];  // of stdout and stderr
  Carry carry[2];
};
long CopyOutput(LogSlot& s, int stream, uint32_t limit);
// Reads what is in the pipes now, writes unfinished lines as partial ones, gives buffers back.
void DrainOutput(LogSlot& s);
void ReleaseBuffer();  // memory that is used only while there is output

// keeper_cgroup.cc. Kills all of a container's cgroup, or of an exec's sub-cgroup.
void KillContainerCgroup(const Plan& plan);
// The directory, -1 if there is none; `index` of the parent in the plan.
int OpenExecCgroup(const Plan& plan, uint32_t number, bool make, uint32_t* index, bool* v2);
void KillExecCgroup(const Plan& plan, uint32_t number);
void RemoveExecCgroup(const Plan& plan, uint32_t number);
bool OomKilled(const Plan& plan);

// A validated, read-only mapping of a sealed memfd; null with errno.
const Plan* MapPlan(int fd);
void UnmapPlan(const Plan* plan);

}  // namespace berth::keeper

#endif  // BERTH_RUNTIME_KEEPER_STATE_H_
