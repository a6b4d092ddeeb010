// The streaming lists say what the lists say.
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StreamedListTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    for (int i = 0; i < 3; ++i) {
      cri::PodSandboxConfig config = PodConfig(absl::StrCat("pod-", i));
      (*config.mutable_labels())["index"] = absl::StrCat(i);
      ASSERT_OK_AND_ASSIGN(pods_[i], RunPod(config));
      ASSERT_OK_AND_ASSIGN(containers_[i], Sleeper(pods_[i]));
    }
  }

  // All items of a stream, and how many messages they came in.
  template <typename Request, typename Response, typename Item, typename Stub>
  std::vector<Item> Collect(Stub& stub,
                            std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(
                                grpc::ClientContext*, const Request&),
                            const google::protobuf::RepeatedPtrField<Item>& (Response::*field)()
                                const,
                            const Request& request = {}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    auto reader = (stub.*method)(&context, request);
    std::vector<Item> items;
    Response response;
    messages_ = 0;
    while (reader->Read(&response)) {
      ++messages_;
      items.insert(items.end(), (response.*field)().begin(), (response.*field)().end());
    }
    EXPECT_OK(CriClient::FromGrpc(reader->Finish()));
    return items;
  }
  template <typename Item>
  static std::vector<std::string> Ids(const std::vector<Item>& items) {
    std::vector<std::string> ids;
    for (const Item& item : items) ids.push_back(item.id());
    return ids;
  }
  template <typename Item>
  static std::vector<std::string> Debug(const std::vector<Item>& items) {
    std::vector<std::string> texts;
    for (const Item& item : items) texts.push_back(item.ShortDebugString());
    return texts;
  }

  TestPod pods_[3];
  std::string containers_[3];
  int messages_ = 0;
};

TEST_F(StreamedListTest, Pods) {
  const auto pods = Collect(cri().runtime(), &CriClient::Runtime::StreamPodSandboxes,
                            &cri::StreamPodSandboxesResponse::pod_sandboxes);
  ASSERT_OK_AND_ASSIGN(const auto list, cri().ListPods());
  EXPECT_EQ(Debug(pods), Debug(list));
  EXPECT_EQ(messages_, 1);
  cri::StreamPodSandboxesRequest request;
  (*request.mutable_filter()->mutable_label_selector())["index"] = "1";
  EXPECT_THAT(Ids(Collect(cri().runtime(), &CriClient::Runtime::StreamPodSandboxes,
                          &cri::StreamPodSandboxesResponse::pod_sandboxes, request)),
              ElementsAre(pods_[1].id));
  request.mutable_filter()->set_id("nobody");
  EXPECT_THAT(Collect(cri().runtime(), &CriClient::Runtime::StreamPodSandboxes,
                      &cri::StreamPodSandboxesResponse::pod_sandboxes, request),
              IsEmpty());
  EXPECT_EQ(messages_, 0);
}

TEST_F(StreamedListTest, Containers) {
  const auto containers = Collect(cri().runtime(), &CriClient::Runtime::StreamContainers,
                                  &cri::StreamContainersResponse::containers);
  ASSERT_OK_AND_ASSIGN(const auto list, cri().ListContainers());
  EXPECT_EQ(Debug(containers), Debug(list));
  cri::StreamContainersRequest request;
  request.mutable_filter()->set_pod_sandbox_id(pods_[2].id);
  EXPECT_THAT(Ids(Collect(cri().runtime(), &CriClient::Runtime::StreamContainers,
                          &cri::StreamContainersResponse::containers, request)),
              ElementsAre(containers_[2]));
}

TEST_F(StreamedListTest, Images) {
  const auto images =
      Collect(cri().images(), &CriClient::Images::StreamImages, &cri::StreamImagesResponse::images);
  ASSERT_OK_AND_ASSIGN(const auto list, cri().ListImages());
  EXPECT_EQ(Debug(images), Debug(list));
  EXPECT_FALSE(images.empty());
}

TEST_F(StreamedListTest, AListBeyondTheMessageLimitComesInParts) {
  // 18 MiB in annotations: ListContainers can't answer it any more.
  cri::ContainerConfig config = ContainerConfig("large", {"true"});
  (*config.mutable_annotations())["filling"] = std::string(3 << 20, 'x');
  for (int i = 0; i < 6; ++i) {
    config.mutable_metadata()->set_attempt(i);
    ASSERT_OK(Create(pods_[0], config));
  }
  EXPECT_CODE(absl::StatusCode::kResourceExhausted, cri().ListContainers());
  const auto containers = Collect(cri().runtime(), &CriClient::Runtime::StreamContainers,
                                  &cri::StreamContainersResponse::containers);
  EXPECT_EQ(containers.size(), 9u);
  EXPECT_GE(messages_, 6);
}

}  // namespace
}  // namespace berth::testing
