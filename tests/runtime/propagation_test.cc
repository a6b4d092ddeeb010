// Mounts that cross a volume's border, and those that must not.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "tests/runtime/fixture.h"

namespace berth {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMounting = 0xa80425fb | 1u << 21;  // and CAP_SYS_ADMIN

class PropagationTest : public RuntimeTest {
 protected:
  // A shared mount on the host, as hosts have at / .
  void SetUp() override {
    RuntimeTest::SetUp();
    volume_ = dir_ + "/volume";
    ASSERT_TRUE(MakeDirectories(volume_ + "/inner", 0755).ok());
    ASSERT_TRUE(MakeDirectories(volume_ + "/late", 0755).ok());
    ASSERT_EQ(mount(volume_.c_str(), volume_.c_str(), nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(mount(nullptr, volume_.c_str(), nullptr, MS_SHARED, nullptr), 0);
    StartKeeper(Options());
  }
  void TearDown() override {
    umount2((volume_ + "/inner").c_str(), MNT_DETACH);
    umount2((volume_ + "/late").c_str(), MNT_DETACH);
    umount2(volume_.c_str(), MNT_DETACH);
    RuntimeTest::TearDown();
  }
  // A container that mounts at /data/inner and stays.
  void StartMounting(uint32_t propagation) {
    PlanContents c = Contents({"/guest", "mount", "/data/inner"});
    c.capabilities = {kMounting, kMounting, kMounting, 0, 0};
    c.mounts.push_back(
        {MountKind::kBind, volume_, "/data", "", 0, 0, propagation, kMountRecursive});
    const absl::Status status = CreateAndStart(id_, c);
    ASSERT_TRUE(status.ok()) << status;
    WaitForOutput(id_, "mounted=ok");
  }
  bool HostSees(const std::string& path) {
    return absl::StrContains(ReadFile("/proc/self/mountinfo").value(),
                             absl::StrCat(" ", path, " "));
  }
  // Whether the container sees a mount that the host makes now.
  bool ContainerSees() {
    EXPECT_EQ(mount("none", (volume_ + "/late").c_str(), "tmpfs", 0, nullptr), 0);
    PlanContents c = ExecContents({"/guest", "facts"});
    c.cgroups = cgroups_;
    const ExecResult result = keeper_->ExecSync(id_, BuildPlan(c).value(), 1 << 20, Soon()).value();
    return absl::StrContains(result.out, " /data/late ");
  }
  std::string volume_;
  const ContainerId id_{"c1"};
};

TEST_F(PropagationTest, PrivateCrossesNowhere) {
  StartMounting(0);
  EXPECT_FALSE(HostSees(volume_ + "/inner"));
  EXPECT_FALSE(ContainerSees());
}

TEST_F(PropagationTest, HostToContainerCrossesOneWay) {
  StartMounting(MS_SLAVE);
  EXPECT_FALSE(HostSees(volume_ + "/inner"));
  EXPECT_TRUE(ContainerSees());
}

TEST_F(PropagationTest, BidirectionalCrossesBothWays) {
  StartMounting(MS_SHARED);
  EXPECT_TRUE(HostSees(volume_ + "/inner"));
  EXPECT_TRUE(ContainerSees());
}

TEST_F(PropagationTest, MountsBelowAVolumeComeWithItButNotItsOwnReadonlyBit) {
  ASSERT_EQ(mount("none", (volume_ + "/inner").c_str(), "tmpfs", 0, nullptr), 0);
  PlanContents c =
      Contents({"/guest", "facts", "/plain/inner", "/plain", "/deep/inner", "/flat/inner"});
  c.mounts.push_back({MountKind::kBind, volume_, "/plain", "", MS_RDONLY, 0, 0, kMountRecursive});
  c.mounts.push_back({MountKind::kBind, volume_, "/deep", "", MS_RDONLY, 0, 0,
                      kMountRecursive | kMountRecursiveAttr});
  c.mounts.push_back({MountKind::kBind, volume_, "/flat"});
  RunToExit(id_, c);
  const std::string out = Output(id_);
  EXPECT_THAT(Fact(out, "path /plain"), HasSubstr("dir ro"));
  EXPECT_THAT(Fact(out, "path /plain/inner"), HasSubstr("dir rw"));
  EXPECT_THAT(Fact(out, "path /deep/inner"), HasSubstr("dir ro"));
  EXPECT_THAT(Fact(out, "mount"), testing::Not(HasSubstr(" /flat/inner ")));
}

}  // namespace
}  // namespace berth
