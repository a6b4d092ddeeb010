// All that a keeper knows, in one trivially copyable struct: a re-exec writes it to a memfd. A keeper refuses a
// program that has it in another layout, and goes on as it is.
//
// A container: kFree → kCreating → kCreated → kStarting → kRunning → kFlushing → kExited → kFree.
// kFlushing: its process has ended, and the writer was asked for the rest of its output.
// A gated process that dies frees its slot: CREATED stays CREATED for the daemon, which makes it again.
#ifndef BERTH_RUNTIME_KEEPER_STATE_H_
#define BERTH_RUNTIME_KEEPER_STATE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/keeper/protocol.h"

namespace berth::keeper {

// One more with each change of what follows down to State that leaves its size as it is.
inline constexpr uint32_t kStateVersion = 1;
inline constexpr int kMaxContainers = 256;
inline constexpr int kMaxExecs = 512;
inline constexpr int kMaxControls = 8;
inline constexpr uint32_t kMaxWriters = 16;
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
  uint32_t writer;  // of the log: index of State::writers
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

struct Writer {
  int socket;      // -1: it was let go, and ends when what it is stuck in lets it
  int32_t pid;     // 0: the slot is free
  uint32_t token;  // its index and, times kMaxWriters, how many there had been
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
  int writer_timer;   // armed by a writer that is at work, read here
  Writer writers[kMaxWriters];
  uint32_t writer;        // the one that gets the logs to come
  uint32_t writers_made;  // so far
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
// ends with the keeper. One that stalls in a log is left alone with it, and another takes over the rest:
// keeper_writers.cc. Both sides are of one program or its predecessor: the layout below stays.
enum class WriterVerb : uint32_t {
  kAdd = 1,  // descriptors: log, stdout, and stderr if there is one
  kReopen,   // descriptors: log
  kFlush,    // write what is in the pipes now and forget the slot
  kFlushed,  // the writer's answer
  kRetire,   // end; another goes on, of a newer program
  kAttach,   // descriptors: a client's socket, which gets the output, too
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
inline constexpr uint32_t kCarryMax = 16384;  // CRI: a longer line is split there

// In shared memory, by slot, so that an exit needs no answer when all has been written, and so that another
// writer can go on in the middle of a line.
//
// A slot's pipes are read by the writer whose token is in `owner`, and only while kOwnerAtWork is set there,
// by it; the keeper changes owners while that is clear.
//
// The writer sets `busy` before it reads a pipe and clears it when everything that it has read is in the
// log: who finds the pipes empty first and `busy` clear then, knows that the log is complete.
inline constexpr uint32_t kOwnerAtWork = 1u << 31;
struct WriterShared {
  uint8_t busy[kMaxContainers];
  uint8_t lost[kMaxContainers];
  uint32_t owner[kMaxContainers];
  uint32_t carry_size[kMaxContainers][2];  // of stdout and stderr: a line whose end has not come
  // Whether the present writer is stuck: it counts its steps, to odd at the begin of one and to even at its
  // end, and arms the timer for one that finds it unarmed. The keeper finds the same odd number again then.
  uint32_t steps[kMaxWriters];
  uint32_t present;  // token
  uint32_t armed;
  uint32_t armed_at;                                       // steps then
  alignas(4096) char carry[kMaxContainers][2][kCarryMax];  // pages exist while they are used
};
[[noreturn]] void RunWriter(int socket, int timer, uint32_t token, WriterShared* shared);
bool SendToWriter(int socket, const WriterMessage& message, const int* fds,
                  int count);  // never waits
void ArmWriterTimer(int timer);
int ReceiveForWriter(int socket, WriterMessage* message, int (&fds)[3],
                     int flags);  // size, 0 or -1

// keeper_log.cc, in the writer. CopyOutput reads once from `stream` (0: stdout, 1: stderr), at most `limit`
// bytes, and writes what is complete to the log; returns bytes read, 0 at the end, -1 if nothing is there.
struct LogSlot {
  uint32_t serial;  // 0: free
  bool lost;
  bool torn;      // its log ends within a line that the disk had no room for
  bool terminal;  // one stream; what was written to it may still be on its way
  bool touched;   // its carry may have pages
  int log;
  int pipe[2];           // of stdout and stderr
  char* carry[2];        // WriterShared's
  uint32_t* carry_size;  // likewise, of both
  uint32_t sinks;        // attached clients
};

// keeper_tee.cc, in the writer: clients that hear a container's output, besides its log. Nobody waits for
// them: who can't take a message at once is cut off.
void AddSink(LogSlot& s, int epoll, int socket);
void TeeOutput(LogSlot& s, int stream, const char* data, size_t size);
// `ended`: the container has. Else another writer goes on, and the clients are cut off.
void EndSinks(LogSlot& s, bool ended);
// epoll says that a client may have gone. `key` as AddSink has given it, from kSinkKey on.
inline constexpr uint64_t kSinkKey = uint64_t{1} << 32;
void CheckSink(LogSlot* slots, uint64_t key);

long CopyOutput(LogSlot& s, int stream, uint32_t limit);
// Reads what is in the pipes now, writes unfinished lines as partial ones, gives buffers back.
void DrainOutput(LogSlot& s);
void ReleaseBuffer();  // memory that is used only while there is output
void ReleaseCarry(LogSlot& s);

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
