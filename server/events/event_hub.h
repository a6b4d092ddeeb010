// Container events: what GetContainerEvents streams, for any number of clients.
//
// An *event* says that a container, or a sandbox under its own id, was created, started, stopped or
// deleted, and carries the status of the pod and of all its containers at that instant. Events come
// from the store's changes, so their order is that of the commits and none is forgotten by a flow:
//
//   sandbox    becomes ready    CREATED, STARTED     leaves ready    STOPPED    removed  DELETED
//   container  is recorded      CREATED              runs  STARTED   exited     STOPPED  removed  DELETED
//
// A container whose program could not be started goes from CREATED to STOPPED. What is removed with
// its pod is DELETED before it. The event of a deletion has no status of what is gone, except that a
// sandbox's own has its last one: kubelet wants to know whose it was.
//
// Subscribers. Each has a queue of its own with a bound; one that falls behind loses it, and gets
// ResourceExhausted: it lists and subscribes anew. Nothing is kept for later, with one exception:
// what recovery found stopped (exits that nobody saw, because no daemon ran) is *held* for the first
// subscriber, which gets it once, before anything else. Held are ids and times only, at most
// `Limits::held`, the oldest going first; what was removed meanwhile is not held any more.
//
//   EventHub hub(store.get());                 // at the start, before anything changes
//   recovery.Run(); hub.RecoveryDone();
//   auto subscription = hub.Subscribe();
//   while (subscription->Next(&event)) ...;
//   return subscription->status();
#ifndef BERTH_SERVER_EVENTS_EVENT_HUB_H_
#define BERTH_SERVER_EVENTS_EVENT_HUB_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "server/cri/api.h"
#include "server/store/store.h"

namespace berth {

// Thread-safe. It outlives its subscriptions, and the store's last change.
class EventHub : public StoreListener {
 public:
  struct Limits {
    size_t queue = 1024;           // events that wait for one subscriber
    size_t queue_bytes = 8 << 20;  // of the records that they are about
    size_t held = 4096;            // stops found by recovery
  };
  class Subscription;

  // Listens to `store` from here on.
  EventHub(Store* store, Limits limits);
  explicit EventHub(Store* store) : EventHub(store, Limits()) {}

  // Until this, stops are held.
  void RecoveryDone();

  // Hears what happens from here on, after what is held.
  std::unique_ptr<Subscription> Subscribe();

  void OnPod(const PodRecordPtr& before, const PodRecordPtr& after) override;
  void OnContainer(const ContainerRecordPtr& before, const ContainerRecordPtr& after) override;

 private:
  // Records are shared and immutable: an event is a few pointers until somebody writes it.
  struct Event {
    std::string id;
    cri::ContainerEventType type;
    int64_t at_ns;
    PodRecordPtr pod;
    std::vector<ContainerRecordPtr> containers;  // in the order of their creation
    size_t bytes = 0;                            // of the record that it is about
  };
  using EventPtr = std::shared_ptr<const Event>;
  struct Subscriber {
    std::deque<EventPtr> queue;
    size_t limit = 0;
    size_t bytes = 0;
    bool overrun = false;
    bool ended = false;
    CondVar changed;
  };
  struct Pod {
    PodRecordPtr record;
    bool announced = false;  // CREATED was sent, or would have been to a subscriber
    absl::btree_map<int64_t, ContainerRecordPtr> containers;  // by created_at
  };
  struct Held {
    std::string pod;
    std::string id;
    int64_t at_ns;
  };

  void Emit(const Pod& pod, const std::string& id, cri::ContainerEventType type)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  EventPtr NewEvent(const Pod& pod, const std::string& id, cri::ContainerEventType type,
                    int64_t at_ns) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Hold(const std::string& pod, const std::string& id, int64_t at_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Unhold(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Remove(const Subscriber* subscriber);

  const Limits limits_;
  Mutex mu_;  // after the store's
  // What the store shows, kept here so that an event needs no call of the store.
  absl::flat_hash_map<std::string, Pod> pods_ ABSL_GUARDED_BY(mu_);
  bool recovering_ ABSL_GUARDED_BY(mu_) = true;
  std::deque<Held> held_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::shared_ptr<Subscriber>> subscribers_ ABSL_GUARDED_BY(mu_);
};

// One client's view. Next by one thread; End by any.
class EventHub::Subscription {
 public:
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  // Waits for the next event. False after End, or when too many waited: see status().
  bool Next(cri::ContainerEventResponse* event);
  // OK, or ResourceExhausted if events were lost.
  absl::Status status() const;
  void End();

 private:
  friend class EventHub;
  Subscription(EventHub* hub, std::shared_ptr<Subscriber> subscriber)
      : hub_(hub), subscriber_(std::move(subscriber)) {}

  EventHub* const hub_;
  const std::shared_ptr<Subscriber> subscriber_;  // guarded by hub_->mu_
};

}  // namespace berth

#endif  // BERTH_SERVER_EVENTS_EVENT_HUB_H_
