#include "runtime/keeper_client.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "runtime/keeper_call.h"
#include "runtime/keeper_failure.h"

namespace berth {
namespace {

absl::StatusOr<std::string> ReadPlan(int memfd) {
  std::string bytes(kMaxPlanSize, '\0');
  const ssize_t n = pread(memfd, bytes.data(), bytes.size(), 0);
  if (n < 0) return ErrnoStatus("read the plan");
  bytes.resize(static_cast<size_t>(n));
  RETURN_IF_ERROR(CheckPlan(bytes, false));
  return bytes;
}

}  // namespace

Keeper::Keeper(PodId pod, std::string state_directory, pid_t pid, UniqueFd pidfd, UniqueFd control)
    : pod_(std::move(pod)),
      state_directory_(std::move(state_directory)),
      pid_(pid),
      pidfd_(std::move(pidfd)),
      control_(std::move(control)) {}

Keeper::~Keeper() = default;

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
  if (reply.message.error == EPROTONOSUPPORT) {
    return absl::FailedPreconditionError(
        "re-exec of the keeper: the program keeps its state in another layout; the present one "
        "goes on");
  }
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

void Keeper::Continue() { syscall(SYS_pidfd_send_signal, pidfd(), SIGCONT, nullptr, 0); }

void Keeper::Kill() {
  syscall(SYS_pidfd_send_signal, pidfd(), SIGKILL, nullptr, 0);
  WaitReadable(pidfd(), absl::Now() + absl::Seconds(5));
  siginfo_t info{};
  waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED | WNOHANG);
}

}  // namespace berth
