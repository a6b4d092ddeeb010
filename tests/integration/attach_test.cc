// Attach: several clients, stdin and stdin_once, terminals, slow clients, restarts.
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"
#include "tests/streaming/web_socket_client.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

class AttachTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
  }

  enum Kind { kPipe, kOnce, kTerminal };
  std::string Run(const std::string& script, Kind kind, bool log = true) {
    cri::ContainerConfig config = ContainerConfig("c", {"sh", "-c", script});
    config.set_stdin(true);
    config.set_stdin_once(kind == kOnce);
    config.set_tty(kind == kTerminal);
    if (!log) config.clear_log_path();
    absl::StatusOr<std::string> id = CreateAndStart(pod_, config);
    EXPECT_OK(id);
    return id.value_or("");
  }
  absl::StatusOr<CommandClient> Attach(const std::string& id, bool in, bool tty = false) {
    cri::AttachRequest request;
    request.set_container_id(id);
    request.set_stdin(in);
    request.set_stdout(true);
    request.set_stderr(!tty);
    request.set_tty(tty);
    const auto response = cri().Call(&CriClient::Runtime::Attach, request);
    if (!response.ok()) return response.status();
    return OpenCommand(response->url(), in, true, !tty, tty, {});
  }
  // Sends a line until its echo is there: an attach is not answered when it has begun.
  void Say(CommandClient& c, const std::string& text, const std::string& echo) {
    for (int i = 0; i < 100 && !absl::StrContains(c.spdy->stream(c.out).bytes, echo); ++i) {
      c.spdy->Send(c.in, text);
      c.spdy->ReadUntil([&] { return absl::StrContains(c.spdy->stream(c.out).bytes, echo); },
                        absl::Milliseconds(500));
    }
    EXPECT_THAT(c.spdy->stream(c.out).bytes, HasSubstr(echo));
  }
  std::string LogPath() { return absl::StrCat(pod_.config.log_directory(), "/c.log"); }

  TestPod pod_;
};

constexpr char kEcho[] =
    "while read -r l; do [ \"$l\" = end ] && exit 3; echo got $l; done; echo eof";

TEST_F(AttachTest, SeveralClientsHearAndSpeak) {
  const std::string id = Run(kEcho, kPipe);
  ASSERT_OK_AND_ASSIGN(CommandClient first, Attach(id, true));
  ASSERT_OK_AND_ASSIGN(CommandClient second, Attach(id, true));
  Say(first, "one\n", "got one\n");
  Say(second, "two\n", "got two\n");
  EXPECT_TRUE(first.spdy->ReadText(first.out, "got two\n"));
  // Leaving leaves the container, its stdin and the others alone.
  second.spdy->Send(second.in, "", true);
  second.spdy->Drop();
  Say(first, "three\n", "got three\n");
  first.spdy->Send(first.in, "end\n");
  EXPECT_THAT(first.spdy->ReadAll(first.error), HasSubstr("Success"));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 3);
  EXPECT_THAT(LogText(ReadLog(status.log_path())), HasSubstr("got one\n"));
}

TEST_F(AttachTest, StdinOnceEndsWithItsClient) {
  const std::string id = Run(kEcho, kOnce);
  ASSERT_OK_AND_ASSIGN(CommandClient c, Attach(id, true));
  Say(c, "one\n", "got one\n");
  c.spdy->Send(c.in, "", true);
  EXPECT_TRUE(c.spdy->ReadText(c.out, "eof\n"));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 0);
}

TEST_F(AttachTest, StdinOnceEndsWhenTheClientIsGone) {
  const std::string id = Run(kEcho, kOnce);
  ASSERT_OK_AND_ASSIGN(CommandClient c, Attach(id, true));
  Say(c, "one\n", "got one\n");
  c.spdy->Drop();
  ASSERT_OK(cri().WaitForExit(id));
}

TEST_F(AttachTest, ATerminal) {
  const std::string id =
      Run("tty; stty size; while read -r l; do [ $l = end ] && exit 3; stty size; done", kTerminal);
  ASSERT_OK_AND_ASSIGN(CommandClient c, Attach(id, true, true));
  c.spdy->Send(c.resize, "{\"Width\":91,\"Height\":37}");
  Say(c, "size\r", "37 91\r\n");
  c.spdy->Send(c.in, "end\r");
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr("Success"));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(status.exit_code(), 3);
}

TEST_F(AttachTest, AContainerWithoutALog) {
  const std::string id = Run(kEcho, kPipe, /*log=*/false);
  ASSERT_OK_AND_ASSIGN(CommandClient c, Attach(id, true));
  Say(c, "one\n", "got one\n");
}

TEST_F(AttachTest, OverAWebSocket) {
  const std::string id = Run(kEcho, kPipe);
  cri::AttachRequest request;
  request.set_container_id(id);
  request.set_stdin(true);
  request.set_stdout(true);
  ASSERT_OK_AND_ASSIGN(const auto response, cri().Call(&CriClient::Runtime::Attach, request));
  ASSERT_OK_AND_ASSIGN(auto client, WebSocketClient::Connect(response.url(), "v5.channel.k8s.io"));
  ASSERT_OK(client->Send(std::string("\0end\n", 5)));
  auto channels = client->ReceiveAll();
  EXPECT_THAT(channels[3], HasSubstr("Success"));
}

TEST_F(AttachTest, ASlowClientSlowsNobodyAndIsCutOff) {
  const std::string id =
      Run("read -r l; head -c 60000000 /dev/zero | tr '\\0' 'a'; echo; echo done", kPipe);
  ASSERT_OK_AND_ASSIGN(CommandClient slow, Attach(id, false));
  ASSERT_OK_AND_ASSIGN(CommandClient starter, Attach(id, true));
  // Until the streams are up nothing is to be lost: the slow one was there first.
  starter.spdy->Send(starter.in, "go\n");
  // One that leaves before it has been joined to the container may not be heard.
  EXPECT_TRUE(starter.spdy->ReadText(starter.out, "a"));
  starter.spdy->Drop();
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id, absl::Seconds(60)));
  EXPECT_EQ(LogText(ReadLog(status.log_path())).size(), 60000006u);
  slow.spdy->CountOnly();
  slow.spdy->ReadUntil([&] { return slow.spdy->stream(slow.out).ended; }, absl::Seconds(30));
  EXPECT_LT(slow.spdy->counted(), 60000000u);
}

TEST_F(AttachTest, ARestartOfTheDaemonLosesNoLog) {
  const std::string id =
      Run("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done", kPipe);
  ASSERT_OK_AND_ASSIGN(CommandClient c, Attach(id, false));
  EXPECT_TRUE(c.spdy->ReadText(c.out, "line "));
  Restart();
  EXPECT_TRUE(c.spdy->ReadUntil([&] { return c.spdy->closed(); }));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  EXPECT_EQ(ReadLog(status.log_path()).size(), 300u);
}

TEST_F(AttachTest, AnOrderlyStopOfTheDaemonSaysSoAndLosesNoLog) {
  const std::string id =
      Run("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done; read -r l; "
          "echo heard $l",
          kPipe);
  ASSERT_OK_AND_ASSIGN(CommandClient c, Attach(id, true));
  EXPECT_TRUE(c.spdy->ReadText(c.out, "line "));
  ASSERT_OK(daemon_.Terminate());
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr("berthd is being stopped"));
  EXPECT_TRUE(c.spdy->ReadUntil([&] { return c.spdy->closed(); }));
  ASSERT_OK(daemon_.Start());
  // The container's stdin is there for the next client.
  ASSERT_OK_AND_ASSIGN(c, Attach(id, true));
  Say(c, "it\n", "heard it\n");
  ASSERT_OK_AND_ASSIGN(const auto status, cri().WaitForExit(id));
  const auto lines = ReadLog(status.log_path());
  ASSERT_EQ(lines.size(), 301u);
  EXPECT_EQ(lines[299].text, "line 300");
}

TEST_F(AttachTest, OnlyRunningContainers) {
  ASSERT_OK_AND_ASSIGN(const std::string created, Create(pod_, ContainerConfig("gated", {"true"})));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, Attach(created, false));
  EXPECT_CODE(absl::StatusCode::kNotFound, Attach("nosuch", false));
}

}  // namespace
}  // namespace berth::testing
