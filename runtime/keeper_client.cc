#include "runtime/keeper_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
#include "runtime/keeper/protocol.h"
#include "runtime/keeper_failure.h"

namespace berth {

struct Keeper::Request {
  KeeperRequest message{};
  int fds[kMaxRequestFds - 1];
  int fd_count = 0;

  Request(RequestType type, const std::string& id) {
    message.magic = kKeeperMagic;
    message.version = kKeeperVersion;
    message.type = type;
    std::strncpy(message.id, id.c_str(), sizeof message.id - 1);
  }
  void Attach(int fd, uint32_t flag) {
    fds[fd_count++] = fd;
    message.flags |= flag;
  }
};

struct Keeper::Reply {
  KeeperReply message;
  UniqueFd passed;
};

namespace {

// Waits until `fd` is readable; false at the deadline.
bool WaitReadable(int fd, absl::Time deadline) {
  for (;;) {
    const absl::Duration left = deadline - absl::Now();
    const int64_t ms =
        deadline == absl::InfiniteFuture()
            ? -1
            : std::clamp<int64_t>(absl::ToInt64Milliseconds(left + absl::Microseconds(999)), 0,
                                  1 << 30);
    pollfd p{fd, POLLIN, 0};
    const int n = poll(&p, 1, static_cast<int>(ms));
    if (n > 0) return true;
    if (n == 0 && ms < (1 << 30)) return false;
  }
}

// A datagram and at most one descriptor. 0 bytes: end of file.
ssize_t ReceiveWithFd(int socket, void* data, size_t size, UniqueFd* passed, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec iov{data, size};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return n;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    passed->reset(fd);
  }
  return n;
}

absl::StatusOr<UniqueFd> SealedMemfd(const char* name, absl::string_view data) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus("memfd_create", name);
  for (size_t done = 0; done < data.size();) {
    const ssize_t n = write(fd.get(), data.data() + done, data.size() - done);
    if (n < 0) return ErrnoStatus("write", name);
    done += static_cast<size_t>(n);
  }
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return ErrnoStatus("seal", name);
  return fd;
}

absl::Status CheckPlan(absl::string_view plan, bool exec) {
  const bool aligned = reinterpret_cast<uintptr_t>(plan.data()) % 8 == 0;
  if (!aligned) return absl::InvalidArgumentError("plan: not aligned");
  if (const char* field = ValidatePlan(plan.data(), plan.size()))
    return absl::InvalidArgumentError(absl::StrCat("plan: invalid ", field));
  const bool is_exec = (reinterpret_cast<const Plan*>(plan.data())->flags & kPlanExec) != 0;
  if (is_exec != exec) return absl::InvalidArgumentError("plan: of the wrong kind");
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadPlan(int memfd) {
  std::string bytes(kMaxPlanSize, '\0');
  const ssize_t n = pread(memfd, bytes.data(), bytes.size(), 0);
  if (n < 0) return ErrnoStatus("read the plan");
  bytes.resize(static_cast<size_t>(n));
  RETURN_IF_ERROR(CheckPlan(bytes, false));
  return bytes;
}

absl::Status CheckId(const ContainerId& id) {
  char buffer[kKeeperIdSize] = {};
  if (id.str().size() < sizeof buffer) std::memcpy(buffer, id.str().data(), id.str().size());
  if (KeeperIdIsValid(buffer)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("invalid container id \"", id.str(), "\""));
}

// An answer whose failure, if any, is about the request itself.
absl::Status RequestStatus(int error, const ContainerId& id) {
  switch (error) {
    case 0:
      return absl::OkStatus();
    case ESRCH:
      return absl::NotFoundError(absl::StrCat("container ", id.str(), " is unknown to its keeper"));
    case EEXIST:
      return absl::AlreadyExistsError(absl::StrCat("container ", id.str(), " exists"));
    case EALREADY:
      return absl::FailedPreconditionError(
          absl::StrCat("container ", id.str(), " is in another state"));
    case EBUSY:
      return absl::FailedPreconditionError(absl::StrCat("container ", id.str(), " is running"));
    case ECHILD:
      return absl::UnavailableError(absl::StrCat("container ", id.str(), ": its process has died"));
    case ECANCELED:
      return absl::CancelledError(absl::StrCat("container ", id.str(), " is being removed"));
    case EPROTONOSUPPORT:
      return absl::FailedPreconditionError(
          "the keeper is of another version and must be re-executed");
    default:
      return ErrnoStatusOf(error, absl::StrCat("keeper of container ", id.str()));
  }
}

ExitRecord ToExitRecord(const KeeperExit& e) {
  ExitRecord record;
  record.exit_code = static_cast<int>(e.exit_code);
  record.signal = static_cast<int>(e.signal);
  record.oom_killed = (e.flags & kExitOomKilled) != 0;
  record.started = (e.flags & kExitStarted) != 0;
  record.log_lost = (e.flags & kExitLogLost) != 0;
  record.started_at = absl::FromUnixNanos(e.started_ns);
  record.finished_at = absl::FromUnixNanos(e.finished_ns);
  return record;
}

bool EventIsValid(const KeeperEvent& event, ssize_t size) {
  return size == sizeof event && event.magic == kKeeperMagic;
}

int64_t MonotonicDeadline(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return 0;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t left = absl::ToInt64Nanoseconds(deadline - absl::Now());
  return std::max<int64_t>(
      1, now.tv_sec * int64_t{1000000000} + now.tv_nsec + std::max<int64_t>(0, left));
}

}  // namespace

Keeper::Keeper(PodId pod, std::string state_directory, pid_t pid, UniqueFd pidfd, UniqueFd control)
    : pod_(std::move(pod)),
      state_directory_(std::move(state_directory)),
      pid_(pid),
      pidfd_(std::move(pidfd)),
      control_(std::move(control)) {}

Keeper::~Keeper() = default;

// SEQPACKET: a request is one message, so threads may send at the same time.
absl::StatusOr<UniqueFd> Keeper::Send(const Request& request) const {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return ErrnoStatus("socketpair");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  int fds[kMaxRequestFds] = {theirs.get()};
  std::copy_n(request.fds, request.fd_count, fds + 1);
  const size_t size = static_cast<size_t>(request.fd_count + 1) * sizeof(int);

  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  iovec iov{const_cast<KeeperRequest*>(&request.message), sizeof request.message};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(header), fds, size);
  ssize_t n;
  do n = sendmsg(control_.get(), &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
      return absl::UnavailableError(absl::StrCat("keeper of pod ", pod_.str(), " is gone"));
    return ErrnoStatus("send to the keeper of pod", pod_.str());
  }
  return ours;
}

absl::StatusOr<Keeper::Reply> Keeper::Call(const Request& request, absl::Time deadline) const {
  ASSIGN_OR_RETURN(UniqueFd socket, Send(request));
  if (!WaitReadable(socket.get(), deadline))
    return absl::DeadlineExceededError(
        absl::StrCat("keeper of pod ", pod_.str(), " did not answer in time"));
  absl::StatusOr<Reply> reply(absl::in_place);
  const ssize_t n =
      ReceiveWithFd(socket.get(), &reply->message, sizeof reply->message, &reply->passed, 0);
  if (n <= 0) return absl::UnavailableError(absl::StrCat("keeper of pod ", pod_.str(), " is gone"));
  if (!ReplyIsValid(reply->message, static_cast<size_t>(n)))
    return absl::InternalError(absl::StrCat("keeper of pod ", pod_.str(), ": malformed answer"));
  return reply;
}

absl::StatusOr<CreatedContainer> Keeper::Create(const ContainerId& id, absl::string_view plan,
                                                const StdioOptions& stdio, absl::Time deadline) {
  RETURN_IF_ERROR(CheckId(id));
  RETURN_IF_ERROR(CheckPlan(plan, false));
  ASSIGN_OR_RETURN(UniqueFd memfd, SealedMemfd("berth-plan", plan));
  Request request(RequestType::kCreate, id.str());
  request.Attach(memfd.get(), stdio.stdin_open ? uint32_t{kHasStdin} : 0u);
  ASSIGN_OR_RETURN(const Reply reply, Call(request, deadline));
  const KeeperReply& m = reply.message;
  if (m.error != 0) {
    if (m.failure.step == static_cast<uint32_t>(Step::kSupervisor) || m.failure.step == 0)
      return RequestStatus(m.error, id);
    return DescribeFailure(plan, m.failure);
  }
  return CreatedContainer{m.pid, {m.uid, m.gid, {m.groups, m.groups + m.group_count}}};
}

absl::Status Keeper::Start(const ContainerId& id, UniqueFd log, absl::Time deadline, pid_t* pid) {
  RETURN_IF_ERROR(CheckId(id));
  Request request(RequestType::kStart, id.str());
  if (log.valid()) request.Attach(log.get(), kHasLog);
  ASSIGN_OR_RETURN(const Reply reply, Call(request, deadline));
  const KeeperReply& m = reply.message;
  if (m.error == 0) {
    if (pid != nullptr) *pid = m.pid;
    return absl::OkStatus();
  }
  if (m.failure.step == static_cast<uint32_t>(Step::kSupervisor) || m.failure.step == 0) {
    // Its process died at the gate a moment ago: NotFound is the executable's.
    return RequestStatus(m.error == ESRCH ? ECHILD : m.error, id);
  }
  // The plan comes back with the failure.
  const absl::StatusOr<std::string> plan =
      reply.passed.valid() ? ReadPlan(reply.passed.get()) : absl::NotFoundError("");
  return DescribeFailure(plan.ok() ? absl::string_view(*plan) : absl::string_view(), m.failure);
}

absl::StatusOr<std::unique_ptr<Keeper::ExecSession>> Keeper::StartExec(const ContainerId& id,
                                                                       absl::string_view plan,
                                                                       ExecStdio stdio,
                                                                       absl::Time deadline) const {
  RETURN_IF_ERROR(CheckId(id));
  RETURN_IF_ERROR(CheckPlan(plan, true));
  ASSIGN_OR_RETURN(UniqueFd memfd, SealedMemfd("berth-exec", plan));
  Request request(RequestType::kExec, id.str());
  request.Attach(memfd.get(), 0);
  if (stdio.in.valid()) request.Attach(stdio.in.get(), kHasStdin);
  if (stdio.out.valid()) request.Attach(stdio.out.get(), kHasStdout);
  if (stdio.err.valid()) request.Attach(stdio.err.get(), kHasStderr);
  request.message.deadline_ns = MonotonicDeadline(deadline);
  auto session = std::make_unique<ExecSession>();
  session->plan_ = std::string(plan);
  ASSIGN_OR_RETURN(session->reply_, Send(request));
  return session;
}

absl::StatusOr<std::unique_ptr<Keeper::ExecSession>> Keeper::Exec(const ContainerId& id,
                                                                  absl::string_view plan,
                                                                  ExecStdio stdio,
                                                                  absl::Time deadline) {
  const bool terminal = plan.size() >= sizeof(Plan) &&
                        (reinterpret_cast<const Plan*>(plan.data())->flags & kPlanTerminal) != 0;
  ASSIGN_OR_RETURN(auto session, StartExec(id, plan, std::move(stdio), deadline));
  if (!terminal) return session;
  if (!WaitReadable(session->fd(), deadline))
    return absl::DeadlineExceededError("exec: no terminal in time");
  KeeperReply reply;
  // Anything but kExecStarted is the exec's end, which Wait reads.
  ssize_t n = recv(session->fd(), &reply, sizeof reply, MSG_PEEK);
  if (n > 0 && ReplyIsValid(reply, static_cast<size_t>(n)) &&
      reply.kind == ReplyKind::kExecStarted) {
    ReceiveWithFd(session->fd(), &reply, sizeof reply, &session->terminal_, 0);
    session->pid_ = reply.pid;
  }
  return session;
}

absl::StatusOr<int> Keeper::ExecSession::Wait(absl::Time deadline) {
  if (!WaitReadable(fd(), deadline)) return absl::DeadlineExceededError("exec: still running");
  KeeperReply reply;
  UniqueFd ignored;
  const ssize_t n = ReceiveWithFd(fd(), &reply, sizeof reply, &ignored, 0);
  if (n <= 0) return absl::UnavailableError("exec: the keeper is gone");
  if (!ReplyIsValid(reply, static_cast<size_t>(n)))
    return absl::InternalError("exec: malformed answer");
  pid_ = reply.pid;
  if (reply.error == ETIMEDOUT && reply.failure.step == 0)
    return absl::DeadlineExceededError("exec: killed at its deadline");
  if (reply.error == 0) return static_cast<int>(reply.exit_code);
  if (reply.failure.step == static_cast<uint32_t>(Step::kSupervisor) || reply.failure.step == 0)
    return RequestStatus(reply.error, ContainerId("of the exec"));
  return DescribeFailure(plan_, reply.failure);
}

namespace {

// One output stream of an exec: what is read beyond the limit is dropped.
struct Collector {
  UniqueFd fd;
  std::string* text;
  size_t limit;

  // False at end of file; true if there may be more.
  bool ReadOnce() {
    char buffer[16384];
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    text->append(buffer, std::min<size_t>(static_cast<size_t>(n), limit - text->size()));
    return true;
  }
  // What is in the pipe now, at most a pipe's worth: a writer left behind may go on for ever.
  void Drain() {
    for (int i = 0; i < 64 && fd.valid(); ++i) {
      pollfd p{fd.get(), POLLIN, 0};
      if (poll(&p, 1, 0) <= 0 || !ReadOnce()) return;
    }
  }
};

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe2");
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return std::make_pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

}  // namespace

absl::StatusOr<ExecResult> Keeper::ExecSync(const ContainerId& id, absl::string_view plan,
                                            size_t limit, absl::Time deadline) {
  ExecResult result;
  ASSIGN_OR_RETURN(auto out, MakePipe());
  ASSIGN_OR_RETURN(auto err, MakePipe());
  ExecStdio stdio;
  stdio.out = std::move(out.second);
  stdio.err = std::move(err.second);
  ASSIGN_OR_RETURN(auto session, StartExec(id, plan, std::move(stdio), deadline));
  Collector collectors[2] = {{std::move(out.first), &result.out, limit},
                             {std::move(err.first), &result.err, limit}};
  // The keeper kills the tree at the deadline; a little later it is taken for dead.
  const absl::Time give_up = deadline + absl::Seconds(10);
  for (;;) {
    pollfd p[3] = {
        {session->fd(), POLLIN, 0},
        {collectors[0].fd.get(), POLLIN, 0},  // -1 once it is at its end: ignored by poll
        {collectors[1].fd.get(), POLLIN, 0}};
    const int64_t left = absl::ToInt64Milliseconds(give_up - absl::Now());
    const int n = poll(p, 3,
                       deadline == absl::InfiniteFuture()
                           ? -1
                           : static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (n < 0 && errno != EINTR) return ErrnoStatus("poll");
    if (n == 0 && absl::Now() >= give_up)
      return absl::DeadlineExceededError("exec: the keeper does not answer");
    if (n <= 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (p[i + 1].revents != 0 && !collectors[i].ReadOnce()) collectors[i].fd.reset();
    }
    if (p[0].revents != 0) break;
  }
  ASSIGN_OR_RETURN(result.exit_code, session->Wait(deadline + absl::Seconds(10)));
  for (Collector& c : collectors) c.Drain();
  return result;
}

absl::Status Keeper::Signal(const ContainerId& id, int signal, absl::Time deadline) {
  RETURN_IF_ERROR(CheckId(id));
  Request request(RequestType::kSignal, id.str());
  request.message.value = signal;
  ASSIGN_OR_RETURN(const Reply reply, Call(request, deadline));
  return RequestStatus(reply.message.error, id);
}

absl::Status Keeper::ReopenLog(const ContainerId& id, UniqueFd log, absl::Time deadline) {
  RETURN_IF_ERROR(CheckId(id));
  Request request(RequestType::kReopenLog, id.str());
  request.Attach(log.get(), kHasLog);
  ASSIGN_OR_RETURN(const Reply reply, Call(request, deadline));
  return RequestStatus(reply.message.error, id);
}

absl::Status Keeper::Forget(const ContainerId& id, absl::Time deadline) {
  RETURN_IF_ERROR(CheckId(id));
  ASSIGN_OR_RETURN(const Reply reply, Call(Request(RequestType::kForget, id.str()), deadline));
  return RequestStatus(reply.message.error, id);
}

absl::StatusOr<std::vector<KeptContainer>> Keeper::List(absl::Time deadline) {
  ASSIGN_OR_RETURN(UniqueFd socket, Send(Request(RequestType::kList, "")));
  std::vector<KeptContainer> containers;
  for (;;) {
    if (!WaitReadable(socket.get(), deadline))
      return absl::DeadlineExceededError(
          absl::StrCat("keeper of pod ", pod_.str(), " did not answer in time"));
    KeeperReply m;
    const ssize_t n = recv(socket.get(), &m, sizeof m, 0);
    if (n <= 0)
      return absl::UnavailableError(absl::StrCat("keeper of pod ", pod_.str(), " is gone"));
    if (!ReplyIsValid(m, static_cast<size_t>(n)) ||
        (m.kind == ReplyKind::kListEntry && !KeeperIdIsValid(m.id)))
      return absl::InternalError(absl::StrCat("keeper of pod ", pod_.str(), ": malformed answer"));
    if (m.kind != ReplyKind::kListEntry) break;
    KeptContainer c;
    c.id = ContainerId(m.id);
    c.pid = m.pid;
    c.started_at = absl::FromUnixNanos(m.started_ns);
    const auto state = static_cast<KeeperContainerState>(m.state);
    c.state = state == KeeperContainerState::kRunning  ? KeptState::kRunning
              : state == KeeperContainerState::kExited ? KeptState::kExited
                                                       : KeptState::kCreated;
    containers.push_back(std::move(c));
  }
  return containers;
}

absl::Status Keeper::Reexec(int binary, absl::Time deadline) {
  Request request(RequestType::kReexec, "");
  request.Attach(binary, 0);
  ASSIGN_OR_RETURN(const Reply reply, Call(request, deadline));
  if (reply.message.error == 0) return absl::OkStatus();
  return ErrnoStatusOf(reply.message.error, "re-exec of the keeper");
}

absl::Status Keeper::Shutdown(absl::Time deadline) {
  ASSIGN_OR_RETURN(const Reply reply, Call(Request(RequestType::kShutdown, ""), deadline));
  if (reply.message.error == EBUSY)
    return absl::FailedPreconditionError(
        absl::StrCat("pod ", pod_.str(), " has running containers"));
  if (reply.message.error != 0) return ErrnoStatusOf(reply.message.error, "shutdown of the keeper");
  if (!WaitReadable(pidfd(), deadline))
    return absl::DeadlineExceededError(absl::StrCat("keeper of pod ", pod_.str(), " does not end"));
  siginfo_t info{};
  waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED | WNOHANG);  // ECHILD: adopted
  return absl::OkStatus();
}

void Keeper::Kill() {
  syscall(SYS_pidfd_send_signal, pidfd(), SIGKILL, nullptr, 0);
  WaitReadable(pidfd(), absl::Now() + absl::Seconds(5));
  siginfo_t info{};
  waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED | WNOHANG);
}

// ---- the watcher ----

absl::StatusOr<std::unique_ptr<KeeperWatcher>> KeeperWatcher::Start(KeeperObserver* observer) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.valid() || !wake.valid()) return ErrnoStatus("keeper watcher");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake.get();
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0)
    return ErrnoStatus("epoll_ctl");
  return std::unique_ptr<KeeperWatcher>(
      new KeeperWatcher(observer, std::move(epoll), std::move(wake)));
}

KeeperWatcher::KeeperWatcher(KeeperObserver* observer, UniqueFd epoll, UniqueFd wake)
    : observer_(observer),
      epoll_(std::move(epoll)),
      wake_(std::move(wake)),
      thread_([this] { Run(); }) {}

KeeperWatcher::~KeeperWatcher() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
  thread_.join();
}

absl::Status KeeperWatcher::Watch(std::shared_ptr<Keeper> keeper) {
  MutexLock lock(&mu_);
  for (int fd : {keeper->control_.get(), keeper->pidfd()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus("epoll_ctl");
    by_fd_[fd] = keeper;
  }
  return absl::OkStatus();
}

bool KeeperWatcher::Remove(const PodId& pod) {
  MutexLock lock(&mu_);
  bool found = false;
  for (auto it = by_fd_.begin(); it != by_fd_.end();) {
    if (it->second->pod() == pod) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->first, nullptr);
      by_fd_.erase(it++);
      found = true;
    } else {
      ++it;
    }
  }
  return found;
}

void KeeperWatcher::Unwatch(const PodId& pod) {
  Remove(pod);
  if (std::this_thread::get_id() == thread_.get_id()) return;
  MutexLock lock(&dispatch_mu_);  // a callback that runs has ended
}

// Each message is one event; whatever else comes is ignored.
void KeeperWatcher::Drain(const Keeper& keeper) {
  for (;;) {
    KeeperEvent event;
    const ssize_t n = recv(keeper.control_.get(), &event, sizeof event, MSG_DONTWAIT);
    if (n == 0) {  // the keeper's end is closed; its pidfd tells of its death
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, keeper.control_.get(), nullptr);
      return;
    }
    if (n < 0) return;
    if (!EventIsValid(event, n) || event.type != EventType::kExit) continue;
    if (!ExitIsValid(event.exit, sizeof event.exit)) continue;
    observer_->OnExit(keeper.pod(), ContainerId(event.exit.id), ToExitRecord(event.exit));
  }
}

void KeeperWatcher::Dispatch(int fd) {
  std::shared_ptr<Keeper> keeper;
  MutexLock dispatching(&dispatch_mu_);
  {
    MutexLock lock(&mu_);
    const auto it = by_fd_.find(fd);
    if (it == by_fd_.end()) return;
    keeper = it->second;
  }
  Drain(*keeper);
  if (fd != keeper->pidfd()) return;
  siginfo_t info{};
  waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED | WNOHANG);
  if (Remove(keeper->pod())) observer_->OnKeeperDeath(keeper->pod());
}

void KeeperWatcher::Run() {
  for (;;) {
    epoll_event events[32];
    const int n = epoll_wait(epoll_.get(), events, 32, -1);
    for (int i = 0; i < n; ++i) {
      {
        MutexLock lock(&mu_);
        if (stop_) return;
      }
      Dispatch(events[i].data.fd);
    }
  }
}

// ---- exit records ----

absl::StatusOr<std::vector<std::pair<ContainerId, ExitRecord>>> ReadExitRecords(
    const std::string& state_directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(state_directory));
  std::vector<std::pair<ContainerId, ExitRecord>> records;
  for (const std::string& name : names) {
    if (name.compare(0, strlen(kExitRecordPrefix), kExitRecordPrefix) != 0) continue;
    const absl::StatusOr<std::string> bytes =
        ReadFile(absl::StrCat(state_directory, "/", name), 4096);
    KeeperExit record;
    if (!bytes.ok() || bytes->size() != sizeof record) continue;
    std::memcpy(&record, bytes->data(), sizeof record);
    if (!ExitIsValid(record, sizeof record) || absl::StrCat(kExitRecordPrefix, record.id) != name)
      continue;
    records.emplace_back(ContainerId(record.id), ToExitRecord(record));
  }
  return records;
}

}  // namespace berth
