#include "server/cri/unix_listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

class UnixListenerTest : public testing::Test {
 protected:
  UnixListenerTest() {
    char name[] = "/tmp/berth-listener.XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/s.sock";
  }
  ~UnixListenerTest() override { EXPECT_TRUE(RemoveTree(directory_).ok()); }

  // A bound socket; serves if `listening`.
  UniqueFd Bind(const std::string& path, bool listening) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    if (listening) {
      EXPECT_EQ(listen(fd.get(), 1), 0);
    }
    return fd;
  }

  bool Exists(const std::string& path) {
    struct stat info;
    return lstat(path.c_str(), &info) == 0;
  }

  std::string directory_;
  std::string path_;
};

TEST_F(UnixListenerTest, PublishesWithModeAndRemovesAtTheEnd) {
  {
    auto listener = UnixListener::Claim(path_);
    ASSERT_TRUE(listener.ok()) << listener.status();
    UniqueFd fd = Bind((*listener)->temporary_path(), true);
    EXPECT_FALSE(Exists(path_));
    ASSERT_TRUE((*listener)->Publish().ok());
    struct stat info;
    ASSERT_EQ(lstat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode, S_IFSOCK | 0660);
    EXPECT_FALSE(Exists((*listener)->temporary_path()));
  }
  EXPECT_FALSE(Exists(path_));
}

TEST_F(UnixListenerTest, ReplacesADeadSocket) {
  Bind(path_, true).reset();
  ASSERT_TRUE(Exists(path_));
  Bind(path_ + "~", false).reset();
  auto listener = UnixListener::Claim(path_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  UniqueFd fd = Bind((*listener)->temporary_path(), true);
  EXPECT_TRUE((*listener)->Publish().ok());
}

TEST_F(UnixListenerTest, RefusesASocketThatSomebodyServes) {
  UniqueFd fd = Bind(path_, true);
  const absl::Status status = UnixListener::Claim(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(status.message(),
            absl::StrCat("listen on ", path_, ": another process is serving this socket"));
  EXPECT_TRUE(Exists(path_));
}

// A busy server with a full backlog is alive, too.
TEST_F(UnixListenerTest, RefusesASocketWithAFullBacklog) {
  UniqueFd fd = Bind(path_, true);
  std::vector<UniqueFd> clients;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path_.data(), path_.size());
  int result = 0;
  for (int i = 0; i < 16 && result == 0; ++i) {
    clients.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    result = connect(clients.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  ASSERT_EQ(result, -1);
  ASSERT_EQ(errno, EAGAIN);
  EXPECT_EQ(UnixListener::Claim(path_).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(UnixListenerTest, OneOfTwoClaimsWins) {
  auto first = UnixListener::Claim(path_);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(UnixListener::Claim(path_).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(UnixListenerTest, LeavesOtherFilesAlone) {
  ASSERT_TRUE(WriteFileAtomically(path_, "precious", 0644).ok());
  EXPECT_EQ(UnixListener::Claim(path_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*ReadFile(path_), "precious");
}

TEST_F(UnixListenerTest, DoesNotRemoveAnothersSocket) {
  {
    auto listener = UnixListener::Claim(path_);
    UniqueFd fd = Bind((*listener)->temporary_path(), true);
    ASSERT_TRUE((*listener)->Publish().ok());
    ASSERT_EQ(unlink(path_.c_str()), 0);
    Bind(path_, true).reset();
  }
  EXPECT_TRUE(Exists(path_));
}

TEST(SocketPathOf, TakesAbsoluteUnixPathsOnly) {
  EXPECT_EQ(*SocketPathOf("unix:///run/b.sock"), "/run/b.sock");
  EXPECT_EQ(*SocketPathOf("unix:/run/b.sock"), "/run/b.sock");
  EXPECT_EQ(*SocketPathOf("/run/b.sock"), "/run/b.sock");
  for (const std::string& bad :
       {std::string("run/b.sock"), std::string("tcp://127.0.0.1:1"), std::string(""),
        std::string("unix://b.sock"), "/" + std::string(200, 'x'), std::string("/a\0b", 4)}) {
    EXPECT_EQ(SocketPathOf(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace berth
