// Execs: a session that lives as long as its process, and one whose output is collected.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "absl/time/clock.h"
#include "base/status.h"
#include "runtime/keeper_call.h"
#include "runtime/keeper_failure.h"

namespace berth {
namespace {

int64_t MonotonicDeadline(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return 0;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t left = absl::ToInt64Nanoseconds(deadline - absl::Now());
  return std::max<int64_t>(
      1, now.tv_sec * int64_t{1000000000} + now.tv_nsec + std::max<int64_t>(0, left));
}

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
                                                                  absl::Time deadline,
                                                                  absl::Time terminal_by) {
  const bool terminal = plan.size() >= sizeof(Plan) &&
                        (reinterpret_cast<const Plan*>(plan.data())->flags & kPlanTerminal) != 0;
  ASSIGN_OR_RETURN(auto session, StartExec(id, plan, std::move(stdio), deadline));
  if (!terminal) return session;
  if (!WaitReadable(session->fd(), std::min(deadline, terminal_by)))
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

}  // namespace berth
