// GetContainerEvents: what clients hear of lives, of exits while no daemon ran, and when they are slow.
#include <signal.h>

#include <deque>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/mutex.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A client of the stream that reads on a thread of its own.
class Listener {
 public:
  // Returns when the daemon has taken the subscription.
  explicit Listener(CriClient& client)
      : reader_(client.runtime().GetContainerEvents(&context_, cri::GetEventsRequest())) {
    reader_->WaitForInitialMetadata();
    thread_ = std::thread([this] { Run(); });
  }
  ~Listener() {
    context_.TryCancel();
    thread_.join();
  }

  // The next event; a test failure and an empty one if none comes.
  cri::ContainerEventResponse Next() {
    MutexLock lock(&mu_);
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (events_.empty() && !ended_) {
      if (changed_.WaitWithDeadline(&mu_, deadline)) break;
    }
    if (events_.empty()) {
      ADD_FAILURE() << (ended_ ? "the stream has ended: " + status_.error_message() : "no event");
      return {};
    }
    cri::ContainerEventResponse event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  absl::Status WaitForEnd() {
    MutexLock lock(&mu_);
    while (!ended_) changed_.Wait(&mu_);
    return CriClient::FromGrpc(status_);
  }

 private:
  void Run() {
    cri::ContainerEventResponse event;
    while (reader_->Read(&event)) {
      MutexLock lock(&mu_);
      events_.push_back(event);
      changed_.SignalAll();
    }
    const grpc::Status status = reader_->Finish();
    MutexLock lock(&mu_);
    status_ = status;
    ended_ = true;
    changed_.SignalAll();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<cri::ContainerEventResponse>> reader_;
  std::thread thread_;
  Mutex mu_;
  CondVar changed_;
  std::deque<cri::ContainerEventResponse> events_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
};

class EventsTest : public DaemonTest {
 protected:
  // `CREATED pod`, `STARTED sleeper`, ...: sandboxes and containers by their names.
  static std::string Text(const cri::ContainerEventResponse& event) {
    std::string type = cri::ContainerEventType_Name(event.container_event_type());
    type = std::string(absl::StripSuffix(absl::StripPrefix(type, "CONTAINER_"), "_EVENT"));
    std::string name = event.container_id();
    if (name == event.pod_sandbox_status().id())
      name = event.pod_sandbox_status().metadata().name();
    for (const cri::ContainerStatus& status : event.containers_statuses()) {
      if (status.id() == event.container_id()) name = status.metadata().name();
    }
    return absl::StrCat(type, " ", name);
  }
  static std::vector<std::string> Texts(Listener& listener, int count) {
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) texts.push_back(Text(listener.Next()));
    return texts;
  }
  static const cri::ContainerStatus& StatusIn(const cri::ContainerEventResponse& event) {
    for (const cri::ContainerStatus& status : event.containers_statuses()) {
      if (status.id() == event.container_id()) return status;
    }
    return cri::ContainerStatus::default_instance();
  }
};

TEST_F(EventsTest, ALifeForSeveralClients) {
  Listener first(cri()), second(cri());
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  ASSERT_OK(cri().StopContainer(id, 0));
  ASSERT_OK(cri().RemoveContainer(id));
  ASSERT_OK(cri().StopPod(pod.id));
  ASSERT_OK(cri().RemovePod(pod.id));
  const std::vector<std::string> expected = {
      "CREATED pod",     "STARTED pod",   "CREATED sleeper", "STARTED sleeper",
      "STOPPED sleeper", "DELETED " + id, "STOPPED pod",     "DELETED pod"};
  EXPECT_EQ(Texts(first, 8), expected);
  EXPECT_EQ(Texts(second, 8), expected);
}

TEST_F(EventsTest, EventsCarryTheStatusOfTheirInstant) {
  Listener listener(cri());
  cri::PodSandboxConfig config = PodConfig("pod");
  config.mutable_metadata()->set_uid("uid-of-the-pod");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       CreateAndStart(pod, ContainerConfig("seven", {"sh", "-c", "exit 7"})));
  ASSERT_OK(cri().WaitForExit(id));
  Texts(listener, 2);
  const cri::ContainerEventResponse created = listener.Next();
  EXPECT_EQ(created.pod_sandbox_status().metadata().uid(), "uid-of-the-pod");
  EXPECT_EQ(created.pod_sandbox_status().state(), cri::SANDBOX_READY);
  EXPECT_EQ(StatusIn(created).state(), cri::CONTAINER_CREATED);
  EXPECT_EQ(StatusIn(listener.Next()).state(), cri::CONTAINER_RUNNING);
  const cri::ContainerEventResponse stopped = listener.Next();
  EXPECT_EQ(StatusIn(stopped).state(), cri::CONTAINER_EXITED);
  EXPECT_EQ(StatusIn(stopped).exit_code(), 7);
  EXPECT_EQ(StatusIn(stopped).reason(), "Error");
  EXPECT_GE(stopped.created_at(), StatusIn(stopped).finished_at());
  EXPECT_GE(stopped.created_at(), created.created_at());
}

TEST_F(EventsTest, AProgramThatCantBeStartedIsStoppedWithoutAStart) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  Listener listener(cri());
  ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod, ContainerConfig("none", {"/nowhere"})));
  EXPECT_FALSE(cri().StartContainer(id).ok());
  EXPECT_THAT(Texts(listener, 2), ElementsAre("CREATED none", "STOPPED none"));
}

TEST_F(EventsTest, ExitsFoundAtARestartAreSentOnceToTheFirst) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string ended, Sleeper(pod, "ended"));
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod, "running"));
  const pid_t pid = PidOf(ended);
  daemon_.Kill();
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  const std::string record = absl::StrCat(daemon_.state(), "/pods/", pod.id, "/exit-", ended);
  for (int i = 0; i < 1000 && access(record.c_str(), F_OK) != 0; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  ASSERT_OK(daemon_.Start());
  Listener first(cri());
  const cri::ContainerEventResponse event = first.Next();
  EXPECT_EQ(Text(event), "STOPPED ended");
  EXPECT_EQ(StatusIn(event).exit_code(), 137);
  EXPECT_EQ(event.containers_statuses_size(), 2);
  // The second hears only what comes.
  Listener second(cri());
  ASSERT_OK(cri().StopContainer(running, 0));
  EXPECT_THAT(Texts(second, 1), ElementsAre("STOPPED running"));
  EXPECT_THAT(Texts(first, 1), ElementsAre("STOPPED running"));
}

TEST_F(EventsTest, AStreamEndsWithTheDaemon) {
  Listener listener(cri());
  ASSERT_OK(daemon_.Terminate());
  EXPECT_CODE(absl::StatusCode::kUnavailable, listener.WaitForEnd());
  ASSERT_OK(daemon_.Start());
}

TEST_F(EventsTest, ASlowClientIsCutOffAndHarmsNobody) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  // Few large events fill the client's window and then the 8 MiB that may wait for it.
  cri::ContainerConfig config = ContainerConfig("c", {"true"});
  (*config.mutable_annotations())["filling"] = std::string(1 << 20, 'x');
  grpc::ClientContext context;
  auto slow = cri().runtime().GetContainerEvents(&context, cri::GetEventsRequest());
  slow->WaitForInitialMetadata();
  Listener quick(cri());
  for (int i = 0; i < 16; ++i) {
    config.mutable_metadata()->set_attempt(i);
    ASSERT_OK_AND_ASSIGN(const std::string id, Create(pod, config));
    ASSERT_OK(cri().RemoveContainer(id));
    EXPECT_EQ(Text(quick.Next()), "CREATED c");
    EXPECT_EQ(quick.Next().container_event_type(), cri::CONTAINER_DELETED_EVENT);
  }
  cri::ContainerEventResponse event;
  int read = 0;
  while (slow->Read(&event)) ++read;
  EXPECT_LT(read, 32);
  const grpc::Status status = slow->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
}

}  // namespace
}  // namespace berth::testing
