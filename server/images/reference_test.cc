#include "server/images/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace berth {
namespace {

const std::string kHex = std::string(64, 'a');

std::string Normal(const std::string& text) {
  absl::StatusOr<ImageReference> reference = ParseReference(text);
  return reference.ok() ? reference->ToString()
                        : "error: " + std::string(reference.status().message());
}

TEST(Reference, DockerHubShortFormsAreCompleted) {
  EXPECT_EQ(Normal("busybox"), "docker.io/library/busybox:latest");
  EXPECT_EQ(Normal("busybox:1.36"), "docker.io/library/busybox:1.36");
  EXPECT_EQ(Normal("user/app"), "docker.io/user/app:latest");
  EXPECT_EQ(Normal("index.docker.io/busybox"), "docker.io/library/busybox:latest");
  EXPECT_EQ(Normal("docker.io/a/b/c"), "docker.io/a/b/c:latest");
}

TEST(Reference, HostsAreToldFromPaths) {
  EXPECT_EQ(Normal("localhost/app"), "localhost/app:latest");
  EXPECT_EQ(Normal("localhost:5000/app:v1"), "localhost:5000/app:v1");
  EXPECT_EQ(Normal("[::1]:5000/app"), "[::1]:5000/app:latest");
  EXPECT_EQ(Normal("registry.k8s.io/e2e/test-1.0_x__y"),
            "registry.k8s.io/e2e/test-1.0_x__y:latest");
  EXPECT_EQ(Normal("HOST/app"), "HOST/app:latest");
}

TEST(Reference, DigestNeedsNoTagAndKeepsOne) {
  EXPECT_EQ(Normal("a.io/b@sha256:" + kHex), "a.io/b@sha256:" + kHex);
  EXPECT_EQ(Normal("a.io/b:t@sha256:" + kHex), "a.io/b:t@sha256:" + kHex);
  EXPECT_EQ(Normal("a.io/b@sha512:" + kHex + kHex), "a.io/b@sha512:" + kHex + kHex);
}

TEST(Reference, RefusalsSayWhatIsWrong) {
  using ::testing::HasSubstr;
  EXPECT_THAT(Normal(""), HasSubstr("is empty"));
  EXPECT_THAT(Normal("Busybox"), HasSubstr("must be lower case"));
  EXPECT_THAT(Normal("a.io/"), HasSubstr("repository is empty"));
  EXPECT_THAT(Normal("a.io//b"), HasSubstr("empty path component"));
  EXPECT_THAT(Normal("a.io/b:"), HasSubstr("tag after the colon is empty"));
  EXPECT_THAT(Normal("a.io/b:.x"), HasSubstr("begins with a dot"));
  EXPECT_THAT(Normal("a.io/b:" + std::string(129, 'x')), HasSubstr("longer than 128"));
  EXPECT_THAT(Normal("a.io/" + std::string(256, 'x')), HasSubstr("longer than 255"));
  EXPECT_THAT(Normal(std::string(248, 'x')), HasSubstr("longer than 255"));
  EXPECT_THAT(Normal("[::" + std::string(4000, '0') + "]/x"),
              HasSubstr("IPv6 address is malformed"));
  EXPECT_THAT(Normal("a.io/b@sha256:" + kHex + "a"), HasSubstr("64 hex digits, not 65"));
  EXPECT_THAT(Normal("a.io/b@md5:abc"), HasSubstr("neither sha256 nor sha512"));
  EXPECT_THAT(Normal("a.io/b@sha256:" + std::string(64, 'A')), HasSubstr("lower-case hex"));
  EXPECT_THAT(Normal("a.io:99999/b"), HasSubstr("port"));
  EXPECT_THAT(Normal("a..io/b"), HasSubstr("empty label"));
  EXPECT_THAT(Normal("a.io/b___c"), HasSubstr("separators in a row"));
  EXPECT_THAT(Normal("a.io/b.-c"), HasSubstr("separators in a row"));
  EXPECT_THAT(Normal("a.io/-b"), HasSubstr("begins or ends"));
  EXPECT_THAT(Normal("a.io/b\nc"), HasSubstr("\\n"));
  EXPECT_THAT(Normal("a.io/../b"), HasSubstr("begins or ends with a separator"));
  EXPECT_THAT(Normal("https://a.io/b"), HasSubstr("scheme"));
  EXPECT_THAT(Normal(kHex), HasSubstr("image ID"));
}

TEST(Reference, AddressesOfDockerHubAreOneRegistry) {
  EXPECT_EQ(RegistryOfAddress("https://index.docker.io/v1/"), "docker.io");
  EXPECT_EQ(RegistryOfAddress("registry-1.docker.io"), "docker.io");
  EXPECT_EQ(RegistryOfAddress("http://Localhost:5000"), "localhost:5000");
  EXPECT_EQ(RegistryApiHost("docker.io"), "registry-1.docker.io");
  EXPECT_EQ(RegistryApiHost("quay.io"), "quay.io");
}

}  // namespace
}  // namespace berth
