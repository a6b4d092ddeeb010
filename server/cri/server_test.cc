#include "server/cri/server.h"

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/files.h"
#include "base/mutex.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/cri/v1/api.grpc.pb.h"

namespace berth {
namespace {

// Waits in RunPodSandbox until released or cancelled, and streams events until cancelled.
class FakeRuntime : public RuntimeServiceHandler {
 public:
  absl::Status Version(const CallContext&, const cri::VersionRequest&,
                       cri::VersionResponse* response) override {
    response->set_runtime_name("berth");
    return absl::OkStatus();
  }

  absl::Status RunPodSandbox(const CallContext& context, const cri::RunPodSandboxRequest&,
                             cri::RunPodSandboxResponse* response) override {
    absl::Notification wake;
    absl::Mutex once;
    auto wake_once = [&] {
      absl::MutexLock lock(&once);
      if (!wake.HasBeenNotified()) wake.Notify();
    };
    CancelSubscription subscription = context.OnCancel(wake_once);
    {
      MutexLock lock(&mu_);
      ++blocked_;
      changed_.SignalAll();
      while (!released_ && !context.cancelled()) {
        changed_.WaitWithDeadline(&mu_, absl::Now() + absl::Milliseconds(5));
      }
      --blocked_;
      if (context.cancelled()) ++cancelled_;
      changed_.SignalAll();
    }
    if (context.cancelled()) {
      wake.WaitForNotification();
      return absl::CancelledError("cancelled");
    }
    response->set_pod_sandbox_id("p1");
    return absl::OkStatus();
  }

  absl::Status ListContainers(const CallContext&, const cri::ListContainersRequest& request,
                              cri::ListContainersResponse* response) override {
    response->add_containers()->set_image_ref(std::string(response_bytes, 'x'));
    return absl::OkStatus();
  }

  absl::Status StopContainer(const CallContext& context, const cri::StopContainerRequest&,
                             cri::StopContainerResponse*) override {
    return absl::FailedPreconditionError(
        context.deadline() == absl::InfiniteFuture() ? "no deadline" : "deadline");
  }

  absl::Status GetContainerEvents(const CallContext& context, const cri::GetEventsRequest&,
                                  ResponseStream<cri::ContainerEventResponse>* stream) override {
    if (!stream->Begin()) return absl::CancelledError("nobody listens");
    cri::ContainerEventResponse event;
    event.mutable_pod_sandbox_status()->set_runtime_handler(std::string(response_bytes, 'x'));
    for (int i = 0; i < events; ++i) {
      event.set_container_id(absl::StrCat("c", i));
      if (!stream->Write(event)) return absl::CancelledError("nobody listens");
      events_written = i + 1;
    }
    absl::Notification gone;
    CancelSubscription subscription = context.OnCancel([&] { gone.Notify(); });
    gone.WaitForNotification();
    return absl::OkStatus();
  }

  void Release() {
    MutexLock lock(&mu_);
    released_ = true;
    changed_.SignalAll();
  }
  void WaitUntil(const std::function<bool(int blocked, int cancelled)>& condition) {
    MutexLock lock(&mu_);
    while (!condition(blocked_, cancelled_)) changed_.Wait(&mu_);
  }

  size_t response_bytes = 0;
  int events = 0;
  std::atomic<int> events_written{0};

 private:
  Mutex mu_;
  CondVar changed_;
  bool released_ ABSL_GUARDED_BY(mu_) = false;
  int blocked_ ABSL_GUARDED_BY(mu_) = 0;
  int cancelled_ ABSL_GUARDED_BY(mu_) = 0;
};

class RecordingObserver : public RpcObserver {
 public:
  void OnStart(absl::string_view method) override {
    MutexLock lock(&mu_);
    ++started_;
  }
  void OnEnd(const RpcOutcome& outcome) override {
    MutexLock lock(&mu_);
    ended_.push_back(
        absl::StrCat(outcome.method, " ", absl::StatusCodeToString(outcome.status.code())));
  }
  std::vector<std::string> ended() {
    MutexLock lock(&mu_);
    return ended_;
  }
  int started() {
    MutexLock lock(&mu_);
    return started_;
  }

 private:
  Mutex mu_;
  int started_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::string> ended_ ABSL_GUARDED_BY(mu_);
};

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    char name[] = "/tmp/berth-cri.XXXXXX";
    directory_ = mkdtemp(name);
    options_.address = "unix://" + directory_ + "/s.sock";
  }
  ~ServerTest() override {
    runtime_.Release();
    server_.reset();
    EXPECT_TRUE(RemoveTree(directory_).ok());
    EXPECT_EQ(observer_.started(), static_cast<int>(observer_.ended().size()));
  }

  void Start(bool ready = true) {
    auto server = CriServer::Start(options_, &runtime_, &image_, &observer_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    if (ready) server_->SetReady();
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(64 << 20);
    channel_ = grpc::CreateCustomChannel("unix:" + directory_ + "/s.sock",
                                         grpc::InsecureChannelCredentials(), arguments);
    stub_ = cri::RuntimeService::NewStub(channel_);
  }

  static void SetTimeout(grpc::ClientContext* context, int milliseconds) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(milliseconds));
  }

  grpc::Status Version() {
    grpc::ClientContext context;
    cri::VersionResponse response;
    return stub_->Version(&context, cri::VersionRequest(), &response);
  }

  grpc::Status RunPod(grpc::ClientContext* context) {
    cri::RunPodSandboxResponse response;
    return stub_->RunPodSandbox(context, cri::RunPodSandboxRequest(), &response);
  }

  grpc::Status CallWithBytes(const std::string& method, const std::string& bytes) {
    grpc::ClientContext context;
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1), response;
    grpc::Status result;
    absl::Notification done;
    grpc::GenericStub(channel_).UnaryCall(&context, method, grpc::StubOptions(), &request,
                                          &response, [&](grpc::Status status) {
                                            result = std::move(status);
                                            done.Notify();
                                          });
    done.WaitForNotification();
    return result;
  }

  std::string directory_;
  CriServerOptions options_;
  FakeRuntime runtime_;
  ImageServiceHandler image_;
  RecordingObserver observer_;
  std::unique_ptr<CriServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<cri::RuntimeService::Stub> stub_;
};

TEST_F(ServerTest, AnswersAndReportsEachCall) {
  Start();
  grpc::ClientContext context;
  cri::VersionResponse response;
  ASSERT_TRUE(stub_->Version(&context, cri::VersionRequest(), &response).ok());
  EXPECT_EQ(response.runtime_name(), "berth");
  EXPECT_EQ(observer_.ended(), std::vector<std::string>{"Version OK"});
  struct stat info;
  ASSERT_EQ(stat((directory_ + "/s.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode, S_IFSOCK | 0660);
}

TEST_F(ServerTest, PassesFailuresOn) {
  Start();
  cri::StopContainerResponse response;
  grpc::ClientContext context;
  grpc::Status status = stub_->StopContainer(&context, cri::StopContainerRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "no deadline");
  grpc::ClientContext with_deadline;
  SetTimeout(&with_deadline, 60000);
  status = stub_->StopContainer(&with_deadline, cri::StopContainerRequest(), &response);
  EXPECT_EQ(status.error_message(), "deadline");
}

TEST_F(ServerTest, NamesWhatIsNotImplemented) {
  Start();
  grpc::ClientContext context;
  cri::CheckpointPodResponse response;
  const grpc::Status status =
      stub_->CheckpointPod(&context, cri::CheckpointPodRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(status.error_message(), "/runtime.v1.RuntimeService/CheckpointPod is not implemented");
  grpc::ClientContext image_context;
  cri::ListImagesResponse images;
  EXPECT_EQ(cri::ImageService::NewStub(channel_)
                ->ListImages(&image_context, cri::ListImagesRequest(), &images)
                .error_message(),
            "/runtime.v1.ImageService/ListImages is not implemented");
}

// A method of a future CRI, or of another service.
TEST_F(ServerTest, RefusesUnknownMethods) {
  Start();
  EXPECT_EQ(CallWithBytes("/runtime.v2.RuntimeService/Version", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(observer_.ended(), std::vector<std::string>{"unknown UNIMPLEMENTED"});
}

TEST_F(ServerTest, RefusesBytesThatAreNoMessage) {
  Start();
  const grpc::Status status =
      CallWithBytes("/runtime.v1.RuntimeService/RunPodSandbox", "\x0a\xff\xff\xff\xff\x0f garbage");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "request: not a valid runtime.v1.RunPodSandboxRequest message");
}

TEST_F(ServerTest, ACancelledCallIsSeenByItsHandler) {
  Start();
  grpc::ClientContext context;
  std::thread canceller([&] {
    runtime_.WaitUntil([](int blocked, int) { return blocked == 1; });
    context.TryCancel();
  });
  EXPECT_EQ(RunPod(&context).error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  runtime_.WaitUntil([](int blocked, int cancelled) { return blocked == 0 && cancelled == 1; });
}

TEST_F(ServerTest, APassedDeadlineCancelsTheHandler) {
  Start();
  grpc::ClientContext context;
  SetTimeout(&context, 100);
  EXPECT_EQ(RunPod(&context).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  runtime_.WaitUntil([](int blocked, int cancelled) { return blocked == 0 && cancelled == 1; });
}

TEST_F(ServerTest, ReadsNeverWaitBehindBlockedCalls) {
  options_.max_blocking_calls = 3;
  Start();
  std::vector<std::thread> callers;
  for (int i = 0; i < 5; ++i) {
    callers.emplace_back([this] {
      grpc::ClientContext context;
      EXPECT_TRUE(RunPod(&context).ok());
    });
  }
  runtime_.WaitUntil([](int blocked, int) { return blocked == 3; });
  EXPECT_TRUE(Version().ok());
  runtime_.Release();
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ServerTest, TakesAndGivesMessagesUpTo16MiB) {
  Start();
  runtime_.response_bytes = (16 << 20) - 64;
  grpc::ClientContext context;
  cri::ListContainersRequest request;
  request.mutable_filter()->set_id(std::string((16 << 20) - 64, 'x'));
  cri::ListContainersResponse response;
  const grpc::Status status = stub_->ListContainers(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.containers(0).image_ref().size(), runtime_.response_bytes);
}

TEST_F(ServerTest, RefusesLargerRequests) {
  Start();
  grpc::ClientContext context;
  cri::ListContainersRequest request;
  request.mutable_filter()->set_id(std::string(16 << 20, 'x'));
  cri::ListContainersResponse response;
  EXPECT_EQ(stub_->ListContainers(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Version().ok());
}

TEST_F(ServerTest, RefusesLargerResponses) {
  Start();
  runtime_.response_bytes = 16 << 20;
  grpc::ClientContext context;
  cri::ListContainersResponse response;
  const grpc::Status status =
      stub_->ListContainers(&context, cri::ListContainersRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(status.error_message().find("limit of 16777216"), std::string::npos)
      << status.error_message();
  EXPECT_EQ(observer_.ended(), std::vector<std::string>{"ListContainers RESOURCE_EXHAUSTED"});
}

TEST_F(ServerTest, StreamsUntilTheClientGoes) {
  runtime_.events = 100;
  Start();
  grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, cri::GetEventsRequest());
  cri::ContainerEventResponse event;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(reader->Read(&event));
    EXPECT_EQ(event.container_id(), absl::StrCat("c", i));
  }
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, AStreamBeginsBeforeItsFirstMessage) {
  Start();
  grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, cri::GetEventsRequest());
  reader->WaitForInitialMetadata();
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, AClientThatTakesNothingIsBrokenOff) {
  constexpr int kEvents = 1000;
  runtime_.events = kEvents;
  runtime_.response_bytes = 256 << 10;
  options_.stream_write_timeout = absl::Milliseconds(200);
  Start();
  grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, cri::GetEventsRequest());
  reader->WaitForInitialMetadata();
  while (observer_.ended().empty()) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(observer_.ended(), std::vector<std::string>{"GetContainerEvents DEADLINE_EXCEEDED"});
  // What a window and the sockets hold, not the whole of it.
  EXPECT_LT(runtime_.events_written, kEvents / 4);
  cri::ContainerEventResponse event;
  while (reader->Read(&event)) continue;
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_TRUE(Version().ok());
}

TEST_F(ServerTest, BoundsOpenStreams) {
  options_.max_streams = 1;
  runtime_.events = 1;
  Start();
  grpc::ClientContext first, second;
  cri::ContainerEventResponse event;
  auto reader = stub_->GetContainerEvents(&first, cri::GetEventsRequest());
  ASSERT_TRUE(reader->Read(&event));
  auto refused = stub_->GetContainerEvents(&second, cri::GetEventsRequest());
  EXPECT_FALSE(refused->Read(&event));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  first.TryCancel();
  reader->Finish();
}

TEST_F(ServerTest, UntilReadyOnlyVersionAnswers) {
  Start(/*ready=*/false);
  EXPECT_TRUE(Version().ok());
  cri::ListContainersResponse response;
  grpc::ClientContext impatient;
  SetTimeout(&impatient, 50);
  EXPECT_FALSE(stub_->ListContainers(&impatient, cri::ListContainersRequest(), &response).ok());
  absl::Notification sent;
  std::thread patient([&] {
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->ListContainers(&context, cri::ListContainersRequest(), &response).ok());
    EXPECT_TRUE(sent.HasBeenNotified());
  });
  while (observer_.started() < 3) absl::SleepFor(absl::Milliseconds(1));
  sent.Notify();
  server_->SetReady();
  patient.join();
}

TEST_F(ServerTest, ASecondServerOnTheSocketIsRefused) {
  Start();
  const absl::Status status = CriServer::Start(options_, &runtime_, &image_, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(Version().ok());
}

TEST_F(ServerTest, ShutdownWaitsForCallsAndRefusesThoseThatWait) {
  Start();
  std::thread caller([this] {
    grpc::ClientContext context;
    EXPECT_TRUE(RunPod(&context).ok());
  });
  runtime_.WaitUntil([](int blocked, int) { return blocked == 1; });
  std::thread releaser([this] {
    struct stat info;
    while (stat((directory_ + "/s.sock").c_str(), &info) == 0) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    runtime_.Release();
  });
  EXPECT_TRUE(server_->Shutdown(absl::Now() + absl::Seconds(30)));
  caller.join();
  releaser.join();
  EXPECT_FALSE(Version().ok());
}

TEST_F(ServerTest, ShutdownCancelsWhatIsLeftAtItsDeadline) {
  Start();
  std::thread caller([this] {
    grpc::ClientContext context;
    EXPECT_FALSE(RunPod(&context).ok());
  });
  runtime_.WaitUntil([](int blocked, int) { return blocked == 1; });
  EXPECT_TRUE(server_->Shutdown(absl::Now() + absl::Milliseconds(50)));
  caller.join();
  runtime_.WaitUntil([](int blocked, int cancelled) { return blocked == 0 && cancelled == 1; });
}

TEST_F(ServerTest, ShutdownEndsStreamsAtOnce) {
  runtime_.events = 1;
  Start();
  grpc::ClientContext context;
  auto reader = stub_->GetContainerEvents(&context, cri::GetEventsRequest());
  cri::ContainerEventResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const absl::Time start = absl::Now();
  EXPECT_TRUE(server_->Shutdown(absl::Now() + absl::Seconds(60)));
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, ShutdownBeforeReadyFailsWhatWaits) {
  Start(/*ready=*/false);
  std::thread caller([this] {
    grpc::ClientContext context;
    EXPECT_EQ(RunPod(&context).error_code(), grpc::StatusCode::UNAVAILABLE);
  });
  while (observer_.started() < 1) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(server_->Shutdown(absl::Now() + absl::Seconds(30)));
  caller.join();
}

}  // namespace
}  // namespace berth
