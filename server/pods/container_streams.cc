#include "server/pods/container_streams.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/status.h"
#include "server/store/transitions.h"

namespace berth {
namespace {

// For the keeper's answer; the process itself may run for ever.
constexpr absl::Duration kStartTime = absl::Minutes(2);
// A bigger pipe means fewer switches between the process and us. More than 1 MiB needs a privilege.
constexpr int kPipeSize = 256 << 10;

template <typename Request>
absl::Status CheckStreams(const Request& request) {
  if (request.container_id().empty()) return absl::InvalidArgumentError("container_id is empty");
  if (request.tty() && request.stderr()) {
    return absl::InvalidArgumentError("stderr: a terminal has no separate stderr");
  }
  if (!request.stdin() && !request.stdout() && !request.stderr()) {
    return absl::InvalidArgumentError("one of stdin, stdout and stderr must be set");
  }
  return absl::OkStatus();
}

struct Pipe {
  UniqueFd read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe2");
  fcntl(ends[0], F_SETPIPE_SZ, kPipeSize);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

absl::StatusOr<UniqueFd> TcpSocket(int family) {
  UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus("socket");
  return fd;
}

}  // namespace

absl::StatusOr<ContainerRecordPtr> ContainerStreams::Running(const std::string& id) const {
  ASSIGN_OR_RETURN(ContainerRecordPtr record, node_.store->FindContainer(id));
  if (record->state() == store::v1::CONTAINER_STATE_RUNNING) return record;
  return absl::FailedPreconditionError(absl::StrCat(
      "container ", record->id(), " is ", ContainerStateName(record->state()), ", not running"));
}

absl::StatusOr<StreamRequest> ContainerStreams::RequestOf(const cri::ExecRequest& request) const {
  RETURN_IF_ERROR(CheckStreams(request));
  if (request.cmd().empty()) return absl::InvalidArgumentError("cmd is empty");
  ASSIGN_OR_RETURN(const ContainerRecordPtr record, Running(request.container_id()));
  StreamRequest stream;
  stream.kind = StreamKind::kExec;
  stream.id = record->id();
  stream.command.assign(request.cmd().begin(), request.cmd().end());
  stream.tty = request.tty();
  stream.in = request.stdin();
  stream.out = request.stdout();
  stream.err = request.stderr();
  return stream;
}

absl::StatusOr<StreamRequest> ContainerStreams::RequestOf(const cri::AttachRequest& request) const {
  RETURN_IF_ERROR(CheckStreams(request));
  ASSIGN_OR_RETURN(const ContainerRecordPtr record, Running(request.container_id()));
  StreamRequest stream;
  stream.kind = StreamKind::kAttach;
  stream.id = record->id();
  stream.tty = request.tty();
  stream.in = request.stdin();
  stream.out = request.stdout();
  stream.err = request.stderr();
  return stream;
}

absl::StatusOr<StreamRequest> ContainerStreams::RequestOf(
    const cri::PortForwardRequest& request) const {
  if (request.pod_sandbox_id().empty()) {
    return absl::InvalidArgumentError("pod_sandbox_id is empty");
  }
  StreamRequest stream;
  stream.kind = StreamKind::kPortForward;
  for (const int32_t port : request.port()) {
    if (port < 1 || port > 65535) {
      return absl::InvalidArgumentError(absl::StrCat("port: ", port, " is no port"));
    }
    stream.ports.push_back(port);
  }
  // Channels are numbered by a byte, and each port has two.
  if (stream.ports.size() > 127) return absl::InvalidArgumentError("port: more than 127");
  ASSIGN_OR_RETURN(const PodRecordPtr pod, node_.store->FindPod(request.pod_sandbox_id()));
  if (pod->state() != store::v1::POD_STATE_READY) {
    return absl::FailedPreconditionError(absl::StrCat("pod ", pod->id(), " is not ready"));
  }
  stream.id = pod->id();
  return stream;
}

absl::StatusOr<StartedExec> ContainerStreams::Exec(const StreamRequest& request) {
  RETURN_IF_ERROR(Failpoint("streams.exec"));
  ASSIGN_OR_RETURN(const ContainerRecordPtr record, Running(request.id));
  ASSIGN_OR_RETURN(const std::shared_ptr<Keeper> keeper, keepers_->Find(PodId(record->pod_id())));
  ASSIGN_OR_RETURN(const std::string plan,
                   containers_->CompileExec(*record, request.command, request.tty));
  StartedExec started;
  Keeper::ExecStdio theirs;
  if (!request.tty) {
    Pipe pipe;
    if (request.in) {
      ASSIGN_OR_RETURN(pipe, MakePipe());
      theirs.in = std::move(pipe.read), started.in = std::move(pipe.write);
    }
    if (request.out) {
      ASSIGN_OR_RETURN(pipe, MakePipe());
      theirs.out = std::move(pipe.write), started.out = std::move(pipe.read);
    }
    if (request.err) {
      ASSIGN_OR_RETURN(pipe, MakePipe());
      theirs.err = std::move(pipe.write), started.err = std::move(pipe.read);
    }
  }
  ASSIGN_OR_RETURN(started.process, keeper->Exec(ContainerId(record->id()), plan, std::move(theirs),
                                                 absl::InfiniteFuture(), absl::Now() + kStartTime));
  started.terminal = started.process->TakeTerminal();
  return started;
}

absl::StatusOr<StartedAttach> ContainerStreams::Attach(const StreamRequest& request) {
  RETURN_IF_ERROR(Failpoint("streams.attach"));
  ASSIGN_OR_RETURN(const ContainerRecordPtr record, Running(request.id));
  ASSIGN_OR_RETURN(const std::shared_ptr<Keeper> keeper, keepers_->Find(PodId(record->pod_id())));
  ASSIGN_OR_RETURN(Keeper::Attachment attachment,
                   keeper->Attach(ContainerId(record->id()), request.in, absl::Now() + kStartTime));
  return StartedAttach{std::move(attachment.output), std::move(attachment.terminal),
                       std::move(attachment.in)};
}

// A socket stays in the namespace that it was made in. A thread that ends joins it, not one of a pool.
absl::StatusOr<UniqueFd> ContainerStreams::PodSocket(const std::string& pod, int family) {
  const PodRecordPtr record = node_.store->Pod(PodId(pod));
  if (record == nullptr || record->state() != store::v1::POD_STATE_READY) {
    return absl::FailedPreconditionError(absl::StrCat("pod ", pod, " is not ready"));
  }
  if (record->netns_path().empty()) return TcpSocket(family);
  ASSIGN_OR_RETURN(const UniqueFd netns, OpenFile(record->netns_path(), O_RDONLY));
  absl::StatusOr<UniqueFd> made = absl::InternalError("no thread");
  std::function<void()> make = [&] {
    if (setns(netns.get(), CLONE_NEWNET) != 0) {
      made = ErrnoStatus("setns", record->netns_path());
    } else {
      made = TcpSocket(family);
    }
  };
  // No std::thread, which throws if the system has none left.
  pthread_t thread;
  const auto run = [](void* work) -> void* {
    (*static_cast<std::function<void()>*>(work))();
    return nullptr;
  };
  if (const int error = pthread_create(&thread, nullptr, run, &make); error != 0)
    return ErrnoStatusOf(error, "pthread_create");
  pthread_join(thread, nullptr);
  return made;
}

}  // namespace berth
