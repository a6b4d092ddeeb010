// One operation in flight per object: a start, an update or a removal of a container, the stop or
// removal of a pod. Not a mutex over blocking calls: a waiter gives up at its own deadline.
#ifndef BERTH_SERVER_PODS_OPERATIONS_H_
#define BERTH_SERVER_PODS_OPERATIONS_H_

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth {

// Thread-safe. It outlives the operations that it hands out.
class Operations {
 public:
  // While it lives, no other operation on the object begins.
  class Operation {
   public:
    Operation(Operation&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), object_(std::move(other.object_)) {}
    Operation& operator=(Operation&&) = delete;
    ~Operation() {
      if (owner_ != nullptr) owner_->End(object_);
    }

   private:
    friend class Operations;
    Operation(Operations* owner, std::string object) : owner_(owner), object_(std::move(object)) {}
    Operations* owner_;
    std::string object_;
  };

  // Waits for the operation in flight on `object`. DeadlineExceeded names what it waited for.
  absl::StatusOr<Operation> Begin(const std::string& object, const char* what,
                                  absl::Time deadline) {
    MutexLock lock(&mu_);
    while (true) {
      const auto [position, inserted] = in_flight_.try_emplace(object, what);
      if (inserted) return Operation(this, object);
      if (ended_.WaitWithDeadline(&mu_, deadline) && in_flight_.contains(object)) {
        return absl::DeadlineExceededError(
            absl::StrCat(what, " ", object, ": ", in_flight_[object], " is still in progress"));
      }
    }
  }

  bool IsInFlight(const std::string& object, absl::string_view what) {
    MutexLock lock(&mu_);
    const auto found = in_flight_.find(object);
    return found != in_flight_.end() && found->second == what;
  }

  // False if one is still in flight on `object` at the deadline. Another may have begun when it returns.
  bool WaitUntilFree(const std::string& object, absl::Time deadline) {
    MutexLock lock(&mu_);
    while (in_flight_.contains(object)) {
      if (ended_.WaitWithDeadline(&mu_, deadline)) return !in_flight_.contains(object);
    }
    return true;
  }

 private:
  void End(const std::string& object) {
    MutexLock lock(&mu_);
    in_flight_.erase(object);
    ended_.SignalAll();
  }

  Mutex mu_;
  CondVar ended_;
  std::map<std::string, const char*> in_flight_
      ABSL_GUARDED_BY(mu_);  // object → what is done to it
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_OPERATIONS_H_
