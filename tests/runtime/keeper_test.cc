// A keeper's own life: gates, records, adoption, re-exec, death, hostile bytes.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "runtime/keeper/protocol.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using KeeperTest = RuntimeTest;

bool Gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (access(absl::StrCat("/proc/", pid).c_str(), F_OK) != 0) return true;
    usleep(10000);
  }
  return false;
}

TEST_F(KeeperTest, AGatedProcessIsForgottenAndItsIdIsFree) {
  StartKeeper(Options());
  const std::string plan = BuildPlan(Contents({"/guest"})).value();
  const ContainerId id("c1");
  const pid_t pid = keeper_->Create(id, plan, {}, Soon()).value().pid;
  EXPECT_EQ(keeper_->Create(id, plan, {}, Soon()).status().code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
  EXPECT_TRUE(Gone(pid));
  EXPECT_TRUE(keeper_->Create(id, plan, {}, Soon()).ok());
}

TEST_F(KeeperTest, AGatedProcessThatDiesLeavesNoRecord) {
  StartKeeper(Options());
  const ContainerId id("c1");
  const pid_t pid =
      keeper_->Create(id, BuildPlan(Contents({"/guest"})).value(), {}, Soon()).value().pid;
  kill(pid, SIGKILL);
  EXPECT_TRUE(Gone(pid));
  for (int i = 0; i < 200 && !keeper_->List(Soon()).value().empty(); ++i) usleep(10000);
  EXPECT_EQ(keeper_->Start(id, {}, Soon()).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(ReadExitRecords(state_).value().empty());
}

TEST_F(KeeperTest, TheDeathOfAKeeperEndsItsGatedProcessesAndIsHeard) {
  StartKeeper(Options());
  const pid_t pid =
      keeper_->Create(ContainerId("c1"), BuildPlan(Contents({"/guest"})).value(), {}, Soon())
          .value()
          .pid;
  kill(keeper_->pid(), SIGKILL);
  exits_.WaitForDeath(pod_);
  EXPECT_TRUE(Gone(pid));
  EXPECT_EQ(keeper_->Signal(ContainerId("c1"), SIGTERM, Soon()).code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(KeeperTest, AnExitWhileTheDaemonIsAwayIsInTheRecord) {
  StartKeeper(Options());
  const ContainerId id("c1");
  ASSERT_TRUE(CreateAndStart(id, Contents({"/guest", "term"})).ok());
  WaitForOutput(id, "ready\n");
  const std::vector<KeptContainer> kept = keeper_->List(Soon()).value();
  ASSERT_EQ(kept.size(), 1u);
  watcher_->Unwatch(pod_);
  keeper_.reset();  // the daemon is gone
  kill(kept[0].pid, SIGTERM);
  for (int i = 0; i < 500 && ReadExitRecords(state_).value().empty(); ++i) usleep(10000);
  const auto records = ReadExitRecords(state_).value();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].first, id);
  EXPECT_EQ(records[0].second.exit_code, 7);
  EXPECT_LT(absl::Now() - records[0].second.finished_at, absl::Minutes(1));
  keeper_ = launcher_->Adopt(pod_, state_, Soon()).value();
  ASSERT_TRUE(watcher_->Watch(keeper_).ok());
  EXPECT_EQ(keeper_->List(Soon()).value()[0].state, KeptState::kExited);
  ASSERT_TRUE(keeper_->Forget(id, Soon()).ok());
  EXPECT_TRUE(ReadExitRecords(state_).value().empty());
}

TEST_F(KeeperTest, AReexecKeepsPidContainersGatesAndOutput) {
  StartKeeper(Options());
  const ContainerId running("running"), gated("gated");
  ASSERT_TRUE(CreateAndStart(running, Contents({"/guest", "term"})).ok());
  WaitForOutput(running, "ready\n");
  ASSERT_TRUE(
      keeper_->Create(gated, BuildPlan(Contents({"/guest", "split"})).value(), {}, Soon()).ok());
  const absl::Status status = keeper_->Reexec(launcher_->binary(), Soon());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(keeper_->List(Soon()).value().size(), 2u);
  ASSERT_TRUE(keeper_->Start(gated, OpenLog(gated), Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(gated).exit_code, 3);
  EXPECT_EQ(Output(gated), "one line\nerror\nlast");
  ASSERT_TRUE(keeper_->Signal(running, SIGTERM, Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(running).exit_code, 7);
  EXPECT_EQ(Output(running), "ready\nover\n");
}

TEST_F(KeeperTest, AProgramThatKnowsNothingOfItsStateIsRefused) {
  StartKeeper(Options());
  const ContainerId id("running");
  ASSERT_TRUE(CreateAndStart(id, Contents({"/guest", "term"})).ok());
  WaitForOutput(id, "ready\n");
  const UniqueFd other(open("/bin/true", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(other.valid());
  EXPECT_EQ(keeper_->Reexec(other.get(), Soon()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(keeper_->List(Soon()).value().size(), 1u);
  ASSERT_TRUE(keeper_->Signal(id, SIGTERM, Soon()).ok());
  EXPECT_EQ(exits_.WaitForExit(id).exit_code, 7);
}

TEST_F(KeeperTest, ShutdownIsRefusedWhileSomethingRuns) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(ContainerId("c1"), Contents({"/guest", "sleep"})).ok());
  EXPECT_EQ(keeper_->Shutdown(Soon()).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(KeeperTest, HostileBytesChangeNothing) {
  StartKeeper(Options());
  ASSERT_TRUE(CreateAndStart(ContainerId("c1"), Contents({"/guest", "sleep"})).ok());
  auto other =
      launcher_->Adopt(pod_, state_, Soon()).value();  // proves that a second connection works
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (i % 2 == 0 && bytes.size() >= 4) std::memcpy(bytes.data(), &kKeeperMagic, 4);
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec iov{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    if (i % 3 != 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &pair[1], sizeof(int));
    }
    if (!bytes.empty()) sendmsg(other->control_for_test(), &message, MSG_NOSIGNAL);
    close(pair[0]);
    close(pair[1]);
  }
  ASSERT_EQ(keeper_->List(Soon()).value().size(), 1u);
  // A plan that isn't one, and one that isn't sealed.
  std::string junk(4096, 'x');
  EXPECT_FALSE(keeper_->Create(ContainerId("c2"), junk, {}, Soon()).ok());
}

TEST_F(KeeperTest, SecondAdoptionAfterDeathIsNotFound) {
  StartKeeper(Options());
  kill(keeper_->pid(), SIGKILL);
  exits_.WaitForDeath(pod_);
  EXPECT_EQ(launcher_->Adopt(pod_, state_, Soon()).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace berth
