// What a container takes from its image: volumes, the stop signal, the working directory; and its
// standard input.
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class ImageDefaultsTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }
  // `sh -c script` of another test image.
  cri::ContainerConfig Of(const std::string& image, const std::string& name,
                          const std::string& script) {
    EXPECT_OK(cri().PullImage(registry_.Image(image)));
    cri::ContainerConfig config = ContainerConfig(name, {"sh", "-c", script});
    config.mutable_image()->set_image(registry_.Image(image));
    return config;
  }
  void WaitForOutput(const std::string& name, const std::string& text) {
    const std::string log = absl::StrCat(pod_.config.log_directory(), "/", name, "_0.log");
    for (const absl::Time end = absl::Now() + absl::Seconds(20); absl::Now() < end;) {
      if (absl::StrContains(ReadFile(log).value_or(""), text)) return;
      absl::SleepFor(absl::Milliseconds(5));
    }
    ADD_FAILURE() << name << " never wrote " << text;
  }
  TestPod pod_;
};

TEST_F(ImageDefaultsTest, AVolumeThatTheImageLacksIsMade) {
  EXPECT_EQ(
      RunToEnd(pod_,
               Of("volume:1", "made",
                  "stat -c '%a %u' /data/volume; grep -q ' /data/volume ' "
                  "/proc/self/mountinfo && echo mounted; touch /data/volume/x && echo written")),
      "755 0\nmounted\nwritten\n");
}

TEST_F(ImageDefaultsTest, VolumesAreWritableInAReadOnlyRoot) {
  cri::ContainerConfig config =
      Of("volumes:1", "readonly",
         "touch /x 2>/dev/null || echo sealed; touch /etc/x /data/deep/volume/x && echo written; "
         "touch /data/deep/x 2>/dev/null || echo sealed; cd /data/deep/volume && cat /etc/x");
  config.mutable_linux()->mutable_security_context()->set_readonly_rootfs(true);
  EXPECT_EQ(RunToEnd(pod_, config), "sealed\nwritten\nsealed\n");
}

TEST_F(ImageDefaultsTest, AVolumeHasWhatTheImageHasThere) {
  // /etc is a volume: its content comes from the image, and the pod's files are mounted in it.
  EXPECT_EQ(RunToEnd(pod_, Of("volumes:1", "content",
                              "grep -c ^www-data: /etc/passwd; grep -q ' /etc ' "
                              "/proc/self/mountinfo && echo mounted; "
                              "grep -c ' /etc/hosts ' /proc/self/mountinfo; ls /home")),
            "1\nmounted\n1\nuser\n");
}

TEST_F(ImageDefaultsTest, AVolumeIsOfOneContainerAndEndsWithIt) {
  ASSERT_OK_AND_ASSIGN(const std::string a,
                       CreateAndStart(pod_, Of("volume:1", "a", "sleep 1000")));
  ASSERT_OK_AND_ASSIGN(const std::string b,
                       CreateAndStart(pod_, Of("volume:1", "b", "sleep 1000")));
  Exec(a, "echo mine > /data/volume/file");
  EXPECT_EQ(Exec(b, "ls -A /data/volume"), "");
  // It survives the daemon; the leak check of this fixture sees that nothing is left of it.
  Restart();
  EXPECT_EQ(Exec(a, "cat /data/volume/file"), "mine\n");
  const std::string snapshots = daemon_.root() + "/snapshots";
  EXPECT_NE(Shell("find " + snapshots + " -path '*data/volume/file'"), "");
  ASSERT_OK(cri().RemoveContainer(a));
  EXPECT_EQ(Shell("find " + snapshots + " -path '*data/volume/file'"), "");
}

TEST_F(ImageDefaultsTest, AMountTakesTheVolumesPlace) {
  const std::string host = daemon_.directory() + "/host";
  ASSERT_OK(MakeDirectories(host, 0755));
  for (const char* point : {"/data", "/data/volume"}) {
    cri::ContainerConfig config =
        Of("volume:1", absl::StrCat("over", strlen(point)),
           absl::StrCat("echo here > ", point, "/file; grep -c ' /data' /proc/self/mountinfo"));
    auto* mount = config.add_mounts();
    mount->set_host_path(host);
    mount->set_container_path(point);
    EXPECT_EQ(RunToEnd(pod_, config), "1\n") << point;
    EXPECT_EQ(Shell("cat " + host + "/file; rm " + host + "/file; ls -A " + host), "here\n");
  }
}

TEST_F(ImageDefaultsTest, AMissingWorkingDirectoryIsMadeAlsoInAReadOnlyRoot) {
  cri::ContainerConfig config = ContainerConfig("cwd", {"sh", "-c", "pwd; stat -c '%a %u' ."});
  config.set_working_dir("/not/there");
  config.mutable_linux()->mutable_security_context()->set_readonly_rootfs(true);
  EXPECT_EQ(RunToEnd(pod_, config), "/not/there\n755 0\n");
}

TEST_F(ImageDefaultsTest, TheStopSignalIsTheConfigurationsElseTheImages) {
  const std::string script =
      "for s in USR1 USR2 TERM; do trap \"echo $s; exit 0\" $s; done; echo ready; "
      "while :; do usleep 10000; done";
  ASSERT_OK_AND_ASSIGN(const std::string images,
                       CreateAndStart(pod_, Of("user:1", "images", script)));
  cri::ContainerConfig given = Of("user:1", "given", script);
  given.set_stop_signal(cri::SIGNAL_SIGUSR2);
  ASSERT_OK_AND_ASSIGN(const std::string givens, CreateAndStart(pod_, given));
  ASSERT_OK_AND_ASSIGN(const std::string neither,
                       CreateAndStart(pod_, ContainerConfig("neither", {"sh", "-c", script})));
  const struct {
    const std::string &id, name;
    cri::Signal shown;
    const char* text;
  } kExpected[] = {{images, "images", cri::SIGNAL_SIGUSR1, "USR1"},
                   {givens, "given", cri::SIGNAL_SIGUSR2, "USR2"},
                   {neither, "neither", cri::SIGNAL_SIGTERM, "TERM"}};
  for (const auto& expected : kExpected) {
    WaitForOutput(expected.name, "ready");
    ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(expected.id));
    EXPECT_EQ(status.stop_signal(), expected.shown) << expected.name;
    ASSERT_OK(cri().StopContainer(expected.id, 20));
    EXPECT_EQ(
        LogText(ReadLog(absl::StrCat(pod_.config.log_directory(), "/", expected.name, "_0.log"))),
        absl::StrCat("ready\n", expected.text, "\n"));
  }
}

TEST_F(ImageDefaultsTest, StandardInputIsHeldOpenUntilSomebodyAttaches) {
  // Without stdin there is the end of file at once; with it, or with stdin_once, nobody has written yet.
  for (const bool once : {false, true}) {
    for (const bool tty : {false, true}) {
      const std::string name = absl::StrCat("stdin", once, tty);
      cri::ContainerConfig config =
          ContainerConfig(name, {"sh", "-c", "echo begun; cat; echo ended"});
      config.set_stdin(true);
      config.set_stdin_once(once);
      config.set_tty(tty);
      ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod_, config));
      WaitForOutput(name, "begun");
      const pid_t pid = PidOf(id);
      // cat sleeps in read(2) of the pipe or terminal.
      EXPECT_EQ(Shell(absl::StrCat("readlink /proc/", pid, "/fd/0 | cut -c1-5")),
                tty ? "/dev/\n" : "pipe:\n");
      Restart();  // the keeper holds it, not the daemon
      ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
      EXPECT_EQ(status.state(), cri::CONTAINER_RUNNING);
      ASSERT_OK(cri().StopContainer(id, 0));
      EXPECT_FALSE(absl::StrContains(
          LogText(ReadLog(absl::StrCat(pod_.config.log_directory(), "/", name, "_0.log"))),
          "ended"));
    }
  }
}

}  // namespace
}  // namespace berth::testing
