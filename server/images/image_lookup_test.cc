#include "server/images/image_lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ImageId kOne("sha256:aa" + std::string(62, '1'));
const ImageId kTwo("sha256:ab" + std::string(62, '2'));
const std::string kDigest = "docker.io/library/one@sha256:" + std::string(64, 'd');

Image ImageOf(const ImageId& id) {
  Image image;
  image.id = id;
  return image;
}

class ImageLookupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    index_.Put(ImageOf(kOne), {"docker.io/library/one:latest", kDigest});
    index_.Put(ImageOf(kTwo), {"docker.io/library/abc:v2"});
  }
  std::string Found(const std::string& text) {
    const auto image = index_.Find(text);
    return image.ok() ? (*image)->id.str() : absl::StatusCodeToString(image.status().code());
  }
  ImageLookup index_{{"docker.io/library/one:latest"}};
};

TEST_F(ImageLookupTest, ImagesAreFoundByNameIdAndPrefix) {
  EXPECT_EQ(Found("one"), kOne.str());
  EXPECT_EQ(Found(kDigest), kOne.str());
  EXPECT_EQ(Found("one:other@sha256:" + std::string(64, 'd')), kOne.str());
  EXPECT_EQ(Found(kOne.str()), kOne.str());
  EXPECT_EQ(Found(kOne.str().substr(7)), kOne.str());
  EXPECT_EQ(Found("aa11"), kOne.str());
  EXPECT_EQ(Found("sha256:ab"), kTwo.str());
  EXPECT_EQ(Found("abc:v2"), kTwo.str());
  EXPECT_EQ(Found("a"), "INVALID_ARGUMENT");
  EXPECT_EQ(Found("abc"), "NOT_FOUND");
  EXPECT_EQ(Found("one:v3"), "NOT_FOUND");
  EXPECT_EQ(Found("ONE"), "INVALID_ARGUMENT");
  EXPECT_EQ(Found(std::string(64, '0')), "NOT_FOUND");
}

TEST_F(ImageLookupTest, ATagThatMovesLeavesItsImageListed) {
  EXPECT_TRUE(index_.FindId(kOne)->pinned);
  const ImageLookup::Pointer before = index_.FindId(kOne);
  EXPECT_THAT(index_.Put(ImageOf(kTwo), {"docker.io/library/one:latest"}), ElementsAre(kOne));
  EXPECT_EQ(Found("one"), kTwo.str());
  EXPECT_THAT(index_.FindId(kOne)->repo_tags, IsEmpty());
  EXPECT_THAT(index_.FindId(kOne)->repo_digests, ElementsAre(kDigest));
  EXPECT_FALSE(index_.FindId(kOne)->pinned);
  EXPECT_THAT(index_.FindId(kTwo)->repo_tags,
              ElementsAre("docker.io/library/abc:v2", "docker.io/library/one:latest"));
  EXPECT_THAT(before->repo_tags, ElementsAre("docker.io/library/one:latest"));  // a reader's copy
}

TEST_F(ImageLookupTest, RemovalTakesTheNamesAway) {
  index_.RemoveName("docker.io/library/one:latest");
  EXPECT_EQ(Found("one"), "NOT_FOUND");
  EXPECT_EQ(Found(kDigest), kOne.str());
  index_.RemoveImage(kOne);
  EXPECT_EQ(Found(kDigest), "NOT_FOUND");
  EXPECT_EQ(index_.List().size(), 1u);
}

}  // namespace
}  // namespace berth
