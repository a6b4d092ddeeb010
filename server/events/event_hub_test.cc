#include "server/events/event_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"

namespace berth {
namespace {

using store::v1::ContainerRecord;
using store::v1::PodRecord;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class EventHubTest : public ::testing::Test {
 protected:
  EventHubTest() {
    std::string pattern = ::testing::TempDir() + "/events.XXXXXX";
    dir_ = mkdtemp(pattern.data());
    database_ = std::move(OpenOrSetAside(dir_ + "/state.db")->database);
    store_ =
        *Store::Open(database_.get(), dir_ + "/state", InstanceId("0123456789abcdef"), nullptr);
  }
  ~EventHubTest() override {
    store_.reset();
    database_.reset();
    RemoveTree(dir_).IgnoreError();
  }

  PodRecord Pod(const std::string& name) {
    PodRecord pod;
    pod.set_id(NewPodId().str());
    pod.set_instance_id("0123456789abcdef");
    pod.mutable_config()->mutable_metadata()->set_name(name);
    pod.set_created_at_ns(store_->NextCreatedAt());
    names_[pod.id()] = name;
    return pod;
  }
  ContainerRecord Container(const PodRecord& pod, const std::string& name) {
    ContainerRecord container;
    container.set_id(NewContainerId().str());
    container.set_pod_id(pod.id());
    container.mutable_config()->mutable_metadata()->set_name(name);
    container.set_created_at_ns(store_->NextCreatedAt());
    names_[container.id()] = name;
    return container;
  }
  void Put(PodRecord& pod, store::v1::PodState state) {
    pod.set_state(state);
    ASSERT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
  }
  void Put(ContainerRecord& container, store::v1::ContainerState state) {
    container.set_state(state);
    ASSERT_TRUE(store_->PutContainer(container, Durability::kNormal).ok());
  }

  // `c STARTED: a=EXITED c=RUNNING`, the containers' statuses behind the colon.
  std::string Text(const cri::ContainerEventResponse& event) {
    const std::string type = cri::ContainerEventType_Name(event.container_event_type());
    constexpr size_t kPrefix = sizeof("CONTAINER_") - 1;
    std::string text =
        absl::StrCat(names_[event.container_id()], " ",
                     type.substr(kPrefix, type.size() - kPrefix - (sizeof("_EVENT") - 1)));
    if (event.containers_statuses_size() > 0) text += ":";
    for (const cri::ContainerStatus& status : event.containers_statuses()) {
      absl::StrAppend(&text, " ", status.metadata().name(), "=",
                      cri::ContainerState_Name(status.state()).substr(kPrefix));
    }
    return text;
  }
  // What is there to read; a mark of our own ends it.
  std::vector<std::string> Read(EventHub::Subscription& subscription) {
    PodRecord mark = Pod("mark");
    Put(mark, store::v1::POD_STATE_READY);
    std::vector<std::string> texts;
    cri::ContainerEventResponse event;
    while (subscription.Next(&event) && event.container_id() != mark.id()) {
      texts.push_back(Text(event));
    }
    EXPECT_TRUE(subscription.Next(&event));  // the mark is STARTED, too
    Put(mark, store::v1::POD_STATE_NOTREADY);
    EXPECT_TRUE(subscription.Next(&event));
    return texts;
  }

  std::string dir_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Store> store_;
  std::map<std::string, std::string> names_;
};

TEST_F(EventHubTest, ALifeInOrderWithFullStatus) {
  EventHub hub(store_.get());
  hub.RecoveryDone();
  auto subscription = hub.Subscribe();
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_PREPARING);
  Put(pod, store::v1::POD_STATE_READY);
  ContainerRecord a = Container(pod, "a");
  Put(a, store::v1::CONTAINER_STATE_CREATED);
  Put(a, store::v1::CONTAINER_STATE_RUNNING);
  ContainerRecord b = Container(pod, "b");
  Put(b, store::v1::CONTAINER_STATE_CREATED);
  Put(b, store::v1::CONTAINER_STATE_CREATED);  // an update
  Put(b, store::v1::CONTAINER_STATE_EXITED);   // could not be started
  Put(a, store::v1::CONTAINER_STATE_EXITED);
  ASSERT_TRUE(store_->RemoveContainer(ContainerId(b.id())).ok());
  Put(pod, store::v1::POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  EXPECT_THAT(Read(*subscription),
              ElementsAre("p CREATED", "p STARTED", "a CREATED: a=CREATED", "a STARTED: a=RUNNING",
                          "b CREATED: a=RUNNING b=CREATED", "b STOPPED: a=RUNNING b=EXITED",
                          "a STOPPED: a=EXITED b=EXITED", "b DELETED: a=EXITED",
                          "p STOPPED: a=EXITED", "a DELETED", "p DELETED"));
}

TEST_F(EventHubTest, EventsCarryThePodsStatusAndTheTime) {
  EventHub hub(store_.get());
  hub.RecoveryDone();
  auto subscription = hub.Subscribe();
  PodRecord pod = Pod("p");
  const int64_t before = absl::GetCurrentTimeNanos();
  Put(pod, store::v1::POD_STATE_READY);
  Put(pod, store::v1::POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  cri::ContainerEventResponse event;
  ASSERT_TRUE(subscription->Next(&event));
  EXPECT_EQ(event.pod_sandbox_status().state(), cri::SANDBOX_READY);
  EXPECT_GE(event.created_at(), before);
  EXPECT_LE(event.created_at(), absl::GetCurrentTimeNanos());
  while (event.container_event_type() != cri::CONTAINER_DELETED_EVENT) {
    ASSERT_TRUE(subscription->Next(&event));
  }
  // kubelet drops a pod from its cache by this.
  EXPECT_EQ(event.container_id(), pod.id());
  EXPECT_EQ(event.pod_sandbox_status().id(), pod.id());
  EXPECT_EQ(event.pod_sandbox_status().state(), cri::SANDBOX_NOTREADY);
  EXPECT_EQ(event.pod_sandbox_status().metadata().name(), "p");
}

TEST_F(EventHubTest, APodThatNeverWasReadyIsNeverSpokenOf) {
  EventHub hub(store_.get());
  hub.RecoveryDone();
  auto subscription = hub.Subscribe();
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_PREPARING);
  Put(pod, store::v1::POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  EXPECT_THAT(Read(*subscription), IsEmpty());
}

TEST_F(EventHubTest, EverySubscriberHearsFromItsStart) {
  EventHub hub(store_.get());
  hub.RecoveryDone();
  auto early = hub.Subscribe();
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_READY);
  auto late = hub.Subscribe();
  Put(pod, store::v1::POD_STATE_NOTREADY);
  EXPECT_THAT(Read(*late), ElementsAre("p STOPPED"));
  cri::ContainerEventResponse event;
  ASSERT_TRUE(early->Next(&event));
  EXPECT_EQ(Text(event), "p CREATED");
}

TEST_F(EventHubTest, WhatRecoveryFoundStoppedIsHeldForTheFirstSubscriberOnce) {
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_READY);
  ContainerRecord a = Container(pod, "a");
  Put(a, store::v1::CONTAINER_STATE_CREATED);
  Put(a, store::v1::CONTAINER_STATE_RUNNING);
  ContainerRecord b = Container(pod, "b");
  Put(b, store::v1::CONTAINER_STATE_CREATED);
  Put(b, store::v1::CONTAINER_STATE_RUNNING);
  EventHub hub(store_.get());
  Put(a, store::v1::CONTAINER_STATE_EXITED);
  Put(b, store::v1::CONTAINER_STATE_EXITED);
  Put(pod, store::v1::POD_STATE_NOTREADY);
  hub.RecoveryDone();
  ASSERT_TRUE(store_->RemoveContainer(ContainerId(b.id())).ok());  // nothing to tell any more
  auto first = hub.Subscribe();
  EXPECT_THAT(Read(*first), ElementsAre("a STOPPED: a=EXITED", "p STOPPED: a=EXITED"));
  auto second = hub.Subscribe();
  EXPECT_THAT(Read(*second), IsEmpty());
}

TEST_F(EventHubTest, WhatStopsAfterRecoveryIsNotHeld) {
  EventHub hub(store_.get());
  hub.RecoveryDone();
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_READY);
  Put(pod, store::v1::POD_STATE_NOTREADY);
  auto subscription = hub.Subscribe();
  EXPECT_THAT(Read(*subscription), IsEmpty());
}

TEST_F(EventHubTest, HeldStopsAreBoundedAndTheLatestStay) {
  EventHub hub(store_.get(), {.queue = 2, .held = 3});
  for (int i = 0; i < 5; ++i) {
    PodRecord pod = Pod(absl::StrCat(i));
    Put(pod, store::v1::POD_STATE_READY);
    Put(pod, store::v1::POD_STATE_NOTREADY);
  }
  hub.RecoveryDone();
  auto subscription = hub.Subscribe();
  EXPECT_THAT(Read(*subscription), ElementsAre("2 STOPPED", "3 STOPPED", "4 STOPPED"));
}

TEST_F(EventHubTest, AClientThatFallsBehindIsCutOffAlone) {
  EventHub hub(store_.get(), {.queue = 4, .held = 4});
  hub.RecoveryDone();
  auto slow = hub.Subscribe();
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_READY);
  Put(pod, store::v1::POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  auto other = hub.Subscribe();
  PodRecord last = Pod("last");
  Put(last, store::v1::POD_STATE_READY);
  cri::ContainerEventResponse event;
  EXPECT_FALSE(slow->Next(&event));
  EXPECT_EQ(slow->status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(other->Next(&event));
  EXPECT_EQ(Text(event), "last CREATED");
  EXPECT_TRUE(other->status().ok());
}

TEST_F(EventHubTest, LargeRecordsCountByTheirBytes) {
  EventHub hub(store_.get(), {.queue = 1000, .queue_bytes = 10000});
  hub.RecoveryDone();
  auto slow = hub.Subscribe();
  PodRecord pod = Pod("p");
  Put(pod, store::v1::POD_STATE_READY);
  for (int i = 0; i < 4; ++i) {
    ContainerRecord container = Container(pod, absl::StrCat(i));
    (*container.mutable_config()->mutable_annotations())["a"] = std::string(4000, 'x');
    Put(container, store::v1::CONTAINER_STATE_CREATED);
  }
  cri::ContainerEventResponse event;
  EXPECT_FALSE(slow->Next(&event));
  EXPECT_EQ(slow->status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(EventHubTest, EndWakesAWaitingClient) {
  EventHub hub(store_.get());
  auto subscription = hub.Subscribe();
  std::thread ender([&] { subscription->End(); });
  cri::ContainerEventResponse event;
  EXPECT_FALSE(subscription->Next(&event));
  EXPECT_TRUE(subscription->status().ok());
  ender.join();
}

}  // namespace
}  // namespace berth
