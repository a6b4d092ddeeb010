#include "server/cri/server.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/resource_quota.h"
#include "server/cri/blocking_pool.h"
#include "server/cri/call.h"
#include "server/cri/unix_listener.h"

namespace berth {
namespace {

constexpr int kQueueThreads = 2;
// Calls that the server may hand over before we have asked again.
constexpr int kAwaited = 4;
// For the bytes of messages in transit; beyond it gRPC reads more slowly.
constexpr size_t kBufferQuota = 128 << 20;
constexpr absl::Duration kCancelPatience = absl::Seconds(5);
// For answers that are written to be sent.
constexpr absl::Duration kFlushPatience = absl::Seconds(1);

const absl::Status& Stopping() {
  static const auto* status = new absl::Status(absl::UnavailableError("berthd is shutting down"));
  return *status;
}

BlockingPoolOptions PoolOptions(int max_threads, const CriServerOptions& options) {
  return {.max_threads = max_threads,
          .idle_timeout = options.idle_thread_timeout,
          // What a burst of calls needed goes back to the kernel.
          .on_idle = [] { malloc_trim(0); }};
}

class ServerImpl : public CriServer, private CallOwner {
 public:
  ServerImpl(const CriServerOptions& options, const Handlers& handlers, RpcObserver* observer,
             std::unique_ptr<UnixListener> listener)
      : options_(options),
        handlers_(handlers),
        observer_(observer),
        listener_(std::move(listener)),
        pool_(PoolOptions(options.max_blocking_calls, options)),
        stream_pool_(PoolOptions(options.max_streams, options)) {}
  ~ServerImpl() override;

  absl::Status Listen();
  void SetReady() override;
  bool Shutdown(absl::Time deadline) override;

 private:
  void OnArrived(Call* call) override;
  void OnRequest(Call* call) override;
  void OnGone(Call* call) override;
  void OnEnded() override;

  void Await();
  void ServeQueue();
  void Dispatch(Call* call);
  void RunAndEnd(Call* call);
  void End(Call* call, const absl::Status& status);
  bool WaitForHandlers(absl::Time deadline);
  // The calls in their handlers, or only the streams of them; each is to be released.
  std::vector<Call*> HoldRunning(bool streams_only);
  void StopTransport();

  const CriServerOptions options_;
  const Handlers handlers_;
  RpcObserver* const observer_;
  std::unique_ptr<UnixListener> listener_;
  BlockingPool pool_;
  BlockingPool stream_pool_;
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> next_id_{1};

  Mutex mu_;
  CondVar handlers_done_;
  CondVar calls_gone_;
  bool ready_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Calls wait here for SetReady(), and are in `running_` from their dispatch to their result.
  std::set<Call*> waiting_ ABSL_GUARDED_BY(mu_);
  std::set<Call*> running_ ABSL_GUARDED_BY(mu_);
  int streams_ ABSL_GUARDED_BY(mu_) = 0;
  // Call objects that exist. The queue may be shut down when there is none and `closed_` is set.
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

absl::Status ServerImpl::Listen() {
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort("unix:" + listener_->temporary_path(), grpc::InsecureServerCredentials(),
                           &bound);
  builder.RegisterAsyncGenericService(&service_);
  builder.SetMaxReceiveMessageSize(options_.max_message_bytes);
  builder.SetMaxSendMessageSize(options_.max_message_bytes);
  grpc::ResourceQuota quota("cri");
  quota.Resize(kBufferQuota);
  builder.SetResourceQuota(quota);
  // A local client may ping as often as it likes; we never ping.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, INT_MAX);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  queue_ = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || bound == 0) {
    return absl::UnavailableError(
        absl::StrCat("listen on ", listener_->temporary_path(), ": gRPC could not bind it"));
  }
  for (int i = 0; i < kAwaited; ++i) Await();
  for (int i = 0; i < kQueueThreads; ++i) threads_.emplace_back([this] { ServeQueue(); });
  return listener_->Publish();
}

ServerImpl::~ServerImpl() {
  if (!Shutdown(absl::Now())) {
    LogError("cri server destroyed while a handler runs");
    abort();
  }
}

void ServerImpl::Await() {
  {
    MutexLock lock(&mu_);
    if (closed_) return;
    ++calls_;
  }
  Call::Await(&service_, queue_.get(), this);
}

void ServerImpl::ServeQueue() {
  pthread_setname_np(pthread_self(), "berth-cri");
  void* tag;
  bool ok;
  while (queue_->Next(&tag, &ok)) static_cast<CompletionTag*>(tag)->Complete(ok);
}

void ServerImpl::OnArrived(Call* call) {
  Await();
  call->Identify(absl::StrCat("r", next_id_.fetch_add(1, std::memory_order_relaxed)));
  if (observer_ != nullptr) observer_->OnStart(call->method() ? call->method()->name : "unknown");
  if (call->method() == nullptr) {
    return End(call, absl::UnimplementedError(absl::StrCat(call->path(), " is not implemented")));
  }
  call->Read();
}

void ServerImpl::OnRequest(Call* call) {
  absl::Status refusal;
  {
    MutexLock lock(&mu_);
    if (stopping_) {
      refusal = Stopping();
    } else if (!ready_ && call->method()->name != "Version") {
      waiting_.insert(call);
      // OnGone may have come before.
      if (!call->context().cancelled()) return;
      waiting_.erase(call);
      refusal = absl::UnavailableError("berthd is starting");
    }
  }
  if (!refusal.ok()) return End(call, refusal);
  Dispatch(call);
}

void ServerImpl::OnGone(Call* call) {
  {
    MutexLock lock(&mu_);
    if (waiting_.erase(call) == 0) return;
  }
  End(call, absl::UnavailableError("berthd is starting"));
}

void ServerImpl::OnEnded() {
  MutexLock lock(&mu_);
  if (--calls_ == 0) calls_gone_.SignalAll();
}

void ServerImpl::SetReady() {
  std::set<Call*> calls;
  {
    MutexLock lock(&mu_);
    if (stopping_) return;
    ready_ = true;
    calls.swap(waiting_);
  }
  for (Call* call : calls) Dispatch(call);
}

void ServerImpl::Dispatch(Call* call) {
  const MethodKind kind = call->method()->kind;
  absl::Status refusal;
  {
    MutexLock lock(&mu_);
    if (stopping_) {
      refusal = Stopping();
    } else if (kind == MethodKind::kStream && streams_ >= options_.max_streams) {
      refusal = absl::ResourceExhaustedError(
          absl::StrCat("too many open streams: the limit is ", options_.max_streams));
    } else {
      running_.insert(call);
      if (kind == MethodKind::kStream) ++streams_;
    }
  }
  if (!refusal.ok()) return End(call, refusal);
  if (kind == MethodKind::kInline) return RunAndEnd(call);
  BlockingPool& pool = kind == MethodKind::kStream ? stream_pool_ : pool_;
  pool.Run([this, call] { RunAndEnd(call); });
}

void ServerImpl::RunAndEnd(Call* call) {
  absl::Status status;
  if (call->context().cancelled()) {
    status = absl::CancelledError("the client has gone before the call could run");
  } else {
    status = call->Run(handlers_, options_.max_message_bytes, options_.stream_write_timeout);
  }
  {
    MutexLock lock(&mu_);
    running_.erase(call);
    if (call->method()->kind == MethodKind::kStream) {
      --streams_;
      // A stream that we ended for the shutdown.
      if (stopping_ && status.ok()) status = Stopping();
    }
    if (stopping_ && running_.empty()) handlers_done_.SignalAll();
  }
  End(call, status);
}

void ServerImpl::End(Call* call, const absl::Status& status) {
  if (observer_ != nullptr) {
    observer_->OnEnd({.method = call->method() ? call->method()->name : "unknown",
                      .request_id = call->context().request_id(),
                      .status = status,
                      .duration = absl::Now() - call->arrival()});
  }
  call->Finish(status);
}

bool ServerImpl::WaitForHandlers(absl::Time deadline) {
  MutexLock lock(&mu_);
  while (!running_.empty()) {
    if (handlers_done_.WaitWithDeadline(&mu_, deadline)) return running_.empty();
  }
  return true;
}

std::vector<Call*> ServerImpl::HoldRunning(bool streams_only) {
  std::vector<Call*> calls;
  MutexLock lock(&mu_);
  for (Call* call : running_) {
    if (streams_only && call->method()->kind != MethodKind::kStream) continue;
    call->Hold();
    calls.push_back(call);
  }
  return calls;
}

bool ServerImpl::Shutdown(absl::Time deadline) {
  listener_->Unpublish();
  if (server_ == nullptr) return true;
  std::set<Call*> refused;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    refused.swap(waiting_);
  }
  for (Call* call : refused) End(call, Stopping());
  for (Call* call : HoldRunning(/*streams_only=*/true)) {
    call->Cancel();
    call->Release();
  }
  if (!WaitForHandlers(deadline)) {
    for (Call* call : HoldRunning(/*streams_only=*/false)) {
      call->Abort();
      call->Release();
    }
    if (!WaitForHandlers(absl::Now() + kCancelPatience)) return false;
  }
  StopTransport();
  return true;
}

void ServerImpl::StopTransport() {
  {
    MutexLock lock(&mu_);
    closed_ = true;
  }
  server_->Shutdown(absl::ToChronoTime(absl::Now() + kFlushPatience));
  {
    // Each of them has an operation in flight that the shutdown lets fail.
    MutexLock lock(&mu_);
    while (calls_ > 0) calls_gone_.Wait(&mu_);
  }
  queue_->Shutdown();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  server_.reset();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CriServer>> CriServer::Start(const CriServerOptions& options,
                                                            RuntimeServiceHandler* runtime,
                                                            ImageServiceHandler* image,
                                                            RpcObserver* observer) {
  ASSIGN_OR_RETURN(const std::string path, SocketPathOf(options.address));
  ASSIGN_OR_RETURN(std::unique_ptr<UnixListener> listener, UnixListener::Claim(path));
  auto server = std::make_unique<ServerImpl>(options, Handlers{.runtime = runtime, .image = image},
                                             observer, std::move(listener));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace berth
