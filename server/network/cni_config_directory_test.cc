#include "server/network/cni_config_directory.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/ids.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

class CniConfigDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/cni_directory-", RandomHexId().substr(0, 12));
    directory_ = root_ + "/net.d";
    ASSERT_TRUE(MakeDirectories(directory_, 0755).ok());
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(root_).ok()); }

  void Write(const std::string& file, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(directory_ + "/" + file, text, 0644).ok());
  }
  static std::string List(const std::string& name) {
    return absl::StrCat(R"({"cniVersion":"1.0.0","name":")", name,
                        R"(","plugins":[{"type":"a"}]})");
  }
  static std::string NameIn(CniConfigDirectory* directory) {
    const auto current = directory->Current();
    return current.ok() ? (*current)->name : std::string(current.status().message());
  }

  std::string root_, directory_;
};

TEST_F(CniConfigDirectoryTest, TheFirstInLexicalOrderIsUsed) {
  CniConfigDirectory directory(directory_);
  Write("20-b.conflist", List("b"));
  Write("05-readme.txt", "x");
  ASSERT_TRUE(MakeDirectories(directory_ + "/00-directory.conf", 0755).ok());
  EXPECT_EQ(NameIn(&directory), "b");
  Write("10-a.conf", R"({"cniVersion":"1.0.0","name":"a","type":"x"})");
  EXPECT_EQ(NameIn(&directory), "a");
  Write("00-c.json", R"({"cniVersion":"1.0.0","name":"c","type":"x"})");
  EXPECT_EQ(NameIn(&directory), "c");
}

TEST_F(CniConfigDirectoryTest, ABrokenFirstIsNotReplacedByTheSecond) {
  CniConfigDirectory directory(directory_);
  Write("20-b.conflist", List("b"));
  Write("10-broken.conflist", "{");
  EXPECT_EQ(NameIn(&directory), absl::StrCat("cni config uninitialized: ", directory_,
                                             "/10-broken.conflist: not valid JSON"));
  ASSERT_EQ(unlink((directory_ + "/10-broken.conflist").c_str()), 0);
  EXPECT_EQ(NameIn(&directory), "b");
  // It is not waited for.
  ASSERT_EQ(mkfifo((directory_ + "/00-a.conflist").c_str(), 0644), 0);
  EXPECT_TRUE(absl::StrContains(NameIn(&directory), "00-a.conflist: not a file"));
}

TEST_F(CniConfigDirectoryTest, TheReasonForHavingNoneIsTold) {
  CniConfigDirectory directory(directory_);
  EXPECT_EQ(NameIn(&directory),
            "cni config uninitialized: no network configuration in " + directory_);
  Write("10-a.conflist", "{}");
  EXPECT_EQ(NameIn(&directory), absl::StrCat("cni config uninitialized: ", directory_,
                                             "/10-a.conflist: cniVersion: missing"));
  EXPECT_EQ(directory.Current().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CniConfigDirectoryTest, EveryKindOfChangeIsNoticed) {
  CniConfigDirectory directory(directory_);
  Write("10.conflist", List("a"));
  EXPECT_EQ(NameIn(&directory), "a");
  Write("10.conflist", List("b"));
  EXPECT_EQ(NameIn(&directory), "b");
  ASSERT_EQ(truncate((directory_ + "/10.conflist").c_str(), 0), 0);
  EXPECT_TRUE(absl::StrContains(NameIn(&directory), "not valid JSON"));
  Write("05.conflist", List("c"));
  EXPECT_EQ(NameIn(&directory), "c");
  ASSERT_EQ(unlink((directory_ + "/05.conflist").c_str()), 0);
  EXPECT_TRUE(absl::StrContains(NameIn(&directory), "uninitialized"));
  ASSERT_EQ(rename(directory_.c_str(), (root_ + "/old").c_str()), 0);
  EXPECT_TRUE(absl::StrContains(NameIn(&directory), "no network configuration"));
  ASSERT_TRUE(MakeDirectories(directory_, 0755).ok());
  Write("10.conflist", List("d"));
  EXPECT_EQ(NameIn(&directory), "d");
  ASSERT_EQ(rename(directory_.c_str(), (root_ + "/older").c_str()), 0);
  ASSERT_TRUE(MakeDirectories(directory_, 0755).ok());
  Write("10.conflist", List("e"));
  EXPECT_EQ(NameIn(&directory), "e");
}

TEST_F(CniConfigDirectoryTest, WithoutAChangeNothingIsReadAgain) {
  CniConfigDirectory directory(directory_);
  Write("10.conflist", List("a"));
  const auto first = directory.Current();
  EXPECT_EQ(first->get(), directory.Current()->get());
}

TEST_F(CniConfigDirectoryTest, WithoutInotifyTheFilesAreCompared) {
  ASSERT_TRUE(ArmFailpoints("network.cni.inotify=error").ok());
  CniConfigDirectory directory(directory_);
  Write("10.conflist", List("a"));
  const auto first = directory.Current();
  EXPECT_EQ(first->get(), directory.Current()->get());
  Write("10.conflist", List("b"));
  EXPECT_EQ(NameIn(&directory), "b");
  ASSERT_EQ(unlink((directory_ + "/10.conflist").c_str()), 0);
  EXPECT_TRUE(absl::StrContains(NameIn(&directory), "no network configuration"));
  ASSERT_TRUE(ArmFailpoints("").ok());
  Write("10.conflist", List("c"));
  EXPECT_EQ(NameIn(&directory), "c");
}

TEST_F(CniConfigDirectoryTest, AnErrorThatPassesIsNotKept) {
  CniConfigDirectory directory(directory_);
  Write("10.conflist", List("a"));
  EXPECT_EQ(NameIn(&directory), "a");
  Write("10.conflist", List("b"));
  const int next = dup(0);
  close(next);
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit none = old;
  none.rlim_cur = static_cast<rlim_t>(next);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string exhausted = NameIn(&directory);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_TRUE(absl::StrContains(exhausted, "Too many open files")) << exhausted;
  EXPECT_EQ(NameIn(&directory), "b");
}

}  // namespace
}  // namespace berth
