#include "server/events/event_hub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/pods/statuses.h"

namespace berth {
namespace {

bool Exited(const ContainerRecordPtr& record) {
  return record != nullptr && record->state() == store::v1::CONTAINER_STATE_EXITED;
}
bool Running(const ContainerRecordPtr& record) {
  return record != nullptr && record->state() == store::v1::CONTAINER_STATE_RUNNING;
}

}  // namespace

EventHub::EventHub(Store* store, Limits limits) : limits_(limits) {
  const std::vector<PodRecordPtr> pods = store->Pods();
  const std::vector<ContainerRecordPtr> containers = store->Containers();
  store->AddListener(this);
  MutexLock lock(&mu_);
  for (const PodRecordPtr& record : pods) {
    Pod& pod = pods_[record->id()];
    pod.record = record;
    pod.announced = Shown(*record);
  }
  for (const ContainerRecordPtr& record : containers) {
    pods_[record->pod_id()].containers[record->created_at_ns()] = record;
  }
}

void EventHub::RecoveryDone() {
  MutexLock lock(&mu_);
  recovering_ = false;
}

void EventHub::OnPod(const PodRecordPtr& before, const PodRecordPtr& after) {
  MutexLock lock(&mu_);
  if (after == nullptr) {
    const auto found = pods_.find(before->id());
    if (found == pods_.end()) return;
    Unhold(before->id());
    if (found->second.announced) Emit(found->second, before->id(), cri::CONTAINER_DELETED_EVENT);
    pods_.erase(found);
    return;
  }
  Pod& pod = pods_[after->id()];
  const bool was_ready = pod.record != nullptr && pod.record->state() == store::v1::POD_STATE_READY;
  const bool is_ready = after->state() == store::v1::POD_STATE_READY;
  pod.record = after;
  if (is_ready && !was_ready) {
    pod.announced = true;
    Emit(pod, after->id(), cri::CONTAINER_CREATED_EVENT);
    Emit(pod, after->id(), cri::CONTAINER_STARTED_EVENT);
  } else if (was_ready && !is_ready) {
    Emit(pod, after->id(), cri::CONTAINER_STOPPED_EVENT);
  }
}

void EventHub::OnContainer(const ContainerRecordPtr& before, const ContainerRecordPtr& after) {
  MutexLock lock(&mu_);
  const store::v1::ContainerRecord& named = after != nullptr ? *after : *before;
  Pod& pod = pods_[named.pod_id()];
  if (after == nullptr) {
    Unhold(named.id());
    pod.containers.erase(named.created_at_ns());
    Emit(pod, named.id(), cri::CONTAINER_DELETED_EVENT);
    return;
  }
  pod.containers[after->created_at_ns()] = after;
  if (before == nullptr) Emit(pod, named.id(), cri::CONTAINER_CREATED_EVENT);
  if (Running(after) && !Running(before)) Emit(pod, named.id(), cri::CONTAINER_STARTED_EVENT);
  if (Exited(after) && !Exited(before)) Emit(pod, named.id(), cri::CONTAINER_STOPPED_EVENT);
}

EventHub::EventPtr EventHub::NewEvent(const Pod& pod, const std::string& id,
                                      cri::ContainerEventType type, int64_t at_ns) const {
  auto event = std::make_shared<Event>(Event{id, type, at_ns, pod.record, {}});
  if (id == pod.record->id()) event->bytes = pod.record->ByteSizeLong();
  event->containers.reserve(pod.containers.size());
  for (const auto& [created_at, record] : pod.containers) {
    event->containers.push_back(record);
    if (id == record->id()) event->bytes = record->ByteSizeLong();
  }
  return event;
}

void EventHub::Emit(const Pod& pod, const std::string& id, cri::ContainerEventType type) {
  if (pod.record == nullptr) return;  // a container that outlives its pod: nobody's
  const int64_t now = absl::GetCurrentTimeNanos();
  if (recovering_ && type == cri::CONTAINER_STOPPED_EVENT) Hold(pod.record->id(), id, now);
  if (subscribers_.empty()) return;
  const EventPtr event = NewEvent(pod, id, type, now);
  for (const std::shared_ptr<Subscriber>& subscriber : subscribers_) {
    if (subscriber->overrun) continue;
    if (subscriber->queue.size() >= subscriber->limit || subscriber->bytes > limits_.queue_bytes) {
      subscriber->overrun = true;
      subscriber->queue.clear();
    } else {
      subscriber->queue.push_back(event);
      subscriber->bytes += event->bytes;
    }
    subscriber->changed.Signal();
  }
}

void EventHub::Hold(const std::string& pod, const std::string& id, int64_t at_ns) {
  if (held_.size() >= limits_.held) held_.pop_front();
  held_.push_back({pod, id, at_ns});
}

void EventHub::Unhold(const std::string& id) {
  held_.erase(
      std::remove_if(held_.begin(), held_.end(), [&id](const Held& held) { return held.id == id; }),
      held_.end());
}

std::unique_ptr<EventHub::Subscription> EventHub::Subscribe() {
  auto subscriber = std::make_shared<Subscriber>();
  MutexLock lock(&mu_);
  // What it gets from the start says nothing of its slowness.
  subscriber->limit = limits_.queue + held_.size();
  for (const Held& held : std::exchange(held_, {})) {
    const auto pod = pods_.find(held.pod);
    if (pod == pods_.end()) continue;
    subscriber->queue.push_back(
        NewEvent(pod->second, held.id, cri::CONTAINER_STOPPED_EVENT, held.at_ns));
    subscriber->bytes += subscriber->queue.back()->bytes;
  }
  subscribers_.insert(subscriber);
  return std::unique_ptr<Subscription>(new Subscription(this, std::move(subscriber)));
}

void EventHub::Remove(const Subscriber* subscriber) {
  MutexLock lock(&mu_);
  for (auto it = subscribers_.begin(); it != subscribers_.end(); ++it) {
    if (it->get() != subscriber) continue;
    subscribers_.erase(it);
    return;
  }
}

EventHub::Subscription::~Subscription() { hub_->Remove(subscriber_.get()); }

bool EventHub::Subscription::Next(cri::ContainerEventResponse* event) {
  EventPtr next;
  {
    MutexLock lock(&hub_->mu_);
    while (subscriber_->queue.empty() && !subscriber_->overrun && !subscriber_->ended) {
      subscriber_->changed.Wait(&hub_->mu_);
    }
    if (subscriber_->ended || subscriber_->queue.empty()) return false;
    next = std::move(subscriber_->queue.front());
    subscriber_->queue.pop_front();
    subscriber_->bytes -= next->bytes;
  }
  event->Clear();
  event->set_container_id(next->id);
  event->set_container_event_type(next->type);
  event->set_created_at(next->at_ns);
  *event->mutable_pod_sandbox_status() = PodStatus(*next->pod);
  for (const ContainerRecordPtr& container : next->containers) {
    *event->add_containers_statuses() = ContainerStatusOf(*container);
  }
  return true;
}

absl::Status EventHub::Subscription::status() const {
  MutexLock lock(&hub_->mu_);
  if (!subscriber_->overrun) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the client did not keep up: more than ", hub_->limits_.queue, " events, or ",
                   hub_->limits_.queue_bytes, " bytes, waited for it. List, and subscribe anew"));
}

void EventHub::Subscription::End() {
  MutexLock lock(&hub_->mu_);
  subscriber_->ended = true;
  subscriber_->changed.Signal();
}

}  // namespace berth
