#include "server/streaming/remote_command.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <utility>

#include "absl/time/clock.h"
#include "base/status.h"
#include "server/streaming/remote_status.h"

namespace berth {
namespace {

using Descriptor = boost::asio::posix::stream_descriptor;
using Error = boost::system::error_code;

absl::StatusOr<UniqueFd> Duplicate(int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy.valid()) return ErrnoStatus("fcntl F_DUPFD_CLOEXEC");
  return copy;
}

}  // namespace

std::shared_ptr<RemoteCommand> RemoteCommand::Run(const StreamLoop& loop, StreamRequest request,
                                                  const StreamProtocol& protocol,
                                                  ClientConnectionPtr connection,
                                                  CommandStreams streams) {
  std::shared_ptr<RemoteCommand> command(new RemoteCommand(
      loop, std::move(request), protocol, std::move(connection), std::move(streams)));
  command->Start();
  return command;
}

void RemoteCommand::Start() {
  const auto self = shared_from_this();
  connection_->SetOnClosed([self] { self->OnClientGone(); });
  StreamBackend* const backend = loop_.backend;
  if (request_.kind == StreamKind::kExec) {
    loop_.Do([backend, request = request_] { return backend->Exec(request); },
             [self](auto started) { self->OnExecStarted(std::move(started)); });
  } else {
    loop_.Do([backend, request = request_] { return backend->Attach(request); },
             [self](auto attached) { self->OnAttached(std::move(attached)); });
  }
}

void RemoteCommand::OnExecStarted(absl::StatusOr<StartedExec> started) {
  if (finished_) return;  // the client has gone: dropping the session kills the process
  const absl::Status status = started.ok() ? JoinExec(*std::move(started)) : started.status();
  if (!status.ok()) Finish(status);
}

absl::Status RemoteCommand::JoinExec(StartedExec started) {
  process_ = std::move(started.process);
  if (started.terminal.valid()) {
    terminal_ = std::move(started.terminal);
    ASSIGN_OR_RETURN(UniqueFd from, Duplicate(terminal_.get()));
    ASSIGN_OR_RETURN(UniqueFd to, Duplicate(terminal_.get()));
    StartOutput(std::move(from), streams_.out, &out_);
    StartInput(std::move(to), InPump::AtEnd::kNothing);
    ReadSizes();
  } else {
    StartOutput(std::move(started.out), streams_.out, &out_);
    StartOutput(std::move(started.err), streams_.err, &err_);
    StartInput(std::move(started.in), InPump::AtEnd::kClose);
  }
  return WaitForExit();
}

void RemoteCommand::OnAttached(absl::StatusOr<StartedAttach> attached) {
  if (finished_) return;
  const absl::Status status = attached.ok() ? JoinAttach(*std::move(attached)) : attached.status();
  if (!status.ok()) Finish(status);
}

absl::Status RemoteCommand::JoinAttach(StartedAttach attached) {
  if (attached.terminal.valid()) {
    terminal_ = std::move(attached.terminal);
    ASSIGN_OR_RETURN(UniqueFd to, Duplicate(terminal_.get()));
    StartInput(std::move(to), InPump::AtEnd::kNothing);
    ReadSizes();
  } else {
    StartInput(std::move(attached.in), InPump::AtEnd::kClose);
  }
  attached_ = AttachOutput::Start(loop_.io, std::move(attached.output), streams_.out, streams_.err,
                                  [self = shared_from_this()](const absl::Status& status) {
                                    self->Finish(status.ok() ? absl::StatusOr<int>(0) : status);
                                  });
  return absl::OkStatus();
}

void RemoteCommand::StartInput(UniqueFd to, InPump::AtEnd at_end) {
  if (streams_.in == nullptr) return;
  in_ = InPump::Start(loop_.io, streams_.in, std::move(to), at_end, nullptr);
}

void RemoteCommand::StartOutput(UniqueFd from, const StreamPtr& to,
                                std::shared_ptr<OutPump>* pump) {
  if (!from.valid() || to == nullptr) return;
  ++open_outputs_;
  *pump = OutPump::Start(loop_.io, std::move(from), to,
                         [self = shared_from_this(), to, pump](bool gone) {
                           --self->open_outputs_;
                           if (const int error = (*pump)->error(); error != 0)
                             return self->Finish(ErrnoStatusOf(error, "read the output"));
                           if (!gone) to->Finish();
                           self->FinishIfDone();
                         });
}

absl::Status RemoteCommand::WaitForExit() {
  ASSIGN_OR_RETURN(UniqueFd fd, Duplicate(process_->fd()));
  Error failed;
  exit_.emplace(*loop_.io);
  (void)exit_->assign(fd.get(), failed);
  if (failed) return ErrnoStatusOf(failed.value(), "watch the process");
  fd.release();
  exit_->async_wait(Descriptor::wait_read, [self = shared_from_this()](Error error) {
    if (error || self->process_ == nullptr) return;
    self->result_ = self->process_->Wait(absl::Now());
    self->process_.reset();
    self->exit_.reset();
    if (self->out_ != nullptr) self->out_->Drain();
    if (self->err_ != nullptr) self->err_->Drain();
    self->FinishIfDone();
  });
  return absl::OkStatus();
}

void RemoteCommand::FinishIfDone() {
  if (result_.has_value() && open_outputs_ == 0) Finish(*result_);
}

// A bad size ends resizing, not the session.
void RemoteCommand::ReadSizes() {
  if (streams_.resize == nullptr) return;
  streams_.resize->Read([self = shared_from_this()](const std::string& bytes) {
    if (bytes.empty() || self->finished_) return;
    for (const TerminalSize& size : self->sizes_.Read(bytes)) {
      winsize window{};
      window.ws_col = size.width;
      window.ws_row = size.height;
      ioctl(self->terminal_.get(), TIOCSWINSZ, &window);
    }
    self->ReadSizes();
  });
}

void RemoteCommand::Fail(const absl::Status& status) { Finish(status); }

void RemoteCommand::Finish(const absl::StatusOr<int>& result) {
  if (finished_) return;
  StopAll();
  if (streams_.out != nullptr) streams_.out->Finish();
  if (streams_.err != nullptr) streams_.err->Finish();
  status_ = EncodeRemoteStatus(result, protocol_.json_status());
  streams_.error->Write(status_, [self = shared_from_this()](bool ok) {
    if (self->connection_ == nullptr) return;
    self->streams_.error->Finish();
    self->connection_->Close();
  });
}

void RemoteCommand::OnClientGone() {
  StopAll();
  connection_ = nullptr;
  streams_ = {};
}

void RemoteCommand::StopAll() {
  finished_ = true;
  process_.reset();
  exit_.reset();
  if (out_ != nullptr) out_->Stop();
  if (err_ != nullptr) err_->Stop();
  if (in_ != nullptr) in_->Stop();
  if (attached_ != nullptr) attached_->Stop();
}

}  // namespace berth
