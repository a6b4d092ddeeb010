#include "server/pods/oom_message.h"

#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

// A tree of ordinary files in place of cgroup v2's.
class OomMessageTest : public ::testing::Test {
 protected:
  OomMessageTest() {
    record_.set_id("c1");
    record_.set_cgroup_path("/pods/p/c1");
    record_.mutable_init()->set_pid(4711);
    Write("", "cgroup.controllers", "memory\n");
    SetLevel("/pods", "max", 0);
    SetLevel("/pods/p", "1048576000", 0);
    SetLevel("/pods/p/c1", "25165824", 0);
    host_ = CgroupHost::DetectFrom(absl::StrCat("1 0 0:1 / ", root_, " rw - cgroup2 cgroup2 rw\n"))
                .value();
  }
  void Write(const std::string& cgroup, const std::string& file, const std::string& text) {
    ASSERT_TRUE(MakeDirectories(root_ + cgroup, 0755).ok());
    ASSERT_TRUE(WriteFileAtomically(root_ + cgroup + "/" + file, text, 0644).ok());
  }
  void SetLevel(const std::string& cgroup, const std::string& limit, int ooms) {
    Write(cgroup, "memory.max", limit + "\n");
    Write(cgroup, "memory.events.local", absl::StrCat("low 0\noom ", ooms, "\noom_kill 0\n"));
  }
  std::string Message(const std::optional<OomReport>& report) {
    return OomMessage(record_, *host_, report, "/shared");
  }
  static OomReport Report(const std::string& limit) {
    return {.limit_cgroup = limit,
            .victim_cgroup = "/outer/pods/p/c1/exec-1",
            .victim_name = "tail",
            .victim_pid = 4711};
  }

  const std::string root_ = std::string(getenv("TEST_TMPDIR")) + "/oom_message";
  store::v1::ContainerRecord record_;
  std::unique_ptr<CgroupHost> host_;
};

TEST_F(OomMessageTest, TheKernelsReportDecides) {
  EXPECT_EQ(Message(Report("/outer/pods/p/c1")),
            "killed tail (pid 4711, the main process): the container's memory limit of 24 MiB "
            "(25165824 bytes) was reached");
  EXPECT_EQ(Message(Report("/outer/pods/p")),
            "killed tail (pid 4711, the main process): the pod's (cgroup /pods/p) memory limit of "
            "1000 MiB (1048576000 bytes) was reached");
  EXPECT_EQ(Message(Report("/outer/pods")),
            "killed tail (pid 4711, the main process): an ancestor's (cgroup /pods) memory limit "
            "was reached");
  EXPECT_EQ(Message(Report("/outer")),
            "killed tail (pid 4711, the main process): the memory limit of an ancestor (cgroup "
            "/outer) was reached");
}

// As the systemd driver has it: the limit stands in the scope's delegated part.
TEST_F(OomMessageTest, ALimitBelowTheContainersCgroupIsTheContainers) {
  SetLevel("/pods/p/c1/container", "25165824", 0);
  EXPECT_EQ(Message(Report("/outer/pods/p/c1/container")),
            "killed tail (pid 4711, the main process): the container's memory limit of 24 MiB "
            "(25165824 bytes) was reached");
}

TEST_F(OomMessageTest, WithoutAPidNobodyIsSaidToBeTheMainProcess) {
  OomReport report = Report("/outer/pods/p/c1");
  report.victim_pid = 0;
  EXPECT_EQ(Message(report).find("killed tail: the container's memory limit"), 0u);
}

TEST_F(OomMessageTest, TheNodeHasNoLimit) {
  OomReport report = Report("");
  report.victim_pid = 5000;
  EXPECT_EQ(Message(report).find("killed tail (pid 5000, not the main process): the node's memory"),
            0u);
}

TEST_F(OomMessageTest, WithoutAReportTheCountsDecide) {
  EXPECT_EQ(Message(std::nullopt).find("killed: the node's memory"), 0u);
  SetLevel("/pods/p", "1048576000", 2);
  EXPECT_EQ(Message(std::nullopt),
            "killed: the pod's (cgroup /pods/p) memory limit of 1000 MiB (1048576000 bytes) was "
            "reached");
  SetLevel("/pods/p/c1", "25165825", 1);
  EXPECT_EQ(Message(std::nullopt),
            "killed: the container's memory limit of 25165825 bytes was reached");
}

TEST_F(OomMessageTest, AParentThatPodsShareIsNotThePods) {
  record_.set_cgroup_path("/pods/c1");
  OomReport report = Report("/outer/pods");
  report.victim_cgroup = "/outer/pods/c1";
  EXPECT_EQ(OomMessage(record_, *host_, report, "/pods"),
            "killed tail (pid 4711, the main process): an ancestor's (cgroup /pods) memory limit "
            "was reached");
}

}  // namespace
}  // namespace berth
