// One gRPC call, from its arrival to its end. Internal to the transport.
#ifndef BERTH_SERVER_CRI_CALL_H_
#define BERTH_SERVER_CRI_CALL_H_

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "server/cri/call_context.h"
#include "server/cri/method_table.h"

namespace berth {

class Call;

// What the transport decides about calls.
class CallOwner {
 public:
  virtual ~CallOwner() = default;
  // A call arrived: ask for the next, and say when this one may run (Call::Run or Call::Refuse).
  virtual void OnArrived(Call* call) = 0;
  // The request is read.
  virtual void OnRequest(Call* call) = 0;
  // The client has gone, or the call has ended.
  virtual void OnGone(Call* call) = 0;
  // A call has been deleted. Comes for a call that never arrived, too.
  virtual void OnEnded() = 0;
};

// What a completion queue hands back.
class CompletionTag {
 public:
  virtual ~CompletionTag() = default;
  virtual void Complete(bool ok) = 0;
};

// Deletes itself when the last operation on it has completed and its handler has returned.
class Call {
 public:
  // Asks the server for a call; OnArrived follows, unless the server shuts down first.
  static void Await(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue,
                    CallOwner* owner);

  // What was called; null for an unknown method. Valid from OnArrived on, like the context.
  const Method* method() const { return method_; }
  const std::string& path() const { return context_.method(); }
  const CallContext& context() const { return *call_context_; }
  absl::Time arrival() const { return arrival_; }

  // Names the call. In OnArrived.
  void Identify(std::string request_id);
  // Reads the request; OnRequest follows. In OnArrived.
  void Read();

  // Calls the handler on this thread. The result is what the client is to get.
  // `write_timeout` is what the client of a stream may take for one message.
  absl::Status Run(const Handlers& handlers, size_t max_message_bytes,
                   absl::Duration write_timeout);
  // Sends the result; once per call that arrived. The caller must not touch the call afterwards.
  void Finish(const absl::Status& status);

  // Tells the handler that nobody waits for it any more.
  void Cancel() { call_context_->Cancel(); }
  // Breaks the call off, on the wire too.
  void Abort();

  // Keep the call from being deleted, from when it is known to live.
  void Hold() { references_.fetch_add(1, std::memory_order_relaxed); }
  void Release();

 private:
  struct Tag : CompletionTag {
    Tag(Call* c, void (Call::*m)(bool)) : call(c), member(m) {}
    void Complete(bool ok) override { (call->*member)(ok); }
    Call* const call;
    void (Call::* const member)(bool);
  };

  explicit Call(CallOwner* owner);
  ~Call() = default;

  void OnArrived(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnDone(bool ok);
  // Of a stream: sends a message, or the headers if it is null, and waits until it has gone.
  bool Send(const grpc::ByteBuffer* message, size_t max_message_bytes,
            absl::Duration write_timeout);

  CallOwner* const owner_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  Tag arrived_{this, &Call::OnArrived};
  Tag read_{this, &Call::OnRead};
  Tag written_{this, &Call::OnWritten};
  Tag finished_{this, &Call::OnFinished};
  Tag done_{this, &Call::OnDone};

  std::atomic<int> references_{2};
  const Method* method_ = nullptr;
  absl::Time arrival_;
  std::unique_ptr<CallContext> call_context_;
  // done_ may complete while another thread is still in OnArrived.
  std::atomic<bool> identified_{false};
  std::atomic<bool> cancelled_early_{false};

  bool request_ok_ = false;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  bool has_response_ = false;

  // The one write in flight of a stream.
  absl::Notification* write_done_ = nullptr;
  bool write_ok_ = false;
  absl::Status stream_error_;
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_CALL_H_
