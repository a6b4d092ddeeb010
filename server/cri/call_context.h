// What a handler knows about the call it serves: its deadline, its cancellation, who called.
#ifndef BERTH_SERVER_CRI_CALL_CONTEXT_H_
#define BERTH_SERVER_CRI_CALL_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth {

class CallContext;

// Keeps a callback registered while it lives. After the destructor the callback neither runs nor
// will run: the destructor waits for one that is running, unless it is called from that callback.
// It must not outlive its CallContext.
class CancelSubscription {
 public:
  CancelSubscription() = default;
  CancelSubscription(CancelSubscription&& other) noexcept;
  CancelSubscription& operator=(CancelSubscription&& other) noexcept;
  ~CancelSubscription();

 private:
  friend class CallContext;
  CancelSubscription(const CallContext* context, uint64_t key) : context_(context), key_(key) {}
  void Reset();

  const CallContext* context_ = nullptr;
  uint64_t key_ = 0;
};

// Thread-safe. Handlers only read it; the transport and tests cancel it.
class CallContext {
 public:
  // `deadline` is absl::InfiniteFuture() for a call that has none.
  CallContext(std::string request_id, std::string peer, absl::Time deadline);
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;

  // Unique for this call in this daemon's life, and in the log line of a failure.
  const std::string& request_id() const { return request_id_; }
  // The caller's address as the transport names it: `unix:`.
  const std::string& peer() const { return peer_; }
  // What is done on behalf of the call may set an earlier deadline, never a later one.
  absl::Time deadline() const { return deadline_; }

  // True once the client has gone or cancelled, its deadline has passed, or the daemon's shutdown
  // has lost patience. Never turns false again.
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

  // Runs `callback` once at cancellation, on the canceller's thread (a completion-queue thread: it
  // must not block), or at once if the call is cancelled already.
  CancelSubscription OnCancel(std::function<void()> callback) const;

  // Marks the call as cancelled and runs the callbacks. Calls after the first do nothing.
  void Cancel();

 private:
  friend class CancelSubscription;
  void Unsubscribe(uint64_t key) const;

  const std::string request_id_;
  const std::string peer_;
  const absl::Time deadline_;
  std::atomic<bool> cancelled_{false};

  mutable Mutex mu_;
  mutable CondVar callback_done_;
  mutable std::map<uint64_t, std::function<void()>> callbacks_ ABSL_GUARDED_BY(mu_);
  mutable uint64_t next_key_ ABSL_GUARDED_BY(mu_) = 1;
  mutable uint64_t running_key_ ABSL_GUARDED_BY(mu_) = 0;
  mutable std::thread::id running_thread_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_CALL_CONTEXT_H_
