#include "server/network/pod_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/ids.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

class PodFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/pod_files-", RandomHexId().substr(0, 12));
    etc_ = root_ + "/etc";
    pod_ = root_ + "/pods/p1";
    ASSERT_TRUE(MakeDirectories(etc_, 0755).ok());
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(root_).ok()); }

  std::string root_, etc_, pod_;
};

TEST_F(PodFilesTest, ResolvConfHasSearchesServersAndOptions) {
  EXPECT_EQ(*RenderResolvConf({.servers = {"10.0.0.10", "fd00::1", "fe80::1%eth0"},
                               .searches = {"default.svc.cluster.local", "."},
                               .options = {"ndots:5", "edns0"}}),
            "search default.svc.cluster.local .\n"
            "nameserver 10.0.0.10\nnameserver fd00::1\nnameserver fe80::1%eth0\n"
            "options ndots:5 edns0\n");
  EXPECT_EQ(*RenderResolvConf({}), "");
}

TEST_F(PodFilesTest, WhatWouldBreakALineIsRefusedByField) {
  EXPECT_EQ(RenderResolvConf({.servers = {"1.1.1.1", "dns.example"}}).status().message(),
            "dns_config.servers[1]: `dns.example` is not an IP address");
  EXPECT_EQ(RenderResolvConf({.searches = {"a", "b\nnameserver 6.6.6.6"}}).status().message(),
            "dns_config.searches[1]: empty, or with white space or control characters");
  EXPECT_FALSE(RenderResolvConf({.options = {""}}).ok());
  EXPECT_FALSE(RenderResolvConf({.searches = std::vector<std::string>(65, "a")}).ok());
  EXPECT_FALSE(RenderResolvConf({.searches = {std::string(9000, 'a')}}).ok());
}

TEST_F(PodFilesTest, AnEmptyConfigurationCopiesTheHosts) {
  ASSERT_TRUE(WriteFileAtomically(etc_ + "/resolv.conf", "nameserver 9.9.9.9\n", 0600).ok());
  ASSERT_TRUE(WriteFileAtomically(etc_ + "/hosts", "1.2.3.4 me\n", 0600).ok());
  const absl::StatusOr<PodFiles> files = WritePodFiles(pod_, {.hostname = "web-1"}, etc_);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(*ReadFile(files->resolv_conf), "nameserver 9.9.9.9\n");
  EXPECT_EQ(*ReadFile(files->hosts), "1.2.3.4 me\n");
  EXPECT_EQ(*ReadFile(files->hostname), "web-1\n");
  struct stat st;
  ASSERT_EQ(stat(files->resolv_conf.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0644u);  // Readable for the pod's users whatever the host's mode.
}

TEST_F(PodFilesTest, FilesOfTheHostMayBeMissing) {
  const absl::StatusOr<PodFiles> files = WritePodFiles(pod_, {}, etc_);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(*ReadFile(files->resolv_conf), "");
  EXPECT_EQ(ReadFile(files->hosts)->substr(0, 19), "127.0.0.1\tlocalhost");
  char name[256] = {};
  ASSERT_EQ(gethostname(name, sizeof name - 1), 0);
  EXPECT_EQ(*ReadFile(files->hostname), absl::StrCat(name, "\n"));
}

TEST_F(PodFilesTest, WritingAndRemovingMayBeRepeated) {
  const PodFilesRequest request = {.dns = {.servers = {"10.0.0.1"}}, .hostname = "a"};
  ASSERT_TRUE(WritePodFiles(pod_, request, etc_).ok());
  ASSERT_TRUE(WritePodFiles(pod_, request, etc_).ok());
  EXPECT_EQ(*ReadFile(pod_ + "/resolv.conf"), "nameserver 10.0.0.1\n");
  ASSERT_TRUE(RemovePodFiles(pod_).ok());
  EXPECT_TRUE(ListDirectory(pod_)->empty());
  EXPECT_TRUE(RemovePodFiles(pod_).ok());
}

TEST_F(PodFilesTest, ABadConfigurationLeavesNothing) {
  EXPECT_FALSE(WritePodFiles(pod_, {.dns = {.servers = {"x"}}}, etc_).ok());
  EXPECT_FALSE(WritePodFiles(pod_, {.hostname = "a\nb"}, etc_).ok());
  EXPECT_TRUE(absl::IsNotFound(ListDirectory(pod_).status()));
}

}  // namespace
}  // namespace berth
