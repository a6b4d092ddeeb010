// Tokens: what a URL of the streaming server carries. Each stands for one request and is good for one use.
#ifndef BERTH_SERVER_STREAMING_TOKENS_H_
#define BERTH_SERVER_STREAMING_TOKENS_H_

#include <sys/random.h>

#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"

namespace berth {

inline constexpr absl::Duration kTokenLife = absl::Minutes(1);
inline constexpr size_t kMaxTokens = 1000;

// Thread-safe. A token is a secret: it must not be logged.
template <typename Request>
class Tokens {
 public:
  // 128 random bits in 32 hex digits. ResourceExhausted if kMaxTokens wait for their use.
  absl::StatusOr<std::string> Issue(const Request& request, absl::Time now = SteadyNow()) {
    char bits[16];
    if (getrandom(bits, sizeof bits, 0) != sizeof bits) return ErrnoStatus("getrandom");
    std::string token = absl::BytesToHexString(absl::string_view(bits, sizeof bits));
    MutexLock lock(&mu_);
    Expire(now);
    if (waiting_.size() >= kMaxTokens) {
      return absl::ResourceExhaustedError("maximum number of in-flight requests exceeded");
    }
    by_age_.emplace_back(now + kTokenLife, token);
    waiting_.emplace(token, request);
    return token;
  }

  // The request, once; nothing if the token is unknown, was used, or is too old.
  std::optional<Request> Take(const std::string& token, absl::Time now = SteadyNow()) {
    MutexLock lock(&mu_);
    Expire(now);
    const auto found = waiting_.find(token);
    if (found == waiting_.end()) return std::nullopt;
    std::optional<Request> request = std::move(found->second);
    waiting_.erase(found);
    return request;
  }

 private:
  // Used ones stay in the queue until they are old: it is bounded by what is issued in a minute.
  void Expire(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    while (!by_age_.empty() &&
           (by_age_.front().first <= now || !waiting_.contains(by_age_.front().second))) {
      waiting_.erase(by_age_.front().second);
      by_age_.pop_front();
    }
  }

  Mutex mu_;
  absl::flat_hash_map<std::string, Request> waiting_ ABSL_GUARDED_BY(mu_);
  std::deque<std::pair<absl::Time, std::string>> by_age_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_TOKENS_H_
