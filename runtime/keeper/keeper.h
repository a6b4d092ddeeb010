// What the keeper's parts give each other. All of it runs on the one thread, and none of it waits.
#ifndef BERTH_RUNTIME_KEEPER_KEEPER_H_
#define BERTH_RUNTIME_KEEPER_KEEPER_H_

#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "runtime/keeper/protocol.h"
#include "runtime/keeper/state.h"

namespace berth::keeper {

// ---- keeper.cc: the loop ----

enum class Source : uint32_t {
  kSignals,
  kTimer,
  kListener,
  kControl,  // slot of controls
  kContainerStatus,
  kContainerOut,
  kContainerErr,
  kExecStatus,
  kExecReply,  // the requester went away
  kWriter,     // slot of writers
  kWriterTimer,
};

bool WatchFd(int fd, Source source, uint32_t slot, uint32_t events = EPOLLIN);
void UnwatchFd(int fd);
// For the earliest deadline of an exec or a flush.
void ArmTimer();

// ---- descriptors ----

inline void Close(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

// The descriptors of a request, the reply socket first; closed unless taken.
struct Fds {
  int fd[kMaxRequestFds + 1] = {-1, -1, -1, -1, -1, -1};
  int count = 0;
  int next = 1;
  ~Fds() {
    for (int& f : fd) Close(f);
  }
  int& reply() { return fd[0]; }
  int Take() {
    const int f = fd[next];
    fd[next++] = -1;
    return f;
  }
};

// A new process' own ends of its channels.
struct ChildEnds {
  int stdio[3] = {-1, -1, -1};
  int status = -1;
  ~ChildEnds() {
    for (int& fd : stdio) Close(fd);
    Close(status);
  }
};

// ---- keeper_answers.cc ----

// One message with at most kMostSentFds descriptors; never waits. False, with errno, if it was not sent.
constexpr int kMostSentFds = 3;
bool SendWithFds(int socket, const void* data, size_t size, const int* fds, int count);
void SendReply(int fd, const KeeperReply& reply, int pass = -1);
// Leaves groups as they are: only group_count of them are sent.
void InitReply(KeeperReply* reply, ReplyKind kind, int error);
// Answers and closes.
void Answer(int& fd, int error, const Failure* failure = nullptr, uint32_t exit_code = 0,
            int32_t pid = 0);
void AnswerStep(int& fd, Step step, int error);
void InitEvent(KeeperEvent* event, EventType type);
void SendEvent(const KeeperEvent& event);

// ---- keeper_slots.cc ----

inline uint32_t Slot(const Container& c) { return static_cast<uint32_t>(&c - state.containers); }
inline uint32_t Slot(const Exec& e) { return static_cast<uint32_t>(&e - state.execs); }
Container* FindContainer(const char* id);
Container* NewContainer();  // null: all are taken
void FreeContainer(Container& c);
void CloseStreams(Container& c);
Exec* NewExec();
void FreeExec(Exec& e);

// ---- keeper_create.cc ----

// Clones a child into the PID namespace of a process (-1: ours) and into a cgroup of the v2 tree (-1: ours); if
// the kernel refuses the cgroup, *joined is false, in the child, too, which joins by itself.
int CloneIntoNamespaceAndCgroup(int pidns_pidfd, uint64_t flags, int cgroup, int* pidfd,
                                bool* joined);
// What the executor is told of every child.
ExecutorInput InputFor(const Plan& plan, const ChildEnds& child);
// A process of this keeper's own cgroup and namespaces, that has an external runtime do it (kPlanExternal).
int CloneDriver(const Plan& plan, const ChildEnds& child, int* pidfd);
// The v2 directory of the plan for CLONE_INTO_CGROUP, or -1.
int OpenUnifiedCgroup(const Plan& plan);
// A pod's containers are all in its user namespace, or there is none.
bool FitsUserNamespace(const Plan& plan);
// True if a child is at work; its outcome is answered later.
bool OnCreate(const KeeperRequest& r, Fds& fds);
void OnStart(const KeeperRequest& r, Fds& fds);

// ---- keeper_exec.cc ----

void OnExec(const KeeperRequest& r, Fds& fds);
void KillExec(Exec& e);
void OnRequesterGone(uint32_t slot);
void OnExecExit(Exec& e, uint32_t code);

// ---- keeper_exec_cgroups.cc ----

struct ExecCgroup {
  int directory = -1;  // the caller's
  uint32_t number = 0;
  uint32_t index = 0;
  bool v2 = false;
  const int* files = nullptr;  // ExecutorInput::cgroup_files
};
ExecCgroup TakeExecCgroup(const Container& c, const Plan& plan);
// For the next exec, if none is kept and the container runs. Not one that was killed: what is cloned into it
// later would be killed, too (seen on 6.18).
bool KeepExecCgroup(const Container& c, uint32_t number);
void DropExecCgroups(const Container& c);

// ---- keeper_reports.cc ----

// Whether another process than the cloned one is going to wait at the gate.
inline bool HopsAtCreation(const Container& c) {
  return state.user_namespace >= 0 || (c.plan_flags & kPlanExternal) != 0;
}
void ReadReport(Container& c);
void ReadReport(Exec& e);

// ---- keeper_tree.cc ----

// SIGKILL for a child of ours that hasn't been reaped, after all that descends from it or is in a session of such.
void KillTree(int root);

// ---- keeper_exits.cc ----

void ReapChildren();
void AnswerFailure(Container& c);
// Its log is complete, or lacks what is `lost`: the record, and the news.
void FinishExit(Container& c, bool lost);
void RemoveExitRecord(const char* id);

// ---- keeper_output.cc ----

// From now on a writer reads the container's output.
bool StartLog(Container& c, int log);
// Output without a log is dropped here.
void WatchOutput(const Container& c);
bool LogIsComplete(const Container& c);
void OnReopenLog(const KeeperRequest& r, Fds& fds);
void OnOutput(uint32_t slot, int stream);
// Lets the writer have the output of a container without a log, too.
bool GiveOutputToWriter(Container& c);

// ---- keeper_attach.cc ----

void OnAttach(const KeeperRequest& r, Fds& fds);

// ---- keeper_writers.cc ----

bool ResumeWriters();  // after a re-exec
bool HaveWriter();
// A container's log as of a new start: nothing of it is busy, lost or half a line.
void InitLog(const Container& c);
// Gives it to the present writer. kWriterLogIsPath: `log` is O_PATH.
bool AddToWriter(Container& c, int log, uint32_t flags);
bool SendReopen(Container& c, int log);
bool SendAttach(Container& c, int client);
// Asks for the rest; OnWriter hears the answer.
bool FlushLog(Container& c);
bool LogIsWritten(const Container& c);  // all that was read
bool LogIsLost(const Container& c);
bool LogIsHeld(uint32_t slot);
// Lets go of those that no container needs.
void ReleaseWriters();
void OnWriter(uint32_t index);
void OnWriterTimer();
void OnWriterDeath(int pid);

// ---- keeper_requests.cc ----

void OnSignal(const KeeperRequest& r, Fds& fds);
void OnForget(const KeeperRequest& r, Fds& fds);
void OnList(Fds& fds);
void OnShutdown(Fds& fds);

// ---- keeper_paths.cc ----

int RunPathProcess();

// ---- keeper_reexec.cc ----

void OnReexec(Fds& fds, int program);
bool RestoreState(int fd, int* reply);

}  // namespace berth::keeper

#endif  // BERTH_RUNTIME_KEEPER_KEEPER_H_
