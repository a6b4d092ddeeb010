// Admissions to pods: what makes or starts something in a pod is counted, and the pod's end shuts the
// door and waits for those inside.
//
//   ASSIGN_OR_RETURN(const auto admission, admissions.Enter(pod));   // CreateContainer, StartContainer
//   RETURN_IF_ERROR(admission.Check());                              // between its steps
//
//   const auto closure = admissions.Close(pod);                      // StopPodSandbox, RemovePodSandbox
//   RETURN_IF_ERROR(admissions.WaitEmpty(pod, deadline));
//
// So nothing is committed in a pod whose containers have been counted for removal.
#ifndef BERTH_SERVER_PODS_ADMISSIONS_H_
#define BERTH_SERVER_PODS_ADMISSIONS_H_

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "base/mutex.h"

namespace berth {

// Thread-safe. It outlives what it hands out.
class Admissions {
 public:
  // While it lives, the pod is not taken apart.
  class Admission {
   public:
    Admission(Admission&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), pod_(std::move(other.pod_)) {}
    Admission& operator=(Admission&&) = delete;
    ~Admission() {
      if (owner_ != nullptr) owner_->Leave(pod_);
    }
    // Unavailable once the pod is to end: undo, and leave.
    absl::Status Check() const { return owner_->CheckOpen(pod_); }

   private:
    friend class Admissions;
    Admission(Admissions* owner, PodId pod) : owner_(owner), pod_(std::move(pod)) {}
    Admissions* owner_;
    PodId pod_;
  };

  // While it lives, nobody enters.
  class Closure {
   public:
    Closure(Closure&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), pod_(std::move(other.pod_)) {}
    Closure& operator=(Closure&&) = delete;
    ~Closure() {
      if (owner_ != nullptr) owner_->Reopen(pod_);
    }

   private:
    friend class Admissions;
    Closure(Admissions* owner, PodId pod) : owner_(owner), pod_(std::move(pod)) {}
    Admissions* owner_;
    PodId pod_;
  };

  // Unavailable while the pod is closed.
  absl::StatusOr<Admission> Enter(const PodId& pod);
  Closure Close(const PodId& pod);
  // Until nobody is inside. DeadlineExceeded.
  absl::Status WaitEmpty(const PodId& pod, absl::Time deadline);

 private:
  struct Door {
    int inside = 0;
    int closures = 0;
  };

  void Leave(const PodId& pod);
  void Reopen(const PodId& pod);
  absl::Status CheckOpen(const PodId& pod) const;
  // Forgets a door that nobody uses.
  void Tidy(const PodId& pod) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  CondVar left_;
  absl::flat_hash_map<PodId, Door> doors_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_ADMISSIONS_H_
