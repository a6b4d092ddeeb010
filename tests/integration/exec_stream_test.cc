// Exec over SPDY and WebSockets: streams, terminals, exit codes, clients that go away.
#include <sys/socket.h>
#include <sys/time.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"
#include "tests/streaming/web_socket_client.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

class ExecStreamTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
    ASSERT_OK_AND_ASSIGN(container_, Sleeper(pod_));
  }

  struct Streams {
    bool in = false, out = true, err = true, tty = false;
  };
  cri::ExecRequest Request(const std::string& script, const Streams& streams) {
    cri::ExecRequest request;
    request.set_container_id(container_);
    for (const char* word : {"sh", "-c"}) request.add_cmd(word);
    request.add_cmd(script);
    request.set_stdin(streams.in);
    request.set_stdout(streams.out);
    request.set_stderr(streams.err && !streams.tty);
    request.set_tty(streams.tty);
    return request;
  }
  absl::StatusOr<std::string> Url(const std::string& script, const Streams& streams) {
    const auto response = cri().Call(&CriClient::Runtime::Exec, Request(script, streams));
    if (!response.ok()) return response.status();
    return response->url();
  }
  absl::StatusOr<CommandClient> Open(const std::string& script, const Streams& streams,
                                     const SpdyClient::Options& options = {}) {
    const auto url = Url(script, streams);
    if (!url.ok()) return url.status();
    return OpenCommand(*url, streams.in, streams.out, streams.err && !streams.tty, streams.tty,
                       options);
  }
  // Waits until no process of the machine has `text` in its command line.
  bool Gone(const std::string& text) {
    for (int i = 0; i < 1000; ++i) {
      if (Shell("ps -eo args | grep -c '^" + text + "' || true") == "0\n") return true;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }
  bool There(const std::string& text) {
    for (int i = 0; i < 1000; ++i) {
      if (Shell("ps -eo args | grep -c '^" + text + "' || true") != "0\n") return true;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }

  TestPod pod_;
  std::string container_;
};

TEST_F(ExecStreamTest, OutputErrorsAndExitCode) {
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("echo out; echo err >&2; exit 7", {}));
  EXPECT_EQ(c.spdy->ReadAll(c.out), "out\n");
  EXPECT_EQ(c.spdy->ReadAll(c.err), "err\n");
  const std::string status = c.spdy->ReadAll(c.error);
  EXPECT_THAT(status, HasSubstr(R"("reason":"NonZeroExitCode")"));
  EXPECT_THAT(status, HasSubstr(R"("message":"7")"));
}

TEST_F(ExecStreamTest, EveryProtocolDown) {
  for (const char* protocol :
       {"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"}) {
    SpdyClient::Options options;
    options.protocols = {protocol};
    ASSERT_OK_AND_ASSIGN(CommandClient c, Open("echo ok", {}, options));
    EXPECT_EQ(c.spdy->ReadAll(c.out), "ok\n") << protocol;
    const std::string status = c.spdy->ReadAll(c.error);
    if (options.protocols[0] == "v4.channel.k8s.io") {
      EXPECT_THAT(status, HasSubstr("Success"));
    } else {
      EXPECT_EQ(status, "") << protocol;
    }
  }
}

TEST_F(ExecStreamTest, StdinWithHalfCloseIsBinaryExact) {
  std::string bytes;
  for (int i = 0; i < 300000; ++i) bytes.push_back(static_cast<char>(i * 7 + i / 256));
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("cat; echo end >&2", {.in = true}));
  std::thread sender([&] {
    for (size_t i = 0; i < bytes.size(); i += 10000) c.spdy->Send(c.in, bytes.substr(i, 10000));
    c.spdy->Send(c.in, "", true);
  });
  EXPECT_TRUE(c.spdy->ReadAll(c.out) == bytes);
  sender.join();
  EXPECT_EQ(c.spdy->ReadAll(c.err), "end\n");
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr("Success"));
}

TEST_F(ExecStreamTest, AClientThatUsesFlowControl) {
  SpdyClient::Options options;
  options.window = 30000;
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("seq 1 100000", {}, options));
  EXPECT_EQ(c.spdy->ReadAll(c.out).size(), 588895u);
}

TEST_F(ExecStreamTest, ATerminalWithItsSize) {
  ASSERT_OK_AND_ASSIGN(CommandClient c,
                       Open("tty; while read -r l; do [ $l = end ] && exit 3; stty size; done",
                            {.in = true, .tty = true}));
  EXPECT_TRUE(c.spdy->ReadText(c.out, "/dev/pts/"));
  c.spdy->Send(c.resize, "{\"Width\":91,\"Height\":37}");
  // Sizes and input are different streams: ask until it is so.
  for (int i = 0; i < 200 && !absl::StrContains(c.spdy->stream(c.out).bytes, "37 91"); ++i) {
    c.spdy->Send(c.in, "size\r");
    c.spdy->ReadUntil([&] { return absl::StrContains(c.spdy->stream(c.out).bytes, "37 91"); },
                      absl::Milliseconds(200));
  }
  EXPECT_THAT(c.spdy->stream(c.out).bytes, HasSubstr("37 91\r\n"));
  c.spdy->Send(c.in, "end\r");
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr(R"("message":"3")"));
}

TEST_F(ExecStreamTest, WebSocketsWithHalfClose) {
  ASSERT_OK_AND_ASSIGN(const std::string url, Url("cat; echo err >&2; exit 4", {.in = true}));
  ASSERT_OK_AND_ASSIGN(auto client, WebSocketClient::Connect(url, "v5.channel.k8s.io"));
  ASSERT_OK(client->Send(std::string("\0hello", 6)));
  ASSERT_OK(client->Send(std::string("\xff\0", 2)));
  auto channels = client->ReceiveAll();
  EXPECT_EQ(channels[1], "hello");
  EXPECT_EQ(channels[2], "err\n");
  EXPECT_THAT(channels[3], HasSubstr(R"("message":"4")"));
  EXPECT_EQ(client->close_code(), 1000);
}

TEST_F(ExecStreamTest, WebSocketsInBase64) {
  ASSERT_OK_AND_ASSIGN(const std::string url, Url("read -r l; echo got $l", {.in = true}));
  ASSERT_OK_AND_ASSIGN(auto client, WebSocketClient::Connect(url, "v4.base64.channel.k8s.io"));
  ASSERT_OK(client->Send("0YWJjCg==", true));
  auto channels = client->ReceiveAll();
  EXPECT_EQ(channels['1'], "Z290IGFiYwo=");
}

TEST_F(ExecStreamTest, AMissingCommandIsAnErrorWithItsName) {
  cri::ExecRequest request = Request("", {});
  request.clear_cmd();
  request.add_cmd("/no/such");
  ASSERT_OK_AND_ASSIGN(const auto response, cri().Call(&CriClient::Runtime::Exec, request));
  ASSERT_OK_AND_ASSIGN(CommandClient c, OpenCommand(response.url(), false, true, true, false, {}));
  const std::string status = c.spdy->ReadAll(c.error);
  EXPECT_THAT(status, HasSubstr("InternalError"));
  EXPECT_THAT(status, HasSubstr("/no/such"));
}

TEST_F(ExecStreamTest, RequestsAreChecked) {
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, Url("true", {.out = false, .err = false}));
  cri::ExecRequest request = Request("true", {});
  request.set_tty(true);
  request.set_stderr(true);
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, cri().Call(&CriClient::Runtime::Exec, request));
  request = Request("true", {});
  request.clear_cmd();
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, cri().Call(&CriClient::Runtime::Exec, request));
  request = Request("true", {});
  request.set_container_id("nosuch");
  EXPECT_CODE(absl::StatusCode::kNotFound, cri().Call(&CriClient::Runtime::Exec, request));
  ASSERT_OK(cri().StopContainer(container_, 0));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, Url("true", {}));
}

TEST_F(ExecStreamTest, TheTreeEndsWhenTheClientGoesAway) {
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("sleep 6661 & (setsid sleep 6662 &); sleep 6663", {}));
  ASSERT_TRUE(There("sleep 6661") && There("sleep 6662") && There("sleep 6663"));
  c.spdy->Drop();
  EXPECT_TRUE(Gone("sleep 666"));
  // Also one that can't take any more input, and is not read from.
  ASSERT_OK_AND_ASSIGN(c, Open("exec sleep 6664", {.in = true}));
  ASSERT_TRUE(There("sleep 6664"));
  const timeval patience{0, 300000};
  setsockopt(c.spdy->socket(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const std::string block = SpdyWriter::DataHead(c.in, 1 << 16, false) + std::string(1 << 16, 'x');
  for (int i = 0; i < 1000; ++i) {
    if (send(c.spdy->socket(), block.data(), block.size(), MSG_NOSIGNAL) < 0) break;
  }
  c.spdy->Drop();
  EXPECT_TRUE(Gone("sleep 6664"));
  EXPECT_EQ(Exec(container_, "echo alive"), "alive\n");
}

TEST_F(ExecStreamTest, TheTreeEndsWhenAWebSocketGoesAway) {
  for (const char* protocol : {"v5.channel.k8s.io", "v4.channel.k8s.io", "base64.channel.k8s.io"}) {
    ASSERT_OK_AND_ASSIGN(const std::string url,
                         Url("(setsid sleep 6665 &); exec sleep 6666", {.in = true}));
    ASSERT_OK_AND_ASSIGN(auto client, WebSocketClient::Connect(url, protocol));
    ASSERT_TRUE(There("sleep 6665") && There("sleep 6666"));
    client.reset();
    EXPECT_TRUE(Gone("sleep 666")) << protocol;
  }
}

TEST_F(ExecStreamTest, TheTreeOfATerminalEndsWhenTheClientGoesAway) {
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("(setsid sleep 6667 &); trap '' HUP; sleep 6668",
                                             {.in = true, .tty = true}));
  ASSERT_TRUE(There("sleep 6667") && There("sleep 6668"));
  c.spdy->Drop();
  EXPECT_TRUE(Gone("sleep 666"));
}

TEST_F(ExecStreamTest, AGrandchildThatHoldsThePipeDoesNotDelayTheEnd) {
  const absl::Time begin = absl::Now();
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("sleep 100 & echo parent", {}));
  EXPECT_EQ(c.spdy->ReadAll(c.out), "parent\n");
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr("Success"));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(50));
}

TEST_F(ExecStreamTest, MuchOutputNeedsNoMemory) {
  const auto resident = [&] {
    return std::stoll(
        Shell(absl::StrCat("awk '/^RssAnon/{print $2}' /proc/", daemon_.pid(), "/status")));
  };
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("head -c 300000000 /dev/zero", {}));
  c.spdy->CountOnly();
  const long long before = resident();
  // The client stops for a while: what is on its way is bounded.
  c.spdy->ReadUntil([&] { return c.spdy->counted() > 10000000; });
  absl::SleepFor(absl::Milliseconds(200));
  const long long stalled = resident();
  c.spdy->ReadUntil([&] { return c.spdy->stream(c.out).ended; }, absl::Seconds(60));
  EXPECT_GE(c.spdy->counted(), 300000000u);
  EXPECT_LT(stalled - before, 8192) << "KiB";
  EXPECT_LT(resident() - before, 8192) << "KiB";
}

TEST_F(ExecStreamTest, ManyAtOnce) {
  std::vector<CommandClient> clients;
  for (int i = 0; i < 100; ++i) {
    ASSERT_OK_AND_ASSIGN(CommandClient c,
                         Open(absl::StrCat("read -r l; echo ", i, " $l"), {.in = true}));
    clients.push_back(std::move(c));
  }
  for (CommandClient& c : clients) c.spdy->Send(c.in, "x\n");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(clients[i].spdy->ReadAll(clients[i].out), absl::StrCat(i, " x\n"));
    EXPECT_THAT(clients[i].spdy->ReadAll(clients[i].error), HasSubstr("Success"));
  }
}

TEST_F(ExecStreamTest, TokensAreGoodForOneUse) {
  ASSERT_OK_AND_ASSIGN(const std::string url, Url("echo once", {}));
  EXPECT_THAT(url, ::testing::StartsWith("http://127.0.0.1:"));
  ASSERT_OK_AND_ASSIGN(CommandClient c, OpenCommand(url, false, true, true, false, {}));
  EXPECT_EQ(c.spdy->ReadAll(c.out), "once\n");
  const auto again = SpdyClient::Connect(url);
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(daemon_.Log(), ::testing::Not(HasSubstr(url.substr(url.rfind('/') + 1))));
}

TEST_F(ExecStreamTest, RandomDisconnectsLeaveNothing) {
  const auto count = [&](const char* what) {
    return std::stoi(Shell(absl::StrCat("ls /proc/", daemon_.pid(), "/", what, " | wc -l")));
  };
  ASSERT_OK_AND_ASSIGN(CommandClient warm, Open("echo", {}));
  warm.spdy->ReadAll(warm.error);
  warm.spdy->Drop();
  const int fds = count("fd");
  unsigned seed = 4;
  for (int i = 0; i < 60; ++i) {
    ASSERT_OK_AND_ASSIGN(const std::string url, Url("cat; sleep 6671", {.in = true}));
    const unsigned choice = rand_r(&seed) % 4;
    if (choice == 0) continue;  // never connects
    auto spdy = SpdyClient::Connect(url);
    ASSERT_OK(spdy);
    if (choice == 1) continue;  // no stream
    for (const char* type : {"error", "stdin", "stdout", "stderr"}) {
      (*spdy)->OpenTyped(type);
      if (choice == 2 && rand_r(&seed) % 3 == 0) break;
    }
    (*spdy)->Send(3, std::string(rand_r(&seed) % 100000, 'x'), choice == 3);
    (*spdy)->ReadUntil([] { return false; }, absl::Milliseconds(rand_r(&seed) % 20));
  }
  EXPECT_TRUE(Gone("sleep 6671"));
  int now = 0;
  for (int i = 0; i < 500 && (now = count("fd")) > fds; ++i) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_LE(now, fds);
}

TEST_F(ExecStreamTest, ARestartEndsTheSessionAndNothingElse) {
  ASSERT_OK_AND_ASSIGN(CommandClient c, Open("echo here; exec sleep 6681", {}));
  ASSERT_TRUE(c.spdy->ReadText(c.out, "here"));
  Restart();
  c.spdy->ReadAll(c.error);
  EXPECT_TRUE(c.spdy->ReadUntil([&] { return c.spdy->closed(); }));
  EXPECT_TRUE(Gone("sleep 6681"));
  EXPECT_EQ(Exec(container_, "echo alive"), "alive\n");
  // An orderly stop says why.
  ASSERT_OK_AND_ASSIGN(c, Open("echo here; exec sleep 6682", {}));
  ASSERT_TRUE(c.spdy->ReadText(c.out, "here"));
  ASSERT_OK(daemon_.Terminate());
  EXPECT_THAT(c.spdy->ReadAll(c.error), HasSubstr("berthd is being stopped"));
  ASSERT_OK(daemon_.Start());
}

}  // namespace
}  // namespace berth::testing
