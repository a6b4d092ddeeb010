#include "server/cri/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FakeStream : public ResponseStream<cri::StreamContainersResponse> {
 public:
  bool Begin() override { return true; }
  bool Write(const cri::StreamContainersResponse& response) override {
    if (--left == 0) return false;
    sizes.push_back(response.containers_size());
    bytes.push_back(response.ByteSizeLong());
    return true;
  }
  int left = 1000;
  std::vector<int> sizes;
  std::vector<size_t> bytes;
};

class BatchesTest : public ::testing::Test {
 protected:
  cri::Container Container(size_t bytes) {
    cri::Container container;
    container.set_id(std::string(bytes, 'c'));
    return container;
  }
  FakeStream stream_;
  Batches<cri::StreamContainersResponse, cri::Container> batches_{
      &stream_, &cri::StreamContainersResponse::mutable_containers};
};

TEST_F(BatchesTest, AnEmptyListHasNoMessage) {
  EXPECT_TRUE(batches_.Finish().ok());
  EXPECT_THAT(stream_.sizes, IsEmpty());
}

TEST_F(BatchesTest, SmallItemsAreCounted) {
  for (int i = 0; i < 600; ++i) EXPECT_TRUE(batches_.Add(Container(64)));
  EXPECT_TRUE(batches_.Finish().ok());
  EXPECT_THAT(stream_.sizes, ElementsAre(256, 256, 88));
}

TEST_F(BatchesTest, LargeItemsAreWeighed) {
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(batches_.Add(Container(600 << 10)));
  EXPECT_TRUE(batches_.Finish().ok());
  EXPECT_THAT(stream_.sizes, ElementsAre(2, 2, 1));
  EXPECT_LT(stream_.bytes[0], size_t{2} << 20);
}

TEST_F(BatchesTest, AClientThatLeavesEndsTheList) {
  stream_.left = 2;
  bool listening = true;
  int added = 0;
  for (; added < 2000 && listening; ++added) listening = batches_.Add(Container(1));
  EXPECT_EQ(added, 512);
  EXPECT_EQ(batches_.Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(stream_.sizes, ElementsAre(256));
}

}  // namespace
}  // namespace berth
