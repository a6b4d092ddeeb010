// What berthd and berth-keeper say to each other, over SEQPACKET sockets.
//
//   request     descriptors after the reply socket        answer on the reply socket
//   kCreate     plan memfd (sealed)                       pid, user; or failure
//   kStart      log file (kHasLog)                        when execve succeeded; or failure
//   kExec       plan memfd, stdio (kHasStdin ...)         kExecStarted (with a terminal's master), then at
//                                                         the process' exit its exit code; or failure
//   kSignal     -                                         error
//   kReopenLog  log file                                  error
//   kAttach     a socket for output (see AttachKind)      stdin's pipe or the terminal's master; error
//   kForget     -                                         error, when its process is gone
//   kList       -                                         one kListEntry for each, then kDone
//   kReexec     program                                   from the new program
//   kShutdown   -                                         error; then the keeper ends
//
// Every request is one KeeperRequest with the sending end of a reply socket as its first descriptor; the
// keeper answers there and closes it, so nobody needs a table of requests. An exec whose reply socket is
// closed by the daemon is killed. Besides, each control connection hears KeeperEvents: kReady once, then
// kExit for each container that ends.
//
// A keeper that was adopted after an upgrade may run the older program until it is re-executed, so the
// layout of kSignal, kForget, kReopenLog, kList, kReexec, kShutdown and of events stays; kCreate, kStart and
// kExec need the same kKeeperVersion. Both sides check every byte.
#ifndef BERTH_RUNTIME_KEEPER_PROTOCOL_H_
#define BERTH_RUNTIME_KEEPER_PROTOCOL_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/executor.h"
#include "runtime/plan.h"

namespace berth {

inline constexpr uint32_t kKeeperMagic = 0x524b5242;  // "BRKR"
inline constexpr uint16_t kKeeperVersion = 1;
inline constexpr size_t kKeeperIdSize = 72;  // 64 digits, NUL, padding
inline constexpr int kMaxRequestFds = 5;
inline constexpr char kKeeperSocketName[] = "keeper.sock";
inline constexpr char kExitRecordPrefix[] = "exit-";

enum class RequestType : uint16_t {
  kCreate = 1,
  kStart,
  kExec,
  kSignal,
  kReopenLog,
  kForget,
  kList,
  kReexec,
  kShutdown,
  kAttach,
};

enum RequestFlag : uint32_t {
  kHasLog = 1u << 0,
  kHasStdin = 1u << 1,  // kExec: a descriptor; kCreate: hold one open
  kHasStdout = 1u << 2,
  kHasStderr = 1u << 3,
  kWantsStdin = 1u << 4,  // kAttach
};

struct KeeperRequest {
  uint32_t magic;
  uint16_t version;
  RequestType type;
  uint32_t flags;
  int32_t value;           // kSignal: the signal
  int64_t deadline_ns;     // kExec: CLOCK_MONOTONIC; 0 is none
  char id[kKeeperIdSize];  // container ID, NUL-terminated; empty for kList, kReexec, kShutdown
};
static_assert(sizeof(KeeperRequest) == 96);

enum class ReplyKind : uint16_t { kDone = 1, kListEntry = 2, kExecStarted = 3 };

enum class KeeperContainerState : uint32_t { kCreated = 1, kRunning = 2, kExited = 3 };

enum ExitFlag : uint32_t {
  kExitOomKilled = 1u << 0,
  kExitStarted = 1u << 1,  // execve had succeeded
  kExitLogLost = 1u << 2,  // some output is not in the log, or was not when the record was written
};

// Also the content of an exit record file.
struct KeeperExit {
  uint32_t magic;
  uint32_t version;
  char id[kKeeperIdSize];
  uint32_t exit_code;  // as a shell: 128 + signal; 128 if execve failed
  uint32_t signal;
  uint32_t flags;  // ExitFlag
  uint32_t reserved;
  int64_t started_ns;  // CLOCK_REALTIME; 0: never
  int64_t finished_ns;
};
static_assert(sizeof(KeeperExit) == 112);

struct KeeperReply {
  uint32_t magic;
  uint16_t version;
  ReplyKind kind;
  int32_t error;    // errno; 0 is success
  Failure failure;  // step kNone: the error is about the request itself
  int32_t pid;
  uint32_t state;          // kListEntry: KeeperContainerState; kAttach: 1 if it has a terminal
  uint32_t exit_code;      // kExec
  int64_t started_ns;      // kListEntry
  char id[kKeeperIdSize];  // kListEntry
  uint32_t uid;            // kCreate
  uint32_t gid;
  uint32_t group_count;
  uint32_t groups[kMaxPlanGroups];  // sent with group_count of them
};

// The first byte of each message on an attached client's socket (SEQPACKET); the stream's bytes follow it.
// A socket that ends without kEnd was cut off: it could not take a message at once.
enum class AttachKind : uint8_t { kEnd = 0, kStdout = 1, kStderr = 2 };
inline constexpr size_t kMaxAttachMessage = 1 + 16384;

enum class EventType : uint16_t { kReady = 1, kExit = 2 };

enum class SetupStep : uint32_t {
  kNone = 0,
  kParameters,
  kCgroup,
  kJoinNetwork,
  kUnshare,
  kHostname,
  kSysctl,  // index: sysctls
  kSharedMemory,
  kMountNamespace,
  kPodInit,
  kSocket,
  kLoop,
  kUserNamespace,
};

struct KeeperEvent {
  uint32_t magic;
  uint16_t version;
  EventType type;
  int32_t pid;      // kReady: the keeper's
  Failure failure;  // kReady: SetupStep if it did not work
  KeeperExit exit;  // kExit
};

// ---- the first message: what a new keeper is for ----
// The daemon sends it before the keeper runs. Descriptors are inherited at fixed numbers.
inline constexpr int kKeeperControlFd = 3;
inline constexpr int kKeeperStateFd = 4;    // the pod's state directory
inline constexpr int kKeeperTinyFd = 5;     // the tiny mount namespace
inline constexpr int kKeeperNetworkFd = 6;  // a network namespace to join (kSetupJoinNet)

enum SetupFlag : uint32_t {
  kSetupJoinNet = 1u << 0,
  kSetupNewNet = 1u << 1,
  kSetupNewIpc = 1u << 2,
  kSetupNewUts = 1u << 3,
  kSetupPodInit = 1u << 4,
  kSetupNewUser = 1u << 5,  // a user namespace that owns the others
};

inline constexpr size_t kMaxKeeperParameters = 32768;

// Followed by NUL-terminated strings: host name, domain name, the texts of uid_map and gid_map, then `cgroups` directories that the keeper
// joins, `pod_cgroups` that the pod init joins, and `sysctls` pairs of path and value.
struct KeeperParameters {
  uint32_t magic;
  uint16_t version;
  uint16_t reserved;
  uint32_t flags;  // SetupFlag
  int32_t oom_score_adj;
  uint64_t shm_size;
  uint32_t root_uid;  // what 0 is mapped to
  uint32_t root_gid;
  uint32_t cgroups;
  uint32_t pod_cgroups;
  uint32_t sysctls;
  uint32_t strings_size;  // bytes after this struct
};
static_assert(sizeof(KeeperParameters) == 48);

// ---- checks, for both sides ----

inline bool KeeperIdIsValid(const char (&id)[kKeeperIdSize]) {
  size_t n = 0;
  for (; n < kKeeperIdSize && id[n] != 0; ++n) {
    const char c = id[n];
    const bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      c == '-' || c == '_';
    if (!good) return false;
  }
  return n > 0 && n < kKeeperIdSize;
}

// 0, or the errno to answer with. `fds`: how many came, the reply socket included.
inline int CheckRequest(const KeeperRequest& r, size_t size, int fds) {
  if (size != sizeof(KeeperRequest) || r.magic != kKeeperMagic) return 71;  // EPROTO
  int expected = 1;
  bool id = true;
  switch (r.type) {
    case RequestType::kCreate:
      expected = 2;
      break;
    case RequestType::kStart:
      expected = 1 + ((r.flags & kHasLog) != 0);
      break;
    case RequestType::kExec:
      expected = 2 + ((r.flags & kHasStdin) != 0) + ((r.flags & kHasStdout) != 0) +
                 ((r.flags & kHasStderr) != 0);
      break;
    case RequestType::kReopenLog:
    case RequestType::kAttach:
      expected = 2;
      break;
    case RequestType::kReexec:
      expected = 2, id = false;
      break;
    case RequestType::kSignal:
    case RequestType::kForget:
      break;
    case RequestType::kList:
    case RequestType::kShutdown:
      id = false;
      break;
    default:
      return 71;
  }
  const bool versioned = r.type == RequestType::kCreate || r.type == RequestType::kStart ||
                         r.type == RequestType::kExec;
  if (versioned && r.version != kKeeperVersion) return 93;  // EPROTONOSUPPORT
  if (fds != expected) return 71;
  if (id && !KeeperIdIsValid(r.id)) return 22;  // EINVAL
  return 0;
}

inline bool ExitIsValid(const KeeperExit& e, size_t size) {
  return size == sizeof(KeeperExit) && e.magic == kKeeperMagic && e.version == kKeeperVersion &&
         KeeperIdIsValid(e.id);
}

inline bool ReplyIsValid(const KeeperReply& r, size_t size) {
  return size >= offsetof(KeeperReply, groups) && r.magic == kKeeperMagic &&
         r.group_count <= kMaxPlanGroups &&
         size == offsetof(KeeperReply, groups) + r.group_count * sizeof(uint32_t);
}

// The strings of a parameters message: `count` NUL-terminated ones fill `size` bytes exactly.
inline bool ParametersAreValid(const void* data, size_t size) {
  const KeeperParameters& p = *static_cast<const KeeperParameters*>(data);
  if (size < sizeof p || size > kMaxKeeperParameters) return false;
  if (p.magic != kKeeperMagic || p.version != kKeeperVersion) return false;
  if (p.strings_size != size - sizeof p) return false;
  if (p.cgroups > 64 || p.pod_cgroups > 64 || p.sysctls > 1024) return false;
  const uint32_t wanted = 4 + p.cgroups + p.pod_cgroups + 2 * p.sysctls;
  const char* text = reinterpret_cast<const char*>(&p + 1);
  uint32_t found = 0;
  for (uint32_t i = 0; i < p.strings_size; ++i) found += text[i] == 0;
  return found == wanted && p.strings_size > 0 && text[p.strings_size - 1] == 0;
}

}  // namespace berth

#endif  // BERTH_RUNTIME_KEEPER_PROTOCOL_H_
