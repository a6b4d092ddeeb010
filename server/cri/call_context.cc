#include "server/cri/call_context.h"

#include <utility>

namespace berth {

CancelSubscription::CancelSubscription(CancelSubscription&& other) noexcept
    : context_(std::exchange(other.context_, nullptr)), key_(other.key_) {}

CancelSubscription& CancelSubscription::operator=(CancelSubscription&& other) noexcept {
  if (this != &other) {
    Reset();
    context_ = std::exchange(other.context_, nullptr);
    key_ = other.key_;
  }
  return *this;
}

CancelSubscription::~CancelSubscription() { Reset(); }

void CancelSubscription::Reset() {
  if (context_ != nullptr) std::exchange(context_, nullptr)->Unsubscribe(key_);
}

CallContext::CallContext(std::string request_id, std::string peer, absl::Time deadline)
    : request_id_(std::move(request_id)), peer_(std::move(peer)), deadline_(deadline) {}

CancelSubscription CallContext::OnCancel(std::function<void()> callback) const {
  {
    MutexLock lock(&mu_);
    if (!cancelled()) {
      const uint64_t key = next_key_++;
      callbacks_.emplace(key, std::move(callback));
      return CancelSubscription(this, key);
    }
  }
  callback();
  return CancelSubscription();
}

void CallContext::Cancel() {
  while (true) {
    std::function<void()> callback;
    {
      MutexLock lock(&mu_);
      // A second canceller leaves the rest to the first.
      if (running_key_ != 0) return;
      cancelled_.store(true, std::memory_order_release);
      if (callbacks_.empty()) return;
      auto first = callbacks_.begin();
      running_key_ = first->first;
      running_thread_ = std::this_thread::get_id();
      callback = std::move(first->second);
      callbacks_.erase(first);
    }
    callback();
    MutexLock lock(&mu_);
    running_key_ = 0;
    running_thread_ = std::thread::id();
    callback_done_.SignalAll();
  }
}

void CallContext::Unsubscribe(uint64_t key) const {
  MutexLock lock(&mu_);
  callbacks_.erase(key);
  while (running_key_ == key && running_thread_ != std::this_thread::get_id()) {
    callback_done_.Wait(&mu_);
  }
}

}  // namespace berth
