#include "server/cri/call.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/cri/status_map.h"

namespace berth {
namespace {

absl::Time DeadlineOf(const grpc::ServerContext& context) {
  const auto deadline = context.deadline();
  // gRPC has a far, but finite, point for "none".
  if (deadline > std::chrono::system_clock::now() + std::chrono::hours(24 * 365)) {
    return absl::InfiniteFuture();
  }
  return absl::FromChrono(deadline);
}

absl::Status TooLarge(size_t size, size_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the response has ", size, " bytes, more than the limit of ", limit, " bytes"));
}

absl::Status TooSlow(absl::Duration timeout) {
  return absl::DeadlineExceededError(absl::StrCat("the client of the stream took no message for ",
                                                  absl::FormatDuration(timeout),
                                                  "; the stream was broken off"));
}

}  // namespace

Call::Call(CallOwner* owner) : owner_(owner), stream_(&context_) {}

void Call::Await(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue,
                 CallOwner* owner) {
  Call* call = new Call(owner);
  call->context_.AsyncNotifyWhenDone(&call->done_);
  service->RequestCall(&call->context_, &call->stream_, queue, queue, &call->arrived_);
}

void Call::Release() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  CallOwner* const owner = owner_;
  delete this;
  owner->OnEnded();
}

// Of the references that the call was made with, one is its own until Finish has completed, and one is
// done_'s: that may complete, on another thread, before this runs.
void Call::OnArrived(bool ok) {
  if (!ok) {  // The server shuts down; done_ will not complete.
    Release();
    return Release();
  }
  arrival_ = absl::Now();
  method_ = FindMethod(path());
  owner_->OnArrived(this);
}

void Call::Identify(std::string request_id) {
  call_context_ =
      std::make_unique<CallContext>(std::move(request_id), context_.peer(), DeadlineOf(context_));
  identified_.store(true);
  if (cancelled_early_.load()) call_context_->Cancel();
}

void Call::Read() { stream_.Read(&request_, &read_); }

void Call::OnRead(bool ok) {
  request_ok_ = ok;
  owner_->OnRequest(this);
}

void Call::OnDone(bool ok) {
  if (context_.IsCancelled()) {
    cancelled_early_.store(true);
    if (identified_.load()) {
      call_context_->Cancel();
      owner_->OnGone(this);
    }
  }
  Release();
}

absl::Status Call::Run(const Handlers& handlers, size_t max_message_bytes,
                       absl::Duration write_timeout) {
  if (!request_ok_) return absl::InvalidArgumentError("the call has no readable request message");
  absl::Status status;
  if (method_->kind == MethodKind::kStream) {
    status =
        method_->stream(handlers, context(), &request_,
                        [this, max_message_bytes, write_timeout](const grpc::ByteBuffer* message) {
                          return Send(message, max_message_bytes, write_timeout);
                        });
    if (!stream_error_.ok()) status = stream_error_;
  } else {
    status = method_->unary(handlers, context(), &request_, &response_);
    if (status.ok() && response_.Length() > max_message_bytes) {
      status = TooLarge(response_.Length(), max_message_bytes);
    }
    has_response_ = status.ok();
  }
  request_.Clear();
  return status;
}

bool Call::Send(const grpc::ByteBuffer* message, size_t max_message_bytes,
                absl::Duration write_timeout) {
  if (context().cancelled() || !stream_error_.ok()) return false;
  if (message != nullptr && message->Length() > max_message_bytes) {
    stream_error_ = TooLarge(message->Length(), max_message_bytes);
    return false;
  }
  absl::Notification done;
  write_done_ = &done;
  if (message != nullptr) {
    stream_.Write(*message, &written_);
  } else {
    stream_.SendInitialMetadata(&written_);
  }
  if (!done.WaitForNotificationWithTimeout(write_timeout)) {
    stream_error_ = TooSlow(write_timeout);
    Abort();
    done.WaitForNotification();
  }
  return write_ok_ && stream_error_.ok();
}

void Call::OnWritten(bool ok) {
  write_ok_ = ok;
  write_done_->Notify();
}

void Call::Finish(const absl::Status& status) {
  if (has_response_ && status.ok()) {
    stream_.WriteAndFinish(response_, grpc::WriteOptions(), grpc::Status::OK, &finished_);
  } else {
    stream_.Finish(ToGrpcStatus(status), &finished_);
  }
}

void Call::OnFinished(bool ok) { Release(); }

void Call::Abort() {
  call_context_->Cancel();
  context_.TryCancel();
}

}  // namespace berth
