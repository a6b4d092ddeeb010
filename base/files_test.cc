#include "base/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "gtest/gtest.h"

namespace berth {
namespace {

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/files-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(dir_).ok()); }
  std::string dir_;
};

TEST_F(FilesTest, AReplacedFileHasTheNewContentAndLeavesNoTemporary) {
  const std::string path = dir_ + "/f";
  ASSERT_TRUE(WriteFileDurably(path, "old", 0600).ok());
  ASSERT_TRUE(WriteFileAtomically(path, "new", 0640).ok());
  EXPECT_EQ(*ReadFile(path), "new");
  EXPECT_EQ(ListDirectory(dir_)->size(), 1u);
  struct stat st;
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
}

TEST_F(FilesTest, ReadingIsBounded) {
  ASSERT_TRUE(WriteFileDurably(dir_ + "/f", std::string(100, 'x'), 0600).ok());
  EXPECT_EQ(ReadFile(dir_ + "/f", 99).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadFile(dir_ + "/f", 100).ok());
}

TEST_F(FilesTest, RemovingATreeDoesNotFollowLinks) {
  ASSERT_TRUE(MakeDirectories(dir_ + "/outside/kept", 0700).ok());
  ASSERT_TRUE(MakeDirectories(dir_ + "/tree/a/b", 0700).ok());
  ASSERT_EQ(symlink("../../outside", (dir_ + "/tree/a/link").c_str()), 0);
  ASSERT_TRUE(RemoveTree(dir_ + "/tree").ok());
  EXPECT_EQ(access((dir_ + "/tree").c_str(), F_OK), -1);
  EXPECT_EQ(access((dir_ + "/outside/kept").c_str(), F_OK), 0);
  EXPECT_TRUE(RemoveTree(dir_ + "/tree").ok()) << "a missing tree is removed already";
}

TEST_F(FilesTest, MakingADirectoryThroughAFileSaysSo) {
  ASSERT_TRUE(WriteFileDurably(dir_ + "/f", "", 0600).ok());
  EXPECT_FALSE(MakeDirectories(dir_ + "/f", 0700).ok());
  EXPECT_FALSE(MakeDirectories(dir_ + "/f/sub", 0700).ok());
}

}  // namespace
}  // namespace berth
