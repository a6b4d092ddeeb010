// Layers in flight, shared between pulls: one pull fetches a layer, the others that need it wait.
//
// What is shared is the layer, never a credential: when the pull that fetches fails or is cancelled, one
// of the waiters goes on with its own. Threads: any.
#ifndef BERTH_SERVER_IMAGES_LAYER_FLIGHTS_H_
#define BERTH_SERVER_IMAGES_LAYER_FLIGHTS_H_

#include <functional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/cancellation.h"
#include "base/ids.h"
#include "base/mutex.h"

namespace berth {

class LayerFlights {
 public:
  // The right to fetch one layer, given back by the destructor. Empty: the layer is there.
  class Flight {
   public:
    Flight() = default;
    Flight(LayerFlights* flights, DiffId layer) : flights_(flights), layer_(std::move(layer)) {}
    Flight(Flight&& other) noexcept
        : flights_(std::exchange(other.flights_, nullptr)), layer_(std::move(other.layer_)) {}
    Flight& operator=(Flight&&) = delete;
    ~Flight() {
      if (flights_ != nullptr) flights_->End(layer_);
    }
    explicit operator bool() const { return flights_ != nullptr; }

   private:
    LayerFlights* flights_ = nullptr;
    DiffId layer_;
  };

  // Waits while another pull fetches `layer`. `acquire` tries to take the layer from the store; it is
  // called without a lock held, first at once. Cancelled, DeadlineExceeded.
  absl::StatusOr<Flight> Begin(const DiffId& layer, const std::function<bool()>& acquire,
                               Cancellation* cancellation);

 private:
  void End(const DiffId& layer);

  Mutex mu_;
  CondVar changed_;
  std::set<DiffId> layers_ ABSL_GUARDED_BY(mu_);
};

// A count of places for work that takes memory and processes; waiters are woken as places come free.
class WorkSlots {
 public:
  explicit WorkSlots(int count) : free_(count) {}
  absl::Status Take(Cancellation* cancellation);
  void Give();

 private:
  Mutex mu_;
  CondVar changed_;
  int free_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_LAYER_FLIGHTS_H_
