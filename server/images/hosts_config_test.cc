#include "server/images/hosts_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/files.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(HostsConfig, MirrorsComeInTheOrderOfTheFileAndTheUpstreamLast) {
  const auto endpoints = ParseHostsToml(R"(
server = "https://up.example"
skip_verify = true
[host."https://zeta.example:5000"]
  capabilities = ["pull"]
  ca = ["a.pem", "/b.pem"]
  client = [["c.cert", "c.key"]]
  [host."https://zeta.example:5000".header]
    x-one = "1"
    x-two = ["2", "3"]
[host."http://alpha.example/proxy/"]
  capabilities = ["resolve"]
[host."https://beta.example/root"]
  override_path = true
)",
                                        "/etc/d", "up.example");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 4u);
  const RegistryEndpoint& zeta = (*endpoints)[0];
  EXPECT_EQ(zeta.base, "https://zeta.example:5000/v2");
  EXPECT_EQ(zeta.host, "zeta.example:5000");
  EXPECT_TRUE(zeta.can_pull);
  EXPECT_FALSE(zeta.can_resolve);
  EXPECT_FALSE(zeta.upstream);
  EXPECT_THAT(zeta.tls.ca_files, ElementsAre("/etc/d/a.pem", "/b.pem"));
  EXPECT_EQ(zeta.tls.client_cert, "/etc/d/c.cert");
  EXPECT_EQ(zeta.tls.client_key, "/etc/d/c.key");
  EXPECT_THAT(zeta.headers,
              ElementsAre(Pair("x-one", "1"), Pair("x-two", "2"), Pair("x-two", "3")));
  EXPECT_EQ((*endpoints)[1].base, "http://alpha.example/proxy/v2");
  EXPECT_FALSE((*endpoints)[1].can_pull);
  EXPECT_EQ((*endpoints)[2].base, "https://beta.example/root");
  EXPECT_EQ((*endpoints)[3].base, "https://up.example/v2");
  EXPECT_TRUE((*endpoints)[3].upstream);
  EXPECT_TRUE((*endpoints)[3].tls.skip_verify);
}

TEST(HostsConfig, MirrorsOfOneLineComeInItsOrder) {
  const auto endpoints =
      ParseHostsToml(R"(host = { "https://z" = {}, "https://a" = {} })", "/etc/d", "up.example");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 3u);
  EXPECT_EQ((*endpoints)[0].host, "z");
  EXPECT_EQ((*endpoints)[1].host, "a");
}

TEST(HostsConfig, WithoutAFilePlainHttpIsForLoopbackOnly) {
  EXPECT_EQ((*LoadRegistryEndpoints("", "localhost:5000"))[0].base, "http://localhost:5000/v2");
  EXPECT_EQ((*LoadRegistryEndpoints("", "127.0.0.1:5000"))[0].base, "http://127.0.0.1:5000/v2");
  EXPECT_EQ((*LoadRegistryEndpoints("", "[::1]:5000"))[0].base, "http://[::1]:5000/v2");
  EXPECT_EQ((*LoadRegistryEndpoints("", "localhost:443"))[0].base, "https://localhost:443/v2");
  EXPECT_EQ((*LoadRegistryEndpoints("", "quay.io"))[0].base, "https://quay.io/v2");
  EXPECT_EQ((*LoadRegistryEndpoints("", "docker.io"))[0].base, "https://registry-1.docker.io/v2");
  EXPECT_EQ((*LoadRegistryEndpoints("", "127.evil.example"))[0].base,
            "https://127.evil.example/v2");
}

TEST(HostsConfig, RefusalsNameTheLineAndTheKey) {
  const auto refusal = [](const char* text) {
    return std::string(ParseHostsToml(text, "/d", "h").status().message());
  };
  EXPECT_THAT(refusal("server = \"https://h\"\n[host"), HasSubstr("line 2"));
  EXPECT_THAT(refusal("\n[!]"), HasSubstr("line 2"));
  EXPECT_THAT(refusal("\nserver = 5"), HasSubstr("line 2: server"));
  EXPECT_THAT(refusal("server = \"ftp://h\""), HasSubstr("neither http nor https"));
  EXPECT_THAT(refusal("server = \"https://u:p@h\""), HasSubstr("credentials"));
  EXPECT_THAT(refusal("capabilities = [\"fly\"]"), HasSubstr("unknown capability \"fly\""));
  EXPECT_THAT(refusal("skip_verify = \"yes\""), HasSubstr("true or false"));
  EXPECT_THAT(refusal("host = 1"), HasSubstr("host: must be a table"));
  EXPECT_THAT(refusal("[host.\"http://a\".header]\nx = \"a\\r\\nb\""), HasSubstr("header"));
}

class HostsConfigFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "certs.XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(dir_).ok()); }
  void Write(const std::string& directory, const std::string& file, const std::string& text) {
    ASSERT_TRUE(MakeDirectories(dir_ + "/" + directory, 0755).ok());
    ASSERT_TRUE(WriteFileAtomically(dir_ + "/" + directory + "/" + file, text, 0644).ok());
  }
  std::string FirstBase(const std::string& registry) {
    const auto endpoints = LoadRegistryEndpoints(dir_, registry);
    return endpoints.ok() ? endpoints->front().base : endpoints.status().ToString();
  }
  std::string dir_;
};

TEST_F(HostsConfigFiles, TheMostSpecificDirectoryCounts) {
  EXPECT_EQ(FirstBase("reg.example:5000"), "https://reg.example:5000/v2");
  Write("_default", "hosts.toml", "[host.\"http://m1\"]");
  EXPECT_EQ(FirstBase("reg.example:5000"), "http://m1/v2");
  Write("reg.example:5000", "hosts.toml", "[host.\"http://m2\"]");
  EXPECT_EQ(FirstBase("reg.example:5000"), "http://m2/v2");
  Write("reg.example_5000_", "hosts.toml", "[host.\"http://m3\"]");
  EXPECT_EQ(FirstBase("reg.example:5000"), "http://m3/v2");
  EXPECT_EQ(FirstBase("docker.io"), "http://m1/v2");
}

TEST_F(HostsConfigFiles, CertificateFilesAloneMeanTls) {
  Write("localhost:5000", "ca.crt", "");
  Write("localhost:5000", "me.cert", "");
  const auto endpoints = LoadRegistryEndpoints(dir_, "localhost:5000");
  ASSERT_TRUE(endpoints.ok());
  EXPECT_EQ(endpoints->front().base, "https://localhost:5000/v2");
  EXPECT_THAT(endpoints->front().tls.ca_files, ElementsAre(dir_ + "/localhost:5000/ca.crt"));
  EXPECT_EQ(endpoints->front().tls.client_key, dir_ + "/localhost:5000/me.key");
}

TEST_F(HostsConfigFiles, AnErrorNamesTheFile) {
  Write("h", "hosts.toml", "server = ");
  EXPECT_THAT(FirstBase("h"), HasSubstr(dir_ + "/h/hosts.toml: line 1"));
}

}  // namespace
}  // namespace berth
