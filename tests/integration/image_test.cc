// Images: pull, list, status and remove, by tag, digest and ID.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class ImageTest : public DaemonTest {
 protected:
  std::vector<std::string> TagsOf(const cri::Image& image) {
    return {image.repo_tags().begin(), image.repo_tags().end()};
  }
  std::string InImage(const std::string& reference, const std::string& script) {
    auto pod = RunPod(absl::StrCat("image-", ++pods_));
    EXPECT_OK(pod);
    if (!pod.ok()) return "";
    cri::ContainerConfig config = ContainerConfig("c", {"sh", "-c", script});
    config.mutable_image()->set_image(reference);
    return RunToEnd(*pod, config);
  }
  int pods_ = 0;
};

TEST_F(ImageTest, PullAnswersTheConfigDigestAndStatusFindsItByEveryName) {
  const std::string reference = registry_.Image("other:1");
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ImageStatus(reference));
  ASSERT_OK_AND_ASSIGN(const std::string id, cri().PullImage(reference));
  EXPECT_TRUE(absl::StartsWith(id, "sha256:")) << id;
  ASSERT_OK_AND_ASSIGN(const std::string manifest, registry_.ManifestDigest("other:1"));
  const std::string by_digest = absl::StrCat(registry_.address(), "/berth-test/other@", manifest);

  for (const std::string& name : {reference, id, id.substr(7), id.substr(7, 12), by_digest}) {
    ASSERT_OK_AND_ASSIGN(const cri::Image found, cri().ImageStatus(name));
    EXPECT_EQ(found.id(), id) << name;
    EXPECT_THAT(TagsOf(found), ElementsAre(reference));
    ASSERT_EQ(found.repo_digests_size(), 1);
    EXPECT_EQ(found.repo_digests(0), by_digest);
    EXPECT_GT(found.size(), 100000u);
  }
}

TEST_F(ImageTest, ThreeTagsAreOneImage) {
  std::vector<std::string> references;
  for (const char* tag : {"tags:1", "tags:2", "tags:3"}) {
    references.push_back(registry_.Image(tag));
    ASSERT_OK(cri().PullImage(references.back()));
  }
  ASSERT_OK_AND_ASSIGN(const auto image, cri().ImageStatus(references[0]));
  EXPECT_THAT(TagsOf(image), UnorderedElementsAre(references[0], references[1], references[2]));
  ASSERT_OK_AND_ASSIGN(const auto images, cri().ListImages());
  EXPECT_EQ(images.size(), 2u);  // and busybox

  ASSERT_OK(cri().RemoveImage(image.id()));  // by ID: all names go
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ImageStatus(references[2]));
}

TEST_F(ImageTest, PullByDigestHasNoTag) {
  ASSERT_OK_AND_ASSIGN(const std::string manifest, registry_.ManifestDigest("other:1"));
  const std::string reference = absl::StrCat(registry_.address(), "/berth-test/other@", manifest);
  ASSERT_OK(cri().PullImage(reference));
  ASSERT_OK_AND_ASSIGN(const auto image, cri().ImageStatus(reference));
  EXPECT_EQ(image.repo_tags_size(), 0);
  EXPECT_THAT(std::vector<std::string>(image.repo_digests().begin(), image.repo_digests().end()),
              ElementsAre(reference));
}

TEST_F(ImageTest, ListFiltersByReference) {
  ASSERT_OK(cri().PullImage(registry_.Image("other:1")));
  cri::ListImagesRequest request;
  request.mutable_filter()->mutable_image()->set_image(registry_.Image("other:1"));
  ASSERT_OK_AND_ASSIGN(auto answer, cri().Call(&CriClient::Images::ListImages, request));
  ASSERT_EQ(answer.images_size(), 1);
  EXPECT_EQ(answer.images(0).repo_tags(0), registry_.Image("other:1"));
  request.mutable_filter()->mutable_image()->set_image(registry_.Image("absent:1"));
  ASSERT_OK_AND_ASSIGN(answer, cri().Call(&CriClient::Images::ListImages, request));
  EXPECT_EQ(answer.images_size(), 0);
}

TEST_F(ImageTest, RemovalOfAnUnknownImageSucceedsAndAgain) {
  EXPECT_OK(cri().RemoveImage(registry_.Image("absent:1")));
  EXPECT_OK(cri().RemoveImage(image()));
  EXPECT_OK(cri().RemoveImage(image()));
  ASSERT_OK_AND_ASSIGN(const auto images, cri().ListImages());
  EXPECT_TRUE(images.empty());
}

TEST_F(ImageTest, AnImageInUseCanBeRemovedAndItsContainerGoesOn) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("in-use"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  ASSERT_OK(cri().RemoveImage(image()));
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().ImageStatus(image()));
  EXPECT_EQ(Exec(container, "cat /etc/passwd | head -n 1"), "root:x:0:0:root:/root:/bin/sh\n");
  ASSERT_OK(cri().PullImage(image()));
  EXPECT_EQ(Exec(container, "ls /bin | wc -l > /dev/null; echo still"), "still\n");
}

TEST_F(ImageTest, ARemovedImagesContainersNeedItNoMore) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("in-use"));
  const std::string reference = registry_.Image("user:1");
  ASSERT_OK(cri().PullImage(reference));
  cri::ContainerConfig config = ContainerConfig("running", {"sleep", "1000"});
  config.mutable_image()->set_image(reference);
  ASSERT_OK_AND_ASSIGN(const std::string running, CreateAndStart(pod, config));
  config = ContainerConfig("gated", {"sleep", "1000"});
  config.mutable_image()->set_image(reference);
  ASSERT_OK_AND_ASSIGN(const std::string gated, Create(pod, config));
  const std::string environment = Exec(running, "env | sort");
  const std::string user = Exec(running, "id");
  ASSERT_OK(cri().RemoveImage(reference));
  Restart();
  EXPECT_EQ(Exec(running, "env | sort"), environment);
  EXPECT_EQ(Exec(running, "id"), user);
  // Its process has to be made again, too.
  ASSERT_OK(cri().StopContainer(gated, 0));
  ASSERT_OK(cri().StartContainer(gated));
  EXPECT_EQ(Exec(gated, "id"), user);
}

TEST_F(ImageTest, TheLayersOfARemovedImageGoWithItsLastContainer) {
  const auto layers = [&] { return ListDirectory(daemon_.root() + "/layers")->size(); };
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("in-use"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  ASSERT_OK(cri().RemoveImage(image()));
  EXPECT_GE(layers(), 1u);
  ASSERT_OK(cri().RemoveContainer(container));
  EXPECT_EQ(layers(), 0u);
}

TEST_F(ImageTest, LayersGoWhenTheLastUserGoes) {
  const auto layers = [&] { return ListDirectory(daemon_.root() + "/layers")->size(); };
  ASSERT_OK(cri().PullImage(registry_.Image("layers:1")));
  const size_t with_both = layers();
  EXPECT_GE(with_both, 3u);
  ASSERT_OK(cri().RemoveImage(registry_.Image("layers:1")));
  size_t left = layers();
  for (int i = 0; i < 200 && left >= with_both; ++i) {
    absl::SleepFor(absl::Milliseconds(20));
    left = layers();
  }
  EXPECT_LT(left, with_both);
  EXPECT_GE(left, 1u);  // busybox's own
}

TEST_F(ImageTest, WhiteoutsHardLinksAndAttributesSurvive) {
  for (const char* name : {"layers:1", "zstd:1"}) {
    SCOPED_TRACE(name);
    const std::string reference = registry_.Image(name);
    ASSERT_OK(cri().PullImage(reference));
    EXPECT_EQ(InImage(reference,
                      "ls /opaque; cat /opaque/new; ls -d /removed 2>/dev/null; cd /kept; for f in "
                      "*; do echo $f; done"),
              "new\nnew\na\ncapable\nfirst\nlower\nsecond\nsetuid\nsymbolic\nupper\nünïcödé\n");
    EXPECT_EQ(InImage(reference,
                      "stat -c '%a %h' /kept/first /kept/second; stat -c %a /kept/a "
                      "/kept/setuid; cat /replaced /kept/symbolic; cat /n*/n*"),
              "644 2\n644 2\n1750\n4755\nfile\nlinked\nlong\n");
  }
}

TEST_F(ImageTest, FileCapabilitiesSurvive) {
  ASSERT_OK(cri().PullImage(registry_.Image("layers:1")));
  const std::string found = Shell("getcap -r " + daemon_.root() + "/layers");
  EXPECT_TRUE(absl::StrContains(found, "cap_net_bind_service")) << found;
}

TEST_F(ImageTest, DockerManifestsAndIndexesArePulled) {
  for (const char* name : {"docker:1", "index:1"}) {
    SCOPED_TRACE(name);
    const std::string reference = registry_.Image(name);
    ASSERT_OK(cri().PullImage(reference));
    ASSERT_OK_AND_ASSIGN(const std::string manifest, registry_.ManifestDigest(name));
    ASSERT_OK_AND_ASSIGN(const auto status, cri().ImageStatus(reference));
    ASSERT_EQ(status.repo_digests_size(), 1);
    EXPECT_TRUE(absl::EndsWith(status.repo_digests(0), manifest)) << status.repo_digests(0);
    EXPECT_EQ(InImage(reference, "echo runs"), "runs\n");
  }
}

TEST_F(ImageTest, StatusTellsTheUser) {
  ASSERT_OK(cri().PullImage(registry_.Image("user:1")));
  ASSERT_OK(cri().PullImage(registry_.Image("uid:1")));
  ASSERT_OK_AND_ASSIGN(const auto by_name, cri().ImageStatus(registry_.Image("user:1")));
  EXPECT_EQ(by_name.username(), "www-data");
  EXPECT_FALSE(by_name.has_uid());
  ASSERT_OK_AND_ASSIGN(const auto by_uid, cri().ImageStatus(registry_.Image("uid:1")));
  EXPECT_EQ(by_uid.uid().value(), 1002);
  EXPECT_EQ(by_uid.username(), "");
}

TEST_F(ImageTest, PullFailsByNameWhenTheImageOrTheRegistryIsMissing) {
  const auto absent = cri().PullImage(registry_.Image("absent:1"));
  EXPECT_CODE(absl::StatusCode::kNotFound, absent);
  EXPECT_TRUE(absl::StrContains(absent.status().message(), "berth-test/absent")) << absent.status();
  const auto refused = cri().PullImage("127.0.0.1:9/berth-test/busybox:1");
  EXPECT_FALSE(refused.ok());
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "127.0.0.1:9")) << refused.status();
}

TEST_F(ImageTest, BasicAuthenticationIsAskedForEachPull) {
  ASSERT_OK_AND_ASSIGN(auto locked, TestRegistry::Start({5001, "user", "secret-word"}));
  const std::string reference = locked->Image("busybox:1");
  EXPECT_FALSE(cri().PullImage(reference).ok());
  cri::AuthConfig wrong, right;
  wrong.set_username("user");
  wrong.set_password("guess-word");
  right.set_username("user");
  right.set_password("secret-word");
  EXPECT_FALSE(cri().PullImage(reference, wrong).ok());
  EXPECT_OK(cri().PullImage(reference, right));
  // All layers are present now, and still nobody gets in without the password.
  EXPECT_FALSE(cri().PullImage(reference).ok());
  EXPECT_FALSE(absl::StrContains(daemon_.Log(), "secret-word"));
  EXPECT_FALSE(absl::StrContains(daemon_.Log(), "guess-word"));
}

TEST_F(ImageTest, AMirrorServesAndTheNamesStay) {
  const std::string directory = daemon_.certs_dir() + "/registry.k8s.io";
  ASSERT_OK(MakeDirectories(directory, 0755));
  ASSERT_OK(WriteFileAtomically(
      directory + "/hosts.toml",
      absl::StrCat("server = \"http://127.0.0.1:9\"\n[host.\"http://", registry_.address(),
                   "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"),
      0644));
  const std::string reference = "registry.k8s.io/berth-test/other:1";
  ASSERT_OK(cri().PullImage(reference));
  ASSERT_OK_AND_ASSIGN(const auto image, cri().ImageStatus(reference));
  EXPECT_THAT(TagsOf(image), ElementsAre(reference));
  EXPECT_TRUE(absl::StartsWith(image.repo_digests(0), "registry.k8s.io/berth-test/other@sha256:"));
}

TEST_F(ImageTest, ImagesSurviveAKill) {
  Restart();
  ASSERT_OK_AND_ASSIGN(const auto status, cri().ImageStatus(image()));
  EXPECT_THAT(TagsOf(status), ElementsAre(image()));
  EXPECT_EQ(InImage(image(), "echo runs"), "runs\n");
}

TEST_F(ImageTest, ImageFsInfoCountsTheStore) {
  ASSERT_OK_AND_ASSIGN(auto answer,
                       cri().Call(&CriClient::Images::ImageFsInfo, cri::ImageFsInfoRequest()));
  ASSERT_EQ(answer.image_filesystems_size(), 1);
  const auto& info = answer.image_filesystems(0);
  EXPECT_GT(info.timestamp(), 0);
  EXPECT_GT(info.used_bytes().value(), 1000000u);
  EXPECT_GT(info.inodes_used().value(), 5u);
  EXPECT_TRUE(absl::StartsWith(info.fs_id().mountpoint(), daemon_.root()))
      << info.fs_id().mountpoint();
}

}  // namespace
}  // namespace berth::testing
