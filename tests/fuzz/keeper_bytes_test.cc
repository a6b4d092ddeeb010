// A real keeper that hears random bytes and gets random descriptors for some seconds
// (KEEPER_BYTES_SECONDS): it lives, answers, and keeps no descriptor. Without root it runs in a
// user namespace.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "runtime/keeper/protocol.h"
#include "runtime/keeper_client.h"
#include "runtime/plan.h"

namespace berth {
namespace {

constexpr char kKeeper[] = "runtime/keeper/bin/berth-keeper";

absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

absl::Duration Length() {
  const char* text = getenv("KEEPER_BYTES_SECONDS");
  int seconds = 1;
  if (text != nullptr) (void)absl::SimpleAtoi(text, &seconds);
  return absl::Seconds(seconds);
}

void BecomeRoot() {
  if (geteuid() == 0) return;
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  ASSERT_EQ(unshare(CLONE_NEWUSER), 0) << strerror(errno);
  ASSERT_TRUE(WriteKernelFile("/proc/self/setgroups", "deny").ok());
  ASSERT_TRUE(WriteKernelFile("/proc/self/uid_map", absl::StrCat("0 ", uid, " 1")).ok());
  ASSERT_TRUE(WriteKernelFile("/proc/self/gid_map", absl::StrCat("0 ", gid, " 1")).ok());
}

class KeeperBytesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(BecomeRoot());
    const char* base = getenv("TEST_TMPDIR");
    std::string path = absl::StrCat(base == nullptr ? "/tmp" : base, "/keeper-XXXXXX");
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    state_ = path;
    auto launcher = KeeperLauncher::Make(kKeeper, {});
    ASSERT_TRUE(launcher.ok()) << launcher.status();
    launcher_ = *std::move(launcher);
    KeeperOptions options;
    options.pod = PodId("pod");
    options.state_directory = state_;
    auto keeper = launcher_->Spawn(options, Soon());
    ASSERT_TRUE(keeper.ok()) << keeper.status();
    keeper_ = *std::move(keeper);
  }

  void TearDown() override {
    if (keeper_ != nullptr) keeper_->Kill();
    EXPECT_TRUE(RemoveTree(state_).ok());
  }

  UniqueFd Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const UniqueFd directory(open(state_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path =
        absl::StrCat("/proc/self/fd/", directory.get(), "/", kKeeperSocketName);
    memcpy(address.sun_path, path.c_str(), path.size() + 1);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  size_t DescriptorsOfKeeper() {
    return ListDirectory(absl::StrCat("/proc/", keeper_->pid(), "/fd")).value().size();
  }

  unsigned Below(unsigned bound) {
    return std::uniform_int_distribution<unsigned>(0, bound - 1)(random_);
  }

  std::string RandomBytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random_());
    return bytes;
  }

  UniqueFd Memfd(const std::string& bytes, bool sealed) {
    UniqueFd fd(memfd_create("junk", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_TRUE(WriteFd(fd.get(), bytes).ok());
    if (sealed) {
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    }
    return fd;
  }

  // A plan as far as its first words go; what follows can't pass, since argv has no string.
  std::string AlmostAPlan() {
    std::string bytes = RandomBytes(sizeof(Plan) + 8 * Below(64));
    auto* plan = reinterpret_cast<Plan*>(bytes.data());
    plan->magic = kPlanMagic;
    plan->version = kPlanVersion;
    plan->size = static_cast<uint32_t>(bytes.size());
    plan->argv = {};
    return bytes;
  }

  UniqueFd RandomDescriptor() {
    int pair[2];
    switch (Below(7)) {
      case 0:
        return Memfd(RandomBytes(Below(5000)), Below(2) != 0);
      case 1:
        return Memfd(AlmostAPlan(), true);
      case 2:
        return UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
      case 3:
        return UniqueFd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      case 4:
        return UniqueFd(eventfd(0, EFD_CLOEXEC));
      default:
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return UniqueFd();
        // Its peer may go before the answer comes.
        if (Below(2) != 0)
          peers_.emplace_back(pair[1]);
        else
          close(pair[1]);
        return UniqueFd(pair[0]);
    }
  }

  // Any request but one that ends the keeper.
  std::string AlmostARequest() {
    KeeperRequest request{};
    request.magic = kKeeperMagic;
    request.version = static_cast<uint16_t>(Below(8) == 0 ? random_() : kKeeperVersion);
    request.type = static_cast<RequestType>(Below(static_cast<unsigned>(RequestType::kShutdown)));
    request.flags = Below(16);
    request.value = static_cast<int32_t>(random_());
    request.deadline_ns = static_cast<int64_t>(random_());
    const std::string id = Below(4) == 0 ? RandomBytes(kKeeperIdSize) : std::string(Below(72), 'c');
    memcpy(request.id, id.data(), id.size());
    std::string bytes(reinterpret_cast<const char*>(&request), sizeof request);
    if (Below(8) == 0) bytes.resize(Below(200));
    return bytes;
  }

  bool SendRandom(int socket) {
    const std::string bytes =
        Below(3) == 0 ? RandomBytes(1 + Below(Below(10) == 0 ? 60000 : 200)) : AlmostARequest();
    std::vector<UniqueFd> fds(Below(9));
    for (UniqueFd& fd : fds) fd = RandomDescriptor();
    return Send(socket, bytes, fds);
  }

  // False if the keeper has hung up.
  bool Send(int socket, std::string bytes, const std::vector<UniqueFd>& fds) {
    std::vector<int> numbers;
    for (const UniqueFd& fd : fds) numbers.push_back(fd.get());
    const size_t size = numbers.size() * sizeof(int);
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
    iovec iov{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    if (!numbers.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(size);
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(size);
      memcpy(CMSG_DATA(header), numbers.data(), size);
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0) {
      if (errno != EAGAIN) return false;
      pollfd p{socket, POLLOUT, 0};
      EXPECT_EQ(poll(&p, 1, 10000), 1) << "the keeper reads no more";
      if (HasFailure()) return false;
    }
    ++sent_;
    return true;
  }

  // It closes what was ours as it hears that we left.
  void ExpectDescriptors(size_t before) {
    size_t after = DescriptorsOfKeeper();
    for (const absl::Time end = Soon(); after != before && absl::Now() < end;) {
      ASSERT_TRUE(keeper_->List(Soon()).ok());
      after = DescriptorsOfKeeper();
    }
    EXPECT_EQ(after, before);
  }

  std::string state_;
  std::unique_ptr<KeeperLauncher> launcher_;
  std::shared_ptr<Keeper> keeper_;
  std::mt19937_64 random_{20240601};
  std::vector<UniqueFd> peers_;
  int sent_ = 0;
};

TEST_F(KeeperBytesTest, AnEmptyMessageLeavesNoDescriptor) {
  const size_t before = DescriptorsOfKeeper();
  std::vector<UniqueFd> fds(3);
  for (UniqueFd& fd : fds) fd.reset(eventfd(0, EFD_CLOEXEC));
  EXPECT_TRUE(Send(Connect().get(), "", fds));
  ExpectDescriptors(before);
}

TEST_F(KeeperBytesTest, AKeeperSurvivesAnyBytes) {
  const size_t before = DescriptorsOfKeeper();
  std::vector<UniqueFd> connections(12);  // more than it serves at once
  for (const absl::Time end = absl::Now() + Length(); absl::Now() < end && !HasFailure();) {
    UniqueFd& connection = connections[Below(static_cast<unsigned>(connections.size()))];
    if (!connection.valid() || Below(50) == 0) connection = Connect();
    if (!SendRandom(connection.get())) connection.reset();
    if (peers_.size() > 100) peers_.clear();
  }
  peers_.clear();
  connections.clear();
  RecordProperty("messages", sent_);
  EXPECT_GT(sent_, 100);

  const auto kept = keeper_->List(Soon());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_TRUE(kept->empty());
  ExpectDescriptors(before);
  const absl::Status status = keeper_->Shutdown(Soon());
  EXPECT_TRUE(status.ok()) << status;
  if (status.ok()) keeper_.reset();
}

}  // namespace
}  // namespace berth
