// The daemon's side of keepers: starting them, talking to them, hearing from them.
//
// Vocabulary: a *keeper* is the one supervisor process of a pod (berth-keeper). It holds the pod's
// namespaces, clones, reaps and logs the pod's containers, and outlives the daemon. The *state
// directory* of a pod holds the keeper's socket `keeper.sock` and its exit records `exit-CONTAINERID`.
//
// Life of a container in a keeper: Create (a gated process) → Start (execve) → exit record → Forget.
//
//   ASSIGN_OR_RETURN(auto launcher, KeeperLauncher::Make("/usr/libexec/berth-keeper", keeper_cgroups));
//   ASSIGN_OR_RETURN(std::shared_ptr<Keeper> keeper, launcher->Spawn(options, deadline));
//   watcher->Watch(keeper);
//   ASSIGN_OR_RETURN(CreatedContainer c, keeper->Create(id, plan, StdioOptions{}, deadline));
//   RETURN_IF_ERROR(keeper->Start(id, std::move(log_file), deadline));
//
// Threads: everything here may be called from any thread at any time. Calls block until the keeper's
// answer or the deadline (DeadlineExceeded: the keeper may still carry the request out). A keeper that
// is dead or dies meanwhile is Unavailable.
#ifndef BERTH_RUNTIME_KEEPER_CLIENT_H_
#define BERTH_RUNTIME_KEEPER_CLIENT_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "runtime/plan.h"

namespace berth {

struct KeeperOptions {
  PodId pod;
  std::string
      state_directory;  // exists, mode 0700, on a tmpfs or local disk; the keeper's socket goes there
  // The pod's network namespace: a pinned one to join (`/run/netns/NAME`), else a new one if `new_net`
  // (with lo down), else the host's.
  std::string netns_path;
  bool new_net = false;
  bool new_ipc = false;
  bool new_uts = false;
  // A user namespace of the pod's own, which owns the new ones above. Both or none; 0 is mapped in each.
  // Kernel 5.19.
  std::vector<PlanIdMap> uid_maps;
  std::vector<PlanIdMap> gid_maps;
  bool shared_pid = false;  // starts a pod init: PID 1 of the pod's shared PID namespace
  std::string hostname;     // with new_uts
  std::string domainname;
  // name below /proc/sys with slashes or dots → value; written inside the pod's namespaces.
  std::vector<std::pair<std::string, std::string>> sysctls;
  uint64_t shm_size = 64u << 20;  // bytes, of the pod's /dev/shm (with new_ipc)
  int oom_score_adj = -998;       // clamped where lowering is refused
  // cgroups that the pod init joins (the directories of the pod's own cgroup); only with shared_pid.
  std::vector<std::string> pod_cgroups;
};

struct StdioOptions {
  bool stdin_open = false;  // the plan's kPlanStdin says the same; either is enough
};

struct ResolvedUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
};

struct CreatedContainer {
  pid_t pid = 0;  // in the host's PID namespace; the process waits at its gate
  ResolvedUser user;
};

// How a container's main process ended.
struct ExitRecord {
  int exit_code = 255;  // as a shell: 128 + signal if killed
  int signal = 0;
  bool oom_killed = false;
  bool started =
      false;  // false: execve failed (exit code 128). A process that dies at its gate leaves
              // no record: the keeper forgets it, and it can be made again
  bool log_lost =
      false;  // some output was not in the log when the record was written: its disk is full,
              // broken, or didn't take it within two seconds
  absl::Time started_at;
  absl::Time finished_at;
};

enum class KeptState { kCreated, kRunning, kExited };

struct KeptContainer {
  ContainerId id;
  pid_t pid = 0;
  KeptState state = KeptState::kCreated;
  absl::Time started_at;  // kRunning and kExited
};

struct ExecResult {
  int exit_code = 255;
  std::string out;
  std::string err;
};

class Keeper {
 public:
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  const PodId& pod() const { return pod_; }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int control_for_test() const { return control_.get(); }

  // Makes the container's process up to its gate. `plan` is from BuildPlan. AlreadyExists if the id is
  // known. A failed step leaves nothing behind and reads like
  // `mount /data: open_tree /srv/data: No such file or directory` (see keeper_failure.h).
  absl::StatusOr<CreatedContainer> Create(const ContainerId& id, absl::string_view plan,
                                          const StdioOptions& stdio, absl::Time deadline);

  // Opens the gate. OK once execve has succeeded. `log` (may be invalid: output is dropped) is opened
  // for appending by the caller. NotFound names a missing executable, PermissionDenied one that can't
  // be executed; the container is then exited with 128, started = false.
  // Unavailable if there is no process at the gate (it died there, or the id is unknown);
  // FailedPrecondition if it was started before or is dead.
  // `*pid`, if wanted: the container's process. It is not the one of Create if the plan asks for a hop.
  absl::Status Start(const ContainerId& id, UniqueFd log, absl::Time deadline,
                     pid_t* pid = nullptr);

  // Runs a plan with kPlanExec in the container. The stdio descriptors become the process' own
  // (invalid ones: /dev/null). Its whole tree is killed at the deadline, or when the session goes.
  // With a terminal it returns when that is there; DeadlineExceeded if that takes until `terminal_by`.
  class ExecSession;
  struct ExecStdio {
    UniqueFd in, out, err;
  };
  absl::StatusOr<std::unique_ptr<ExecSession>> Exec(
      const ContainerId& id, absl::string_view plan, ExecStdio stdio, absl::Time deadline,
      absl::Time terminal_by = absl::InfiniteFuture());

  // The same with output collected: at most `limit` bytes of each stream, what is beyond is drained and
  // dropped. DeadlineExceeded when the process tree was killed at the deadline.
  absl::StatusOr<ExecResult> ExecSync(const ContainerId& id, absl::string_view plan, size_t limit,
                                      absl::Time deadline);

  // Joins a running container's streams. FailedPrecondition if it doesn't run. With a plan's
  // kPlanStdinOnce the container's stdin ends with that of its first client, and no other gets it.
  struct Attachment {
    UniqueFd output;    // SEQPACKET; see AttachKind in keeper/protocol.h
    UniqueFd terminal;  // the master, if it has a terminal: to be written and resized, never read
    UniqueFd in;        // of stdin's pipe, if `wants_stdin` and it has one still; non-blocking
  };
  absl::StatusOr<Attachment> Attach(const ContainerId& id, bool wants_stdin, absl::Time deadline);

  // To the container's main process. NotFound if unknown, FailedPrecondition if it has exited.
  absl::Status Signal(const ContainerId& id, int signal, absl::Time deadline);
  absl::Status ReopenLog(const ContainerId& id, UniqueFd log, absl::Time deadline);
  // Ends a gated process, drops an exited container and its exit record. FailedPrecondition if it is
  // running. An unknown id is OK.
  absl::Status Forget(const ContainerId& id, absl::Time deadline);
  absl::StatusOr<std::vector<KeptContainer>> List(absl::Time deadline);
  // Replaces the keeper's program by `binary` (see KeeperLauncher::binary()); pid, children, descriptors
  // and containers stay.
  absl::Status Reexec(int binary, absl::Time deadline);
  // Ends the keeper (and its pod init); FailedPrecondition while a container runs. Gated processes end.
  // Returns when the process is gone.
  absl::Status Shutdown(absl::Time deadline);
  // SIGCONT, for a keeper that somebody has stopped.
  void Continue();
  // SIGKILL and reaping, for a keeper that doesn't answer; its containers are the caller's (cgroup kill).
  void Kill();

 private:
  friend class KeeperLauncher;
  friend class KeeperWatcher;
  Keeper(PodId pod, std::string state_directory, pid_t pid, UniqueFd pidfd, UniqueFd control);

  struct Reply;
  struct Request;
  absl::StatusOr<UniqueFd> Send(const Request& request) const;
  absl::StatusOr<Reply> Call(const Request& request, absl::Time deadline) const;
  absl::StatusOr<std::unique_ptr<ExecSession>> StartExec(const ContainerId& id,
                                                         absl::string_view plan, ExecStdio stdio,
                                                         absl::Time deadline) const;

  const PodId pod_;
  const std::string state_directory_;
  const pid_t pid_;
  const UniqueFd pidfd_;
  const UniqueFd control_;
};

// A running exec. Destroying it kills the exec's process tree if it still runs.
class Keeper::ExecSession {
 public:
  ~ExecSession() = default;
  // Readable when the exec has ended; poll it together with your own pipes.
  int fd() const { return reply_.get(); }
  pid_t pid() const { return pid_; }
  // The terminal's master if the plan has kPlanTerminal, else invalid.
  UniqueFd TakeTerminal() { return std::move(terminal_); }
  // Blocks until the end: the exit code, or DeadlineExceeded after the tree was killed.
  // Safe to call again after DeadlineExceeded of this wait's own deadline.
  absl::StatusOr<int> Wait(absl::Time deadline);

 private:
  friend class Keeper;
  UniqueFd reply_;
  UniqueFd terminal_;
  std::string plan_;
  pid_t pid_ = 0;
};

// Starts keepers; made once per daemon.
class KeeperLauncher {
 public:
  // Copies `binary_path` into a sealed memfd (replacing the file later doesn't matter) and makes the tiny
  // mount namespace that containers unshare. `cgroups`: directories whose cgroup.procs a new keeper
  // joins. FailedPrecondition says which kernel feature is missing.
  static absl::StatusOr<std::unique_ptr<KeeperLauncher>> Make(const std::string& binary_path,
                                                              std::vector<std::string> cgroups);

  // Starts a pod's keeper; OK when it has made its namespaces and listens. A crash of the daemon in
  // between leaves at most a process in the keepers' cgroup, which ends by itself before it listens.
  absl::StatusOr<std::shared_ptr<Keeper>> Spawn(const KeeperOptions& options, absl::Time deadline);

  // Connects to the keeper of `state_directory` after a restart of the daemon. NotFound if there is no
  // socket or nobody listens.
  absl::StatusOr<std::shared_ptr<Keeper>> Adopt(const PodId& pod,
                                                const std::string& state_directory,
                                                absl::Time deadline);

  // Replaces the keeper's program by this launcher's, if it is another (Keeper::Reexec): that is how a
  // new version's fixes reach pods that run.
  absl::Status Refresh(Keeper& keeper, absl::Time deadline) const;

  int binary() const { return binary_.get(); }

 private:
  KeeperLauncher(UniqueFd binary, UniqueFd tiny_namespace, UniqueFd null,
                 std::vector<std::string> cgroups);

  const UniqueFd binary_;
  const UniqueFd tiny_namespace_;
  const UniqueFd null_;
  const std::vector<std::string> cgroups_;
};

// Called from the watcher's thread: don't block it for long.
class KeeperObserver {
 public:
  virtual ~KeeperObserver() = default;
  // The exit record is in the state directory already, and stays until Forget. A process that died at
  // its gate (`started` false) has none, and the keeper has forgotten it.
  virtual void OnExit(const PodId& pod, const ContainerId& container, const ExitRecord& record) = 0;
  // The keeper's process is gone (also after Shutdown) and was reaped.
  virtual void OnKeeperDeath(const PodId& pod) = 0;
};

// One thread that hears all keepers.
class KeeperWatcher {
 public:
  static absl::StatusOr<std::unique_ptr<KeeperWatcher>> Start(KeeperObserver* observer);
  ~KeeperWatcher();  // joins the thread

  // Exits that happened before Watch are in the exit records: read them after Watch.
  absl::Status Watch(std::shared_ptr<Keeper> keeper);
  // No callback for the pod runs or starts after it returns (unless called from a callback).
  void Unwatch(const PodId& pod);

 private:
  KeeperWatcher(KeeperObserver* observer, UniqueFd epoll, UniqueFd wake);
  void Run();
  void Dispatch(int fd);
  void Drain(const Keeper& keeper);
  bool Remove(const PodId& pod);

  KeeperObserver* const observer_;
  const UniqueFd epoll_;
  const UniqueFd wake_;
  Mutex dispatch_mu_;  // held while callbacks run; before mu_
  Mutex mu_;
  // By control socket and by pidfd.
  absl::flat_hash_map<int, std::shared_ptr<Keeper>> by_fd_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

// All exit records of a state directory; a damaged one is left out.
absl::StatusOr<std::vector<std::pair<ContainerId, ExitRecord>>> ReadExitRecords(
    const std::string& state_directory);

}  // namespace berth

#endif  // BERTH_RUNTIME_KEEPER_CLIENT_H_
