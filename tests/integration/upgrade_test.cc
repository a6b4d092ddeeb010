// An upgrade: a daemon with another keeper program brings running keepers up to date.
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

std::string KeeperPath() { return absl::StrCat(TestDirectory(), "/upgraded-keeper"); }

class UpgradeTest : public DaemonTest {
 protected:
  UpgradeTest()
      : DaemonTest({.config = absl::StrCat("[runtime]\nkeeper = \"", KeeperPath(), "\"\n")}) {}

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(program_, ReadFile(FindOwnProgram("berth-keeper")));
    ASSERT_OK(WriteFileAtomically(KeeperPath(), program_, 0755));
    DaemonTest::SetUp();
  }

  std::string program_;
};

TEST_F(UpgradeTest, ARunningKeeperGetsTheNewProgramAndItsContainerNeverNotices) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  const pid_t pid = PidOf(container);
  const std::vector<pid_t> keepers = Keepers();
  ASSERT_EQ(keepers.size(), 1u);

  // Bytes behind an ELF file's sections change nothing but its identity.
  const std::string newer = program_ + "newer";
  ASSERT_OK(WriteFileAtomically(KeeperPath(), newer, 0755));
  Restart();
  EXPECT_EQ(Keepers(), keepers);
  ASSERT_OK_AND_ASSIGN(const std::string running,
                       ReadFile(absl::StrCat("/proc/", keepers[0], "/exe")));
  EXPECT_TRUE(running == newer);
  EXPECT_EQ(PidOf(container), pid);
  EXPECT_EQ(Exec(container, "echo on"), "on\n");
  EXPECT_OK(cri().StopContainer(container, 0));
}

TEST_F(UpgradeTest, AKeeperRefusesAProgramWithAnotherLayoutOfItsState) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  const pid_t pid = PidOf(container);
  const std::vector<pid_t> keepers = Keepers();
  ASSERT_EQ(keepers.size(), 1u);

  // The mark, a version and the size, as keeper_reexec.cc has them.
  constexpr size_t kMark = 24;
  const size_t layout = program_.find("berth-keeper's state is");
  ASSERT_NE(layout, std::string::npos);
  for (const size_t field : {kMark, kMark + sizeof(uint32_t)}) {
    std::string other = program_;
    other[layout + field] = static_cast<char>(other[layout + field] ^ 1);
    ASSERT_OK(WriteFileAtomically(KeeperPath(), other, 0755));
    Restart();
    EXPECT_EQ(Keepers(), keepers);
    ASSERT_OK_AND_ASSIGN(const std::string running,
                         ReadFile(absl::StrCat("/proc/", keepers[0], "/exe")));
    EXPECT_TRUE(running == program_);
    EXPECT_EQ(PidOf(container), pid);
    EXPECT_EQ(Exec(container, "echo on"), "on\n");
  }
  // The next pod's keeper is of the new program.
  ASSERT_OK_AND_ASSIGN(const TestPod next, RunPod("next"));
  EXPECT_EQ(Keepers().size(), 2u);
  EXPECT_OK(Sleeper(next));
  EXPECT_OK(cri().StopContainer(container, 0));
}

}  // namespace
}  // namespace berth::testing
