// KeeperLauncher: keepers are spawned from a sealed copy of their program, from a multi-threaded process.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "runtime/executor_sys.h"
#include "runtime/keeper/protocol.h"
#include "runtime/keeper_client.h"

namespace berth {
namespace {

absl::StatusOr<UniqueFd> SealedCopy(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  UniqueFd fd(memfd_create("berth-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus("memfd_create");
  RETURN_IF_ERROR(WriteFd(fd.get(), bytes));
  if (fchmod(fd.get(), 0555) != 0) return ErrnoStatus("fchmod", "the keeper's memfd");
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return ErrnoStatus("seal the keeper's memfd");
  return fd;
}

// In a forked child of a multi-threaded process: system calls only. 0, or errno.
// A mount namespace with nothing but a small read-only tmpfs. Containers copy it instead of the host's, which
// costs 1.6 µs a mount. Directories: see ExecutorInput::mount_namespace.
int BecomeTinyNamespace() {
  constexpr unsigned long kRecursivePrivate = (1u << 14) | (1u << 18);  // MS_REC | MS_PRIVATE
  if (sys::Unshare(CLONE_NEWNS) != 0) return errno;
  if (sys::Mount(nullptr, "/", nullptr, kRecursivePrivate, nullptr) != 0) return errno;
  const int fs = sys::FsOpen("tmpfs");
  if (fs < 0 || sys::FsConfig(fs, FSCONFIG_SET_STRING, "source", "berth", 0) != 0 ||
      sys::FsConfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) != 0 ||
      sys::FsConfig(fs, FSCONFIG_SET_STRING, "size", "1m", 0) != 0 ||
      sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return errno;
  }
  const int mount = sys::FsMount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (mount < 0 || sys::MoveMount(mount, AT_FDCWD, "/") != 0 || fchdir(mount) != 0) return errno;
  if (sys::PivotRoot(".", ".") != 0 || sys::Unmount(".", sys::kMntDetach) != 0) return errno;
  if (mkdir("/rootfs", 0700) != 0 || mkdir("/shm", 0700) != 0 || mkdir("/proc", 0700) != 0 ||
      mkdir("/u", 0700) != 0 || mkdir("/l", 0700) != 0) {
    return errno;
  }
  for (int i = 0; i < 128; ++i) {
    char name[] = "/l/000";
    char* p = name + 3;
    if (i >= 100) *p++ = static_cast<char>('0' + i / 100);
    if (i >= 10) *p++ = static_cast<char>('0' + i / 10 % 10);
    *p++ = static_cast<char>('0' + i % 10);
    *p = 0;
    if (mkdir(name, 0700) != 0) return errno;
  }
  return sys::MountSetattr(mount, "", 0, MOUNT_ATTR_RDONLY, 0, 0) == 0 ? 0 : errno;
}

absl::StatusOr<UniqueFd> MakeTinyNamespace() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus("fork");
  if (pid == 0) {
    close(ours.get());
    const int error = BecomeTinyNamespace();
    (void)!write(theirs.get(), &error, sizeof error);
    char byte;
    (void)!read(theirs.get(), &byte, 1);  // until its namespace has been opened
    _exit(0);
  }
  theirs.reset();
  int error = EIO;
  if (read(ours.get(), &error, sizeof error) != sizeof error) error = EIO;
  absl::StatusOr<UniqueFd> ns = error != 0
                                    ? ErrnoStatusOf(error, "making a mount namespace")
                                    : OpenFile(absl::StrCat("/proc/", pid, "/ns/mnt"), O_RDONLY);
  (void)!write(ours.get(), "", 1);
  waitpid(pid, nullptr, 0);
  return ns;
}

// As uid_map and gid_map take it (user_namespaces(7)).
std::string IdMapText(const std::vector<PlanIdMap>& maps) {
  std::string text;
  for (const PlanIdMap& m : maps) {
    absl::StrAppend(&text, m.inside, " ", m.outside, " ", m.count, "\n");
  }
  return text;
}

uint32_t MappedRoot(const std::vector<PlanIdMap>& maps) {
  for (const PlanIdMap& m : maps) {
    if (m.inside == 0) return m.outside;
  }
  return 0;
}

absl::StatusOr<std::string> EncodeParameters(const KeeperOptions& options,
                                             const std::vector<std::string>& cgroups) {
  KeeperParameters p{};
  p.magic = kKeeperMagic;
  p.version = kKeeperVersion;
  p.flags = (!options.netns_path.empty() ? uint32_t{kSetupJoinNet} : 0u) |
            (options.new_net && options.netns_path.empty() ? uint32_t{kSetupNewNet} : 0u) |
            (options.new_ipc ? uint32_t{kSetupNewIpc} : 0u) |
            (options.new_uts ? uint32_t{kSetupNewUts} : 0u) |
            (options.shared_pid ? uint32_t{kSetupPodInit} : 0u) |
            (!options.uid_maps.empty() ? uint32_t{kSetupNewUser} : 0u);
  p.oom_score_adj = options.oom_score_adj;
  p.root_uid = MappedRoot(options.uid_maps);
  p.root_gid = MappedRoot(options.gid_maps);
  p.shm_size = options.shm_size;
  p.cgroups = cgroups.size();
  p.pod_cgroups = options.shared_pid ? options.pod_cgroups.size() : 0;
  p.sysctls = options.sysctls.size();
  std::string strings;
  auto add = [&strings](const std::string& s) { strings.append(s.data(), s.size() + 1); };
  add(options.hostname);
  add(options.domainname);
  add(IdMapText(options.uid_maps));
  add(IdMapText(options.gid_maps));
  for (const std::string& s : cgroups) add(s);
  if (options.shared_pid) {
    for (const std::string& s : options.pod_cgroups) add(s);
  }
  for (const auto& [name, value] : options.sysctls) add(name), add(value);
  p.strings_size = strings.size();
  std::string message(reinterpret_cast<const char*>(&p), sizeof p);
  message += strings;
  if (!ParametersAreValid(message.data(), message.size()))
    return absl::InvalidArgumentError("keeper: its parameters are too long or hold a NUL byte");
  return message;
}

absl::Status SetupStatus(const KeeperOptions& options, const std::vector<std::string>& cgroups,
                         const Failure& f) {
  std::string what;
  switch (static_cast<SetupStep>(f.step)) {
    case SetupStep::kCgroup:
      what = absl::StrCat("join cgroup ", f.index < cgroups.size() ? cgroups[f.index] : "");
      break;
    case SetupStep::kJoinNetwork:
      what = absl::StrCat("join network namespace ", options.netns_path);
      break;
    case SetupStep::kUnshare:
      what = "unshare the pod's namespaces";
      break;
    case SetupStep::kUserNamespace:
      what = "make the pod's user namespace";
      break;
    case SetupStep::kHostname:
      what = absl::StrCat("set host name ", options.hostname);
      break;
    case SetupStep::kSysctl:
      what = absl::StrCat("write sysctl ",
                          f.index < options.sysctls.size() ? options.sysctls[f.index].first : "");
      break;
    case SetupStep::kSharedMemory:
      what = "mount /dev/shm";
      break;
    case SetupStep::kMountNamespace:
      what = "make the pod's mount namespace";
      break;
    case SetupStep::kPodInit:
      what = "start the pod's init";
      break;
    case SetupStep::kSocket:
      what = absl::StrCat("listen in ", options.state_directory);
      break;
    default:
      what = "start";
      break;
  }
  return ErrnoStatusOf(f.error, absl::StrCat("keeper of pod ", options.pod.str(), ": ", what));
}

absl::Status WaitForReady(int control, absl::Time deadline, KeeperEvent* ready) {
  pollfd p{control, POLLIN, 0};
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now() + absl::Microseconds(999));
  int n;
  do
    n = poll(&p, 1,
             deadline == absl::InfiniteFuture()
                 ? -1
                 : static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
  while (n < 0 && errno == EINTR);
  if (n == 0) return absl::DeadlineExceededError("keeper: not ready in time");
  const ssize_t size = recv(control, ready, sizeof *ready, 0);
  if (size != sizeof *ready || ready->magic != kKeeperMagic || ready->type != EventType::kReady)
    return absl::UnavailableError("keeper: ended before it was ready");
  return absl::OkStatus();
}

// A wedged keeper must not block a thread for ever.
void BoundSends(int control) {
  const timeval limit{10, 0};
  setsockopt(control, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

// Descriptors that are moved to fixed low numbers must not stand there themselves.
absl::StatusOr<UniqueFd> Raise(UniqueFd fd) {
  if (!fd.valid() || fd.get() >= 16) return fd;
  UniqueFd high(fcntl(fd.get(), F_DUPFD_CLOEXEC, 16));
  if (!high.valid()) return ErrnoStatus("fcntl");
  return high;
}

class SpawnActions {
 public:
  SpawnActions() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  }
  ~SpawnActions() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;

  void Move(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }
  absl::StatusOr<pid_t> Spawn(int program) {
    const std::string path = absl::StrCat("/proc/self/fd/", program);
    char name[] = "berth-keeper";
    char* argv[] = {name, nullptr};
    char* envp[] = {nullptr};
    pid_t pid;
    const int error = posix_spawn(&pid, path.c_str(), &actions_, &attributes_, argv, envp);
    if (error != 0) return ErrnoStatusOf(error, "posix_spawn of the keeper");
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

KeeperLauncher::KeeperLauncher(UniqueFd binary, UniqueFd tiny_namespace, UniqueFd null,
                               std::vector<std::string> cgroups)
    : binary_(std::move(binary)),
      tiny_namespace_(std::move(tiny_namespace)),
      null_(std::move(null)),
      cgroups_(std::move(cgroups)) {}

absl::StatusOr<std::unique_ptr<KeeperLauncher>> KeeperLauncher::Make(
    const std::string& binary_path, std::vector<std::string> cgroups) {
  ASSIGN_OR_RETURN_WITH(UniqueFd binary, SealedCopy(binary_path), "keeper program");
  ASSIGN_OR_RETURN(UniqueFd tiny, MakeTinyNamespace());
  ASSIGN_OR_RETURN(UniqueFd null, OpenFile("/dev/null", O_RDWR));
  ASSIGN_OR_RETURN(binary, Raise(std::move(binary)));
  ASSIGN_OR_RETURN(tiny, Raise(std::move(tiny)));
  ASSIGN_OR_RETURN(null, Raise(std::move(null)));
  return std::unique_ptr<KeeperLauncher>(
      new KeeperLauncher(std::move(binary), std::move(tiny), std::move(null), std::move(cgroups)));
}

absl::StatusOr<std::shared_ptr<Keeper>> KeeperLauncher::Spawn(const KeeperOptions& options,
                                                              absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string parameters, EncodeParameters(options, cgroups_));
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  UniqueFd control(pair[0]);
  ASSIGN_OR_RETURN(UniqueFd theirs, Raise(UniqueFd(pair[1])));
  ASSIGN_OR_RETURN(UniqueFd state, OpenFile(options.state_directory, O_PATH | O_DIRECTORY));
  ASSIGN_OR_RETURN(state, Raise(std::move(state)));
  UniqueFd network;
  if (!options.netns_path.empty()) {
    ASSIGN_OR_RETURN(network, OpenFile(options.netns_path, O_RDONLY));
    ASSIGN_OR_RETURN(network, Raise(std::move(network)));
  }
  BoundSends(control.get());
  if (send(control.get(), parameters.data(), parameters.size(), MSG_NOSIGNAL) < 0)
    return ErrnoStatus("send the keeper's parameters");

  SpawnActions actions;
  for (int fd = 0; fd < 3; ++fd) actions.Move(null_.get(), fd);
  actions.Move(theirs.get(), kKeeperControlFd);
  actions.Move(state.get(), kKeeperStateFd);
  actions.Move(tiny_namespace_.get(), kKeeperTinyFd);
  if (network.valid()) actions.Move(network.get(), kKeeperNetworkFd);
  ASSIGN_OR_RETURN(const pid_t pid, actions.Spawn(binary_.get()));
  // Not reaped yet, so the pid is still its own.
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) {
    const absl::Status status = ErrnoStatus("pidfd_open");
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return status;
  }
  theirs.reset();
  std::shared_ptr<Keeper> keeper(
      new Keeper(options.pod, options.state_directory, pid, std::move(pidfd), std::move(control)));
  KeeperEvent ready;
  absl::Status status = WaitForReady(keeper->control_.get(), deadline, &ready);
  if (status.ok() && ready.failure.step != 0)
    status = SetupStatus(options, cgroups_, ready.failure);
  if (!status.ok()) {
    keeper->Kill();
    unlink(absl::StrCat(options.state_directory, "/", kKeeperSocketName).c_str());
    return Annotate(status, absl::StrCat("pod ", options.pod.str()));
  }
  return keeper;
}

absl::Status KeeperLauncher::Refresh(Keeper& keeper, absl::Time deadline) const {
  const std::string program = absl::StrCat("/proc/", keeper.pid(), "/exe");
  ASSIGN_OR_RETURN(const std::string running, ReadFile(program));
  // By its own path: reading through the shared descriptor would move its offset.
  ASSIGN_OR_RETURN(const std::string ours, ReadFile(absl::StrCat("/proc/self/fd/", binary_.get())));
  if (running == ours) return absl::OkStatus();
  return keeper.Reexec(binary_.get(), deadline);
}

absl::StatusOr<std::shared_ptr<Keeper>> KeeperLauncher::Adopt(const PodId& pod,
                                                              const std::string& state_directory,
                                                              absl::Time deadline) {
  ASSIGN_OR_RETURN(const UniqueFd state, OpenFile(state_directory, O_PATH | O_DIRECTORY));
  UniqueFd control(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!control.valid()) return ErrnoStatus("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // The directory's own path may be longer than sun_path.
  const std::string path = absl::StrCat("/proc/self/fd/", state.get(), "/", kKeeperSocketName);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  BoundSends(control.get());
  if (connect(control.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno == ECONNREFUSED ? ENOENT : errno;
    return ErrnoStatusOf(error, absl::StrCat("connect to the keeper in ", state_directory));
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(control.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return ErrnoStatus("SO_PEERCRED");
  KeeperEvent ready;
  RETURN_IF_ERROR_WITH(WaitForReady(control.get(), deadline, &ready),
                       absl::StrCat("pod ", pod.str()));
  // The listener's credentials are the keeper's; it answered, so it lives and the pid is its own.
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!pidfd.valid()) return ErrnoStatus("pidfd_open");
  return std::shared_ptr<Keeper>(
      new Keeper(pod, state_directory, peer.pid, std::move(pidfd), std::move(control)));
}

}  // namespace berth
