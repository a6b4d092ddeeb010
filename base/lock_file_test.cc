#include "base/lock_file.h"

#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

std::string TestPath() {
  const std::string path = absl::StrCat(testing::TempDir(), "/lock_file_test.", getpid());
  unlink(path.c_str());
  return path;
}

TEST(LockFile, ASecondOwnerIsRefusedAndToldWhoHasIt) {
  const std::string path = TestPath();
  absl::StatusOr<UniqueFd> first = LockFile(path);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = LockFile(path).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(second.message(), absl::StrCat("lock ", path, ": held by process ", getpid()));
}

TEST(LockFile, AnEndedLockCanBeTakenAgain) {
  const std::string path = TestPath();
  {
    ASSERT_TRUE(LockFile(path).ok());
  }
  EXPECT_TRUE(LockFile(path).ok());
}

TEST(LockFile, AKilledOwnersChildIsWaitedFor) {
  const std::string path = TestPath();
  const pid_t owner = fork();
  if (owner == 0) {
    const auto lock = LockFile(path);
    if (fork() == 0) {
      usleep(100'000);  // it inherited the lock
      _exit(0);
    }
    _exit(lock.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(owner, &status, 0), owner);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(LockFile(path).ok());
}

TEST(LockFile, DoesNotFollowALink) {
  const std::string path = TestPath();
  ASSERT_EQ(symlink("/etc/passwd", path.c_str()), 0);
  EXPECT_FALSE(LockFile(path).ok());
  unlink(path.c_str());
}

}  // namespace
}  // namespace berth
