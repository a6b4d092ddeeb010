#include "server/notify/notify.h"

#include <gtest/gtest.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "base/unique_fd.h"

namespace berth {
namespace {

class NotifyTest : public testing::Test {
 protected:
  void Listen(const std::string& name) {
    sockaddr_un address{.sun_family = AF_UNIX};
    ASSERT_LT(name.size(), sizeof address.sun_path);
    memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    fd_ = UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                   offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '/')),
              0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  std::string Received() {
    char buffer[512];
    const ssize_t n = recv(fd_.get(), buffer, sizeof(buffer), 0);
    return n < 0 ? "" : std::string(buffer, n);
  }
  ~NotifyTest() override { unsetenv("NOTIFY_SOCKET"); }

  UniqueFd fd_;
};

TEST_F(NotifyTest, WithoutASocketNothingHappens) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(NotifyReady().ok());
}

TEST_F(NotifyTest, StatesReachAnAbstractSocket) {
  Listen("@berth-notify-test-" + std::to_string(getpid()));
  ASSERT_TRUE(NotifyReady().ok());
  EXPECT_EQ(Received(), "READY=1");
  ASSERT_TRUE(NotifyStopping().ok());
  EXPECT_EQ(Received(), "STOPPING=1");
  ASSERT_TRUE(NotifyReloading().ok());
  EXPECT_EQ(Received().find("RELOADING=1\nMONOTONIC_USEC="), 0u);
  ASSERT_TRUE(NotifyStatus("12 pods").ok());
  EXPECT_EQ(Received(), "STATUS=12 pods");
}

TEST_F(NotifyTest, StatesReachASocketInTheFileSystem) {
  // Not TempDir(), which may be longer than a socket's path can be.
  const std::string path = "/tmp/berth-notify-test-" + std::to_string(getpid());
  Listen(path);
  EXPECT_TRUE(NotifyReady().ok());
  EXPECT_EQ(Received(), "READY=1");
  unlink(path.c_str());
  EXPECT_EQ(NotifyReady().code(), absl::StatusCode::kNotFound);
}

TEST_F(NotifyTest, ALineBreakCanNotSmuggleAState) {
  Listen("@berth-notify-test2-" + std::to_string(getpid()));
  EXPECT_FALSE(NotifyStatus("x\nREADY=1").ok());
  EXPECT_EQ(Received(), "");
  setenv("NOTIFY_SOCKET", "relative", 1);
  EXPECT_FALSE(NotifyReady().ok());
}

}  // namespace
}  // namespace berth
