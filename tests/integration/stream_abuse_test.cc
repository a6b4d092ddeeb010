// Those who misuse the streaming server: thousands of connections, guessed tokens, header bombs, frames that
// make no sense. Each is refused as docs/streaming.md says, others are served meanwhile, nothing is left.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"
#include "tests/streaming/web_socket_client.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class StreamAbuseTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
    ASSERT_OK_AND_ASSIGN(container_, Sleeper(pod_));
    ASSERT_OK_AND_ASSIGN(CommandClient warm, Open("echo"));
    warm.spdy->ReadAll(warm.error);
    warm.spdy->Drop();
    files_ = Settled(0);
  }

  absl::StatusOr<std::string> Url(const std::string& script) {
    cri::ExecRequest request;
    request.set_container_id(container_);
    for (const std::string& word : {std::string("sh"), std::string("-c"), script})
      request.add_cmd(word);
    request.set_stdin(true);
    request.set_stdout(true);
    const auto response = cri().Call(&CriClient::Runtime::Exec, request);
    if (!response.ok()) return response.status();
    return response->url();
  }
  absl::StatusOr<CommandClient> Open(const std::string& script) {
    const auto url = Url(script);
    if (!url.ok()) return url.status();
    return OpenCommand(*url, true, true, false, false, {});
  }
  absl::StatusOr<std::string> ForwardUrl(int port) {
    cri::PortForwardRequest request;
    request.set_pod_sandbox_id(pod_.id);
    request.add_port(port);
    const auto response = cri().Call(&CriClient::Runtime::PortForward, request);
    if (!response.ok()) return response.status();
    return response->url();
  }
  // A new command goes through, whatever others do.
  void ExpectServed(const char* when) {
    auto client = Open("read -r l; echo got $l");
    ASSERT_TRUE(client.ok()) << when << ": " << client.status();
    client->spdy->Send(client->in, "it\n", true);
    EXPECT_EQ(client->spdy->ReadAll(client->out), "got it\n") << when;
    EXPECT_THAT(client->spdy->ReadAll(client->error), HasSubstr("Success")) << when;
  }
  size_t Files() {
    return ListDirectory(absl::StrCat("/proc/", daemon_.pid(), "/fd"))
        .value_or(std::vector<std::string>())
        .size();
  }
  // The daemon's descriptors once there are no more than `wanted`, or have not become fewer for a second.
  size_t Settled(size_t wanted) {
    size_t files = Files();
    for (int same = 0; files > wanted && same < 50; ++same) {
      absl::SleepFor(absl::Milliseconds(20));
      const size_t now = Files();
      if (now < files) same = 0;
      files = std::min(files, now);
    }
    return files;
  }

  TestPod pod_;
  std::string container_;
  size_t files_ = 0;
};

TEST_F(StreamAbuseTest, ThousandsOfHalfOpenClientsAreBounded) {
  ASSERT_OK_AND_ASSIGN(CommandClient before, Open("while read -r l; do echo got $l; done"));
  ASSERT_OK_AND_ASSIGN(const std::string url, Url("true"));
  const StreamUrl to = ParseUrl(url);
  std::vector<UniqueFd> clients;
  size_t most = 0;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_OK_AND_ASSIGN(UniqueFd client, ConnectTo(to));
    const std::string half = i % 3 == 0   ? ""
                             : i % 3 == 1 ? "POST /exec/0123 HTTP/1.1\r\nConnec"
                                          : absl::StrCat("GET ", std::string(4000, 'a'));
    send(client.get(), half.data(), half.size(), MSG_NOSIGNAL);
    clients.push_back(std::move(client));
    if (i % 100 == 0) most = std::max(most, Files());
    if (i % 1000 == 999) ExpectServed("in the flood");
  }
  // 512 half-open ones and what was there; some are only about to be closed.
  EXPECT_LT(most, files_ + 700);
  before.spdy->Send(before.in, "more\n");
  EXPECT_TRUE(before.spdy->ReadText(before.out, "got more\n"));
  EXPECT_OK(cri().ListContainers());
  // The rest is closed when the time for a request is over.
  for (const UniqueFd& client : clients) {
    pollfd p{client.get(), POLLIN, 0};
    ASSERT_GT(poll(&p, 1, 30000), 0) << "a client was kept";
    char byte;
    EXPECT_LE(recv(client.get(), &byte, 1, MSG_DONTWAIT), 0);
  }
  before.spdy->Drop();
  EXPECT_LE(Settled(files_), files_);
  ExpectServed("after the flood");
}

TEST_F(StreamAbuseTest, TokensAreNotToBeGuessedAndAreBounded) {
  ASSERT_OK_AND_ASSIGN(const std::string url, Url("true"));
  const std::string token = url.substr(url.rfind('/') + 1);
  EXPECT_EQ(token.size(), 32u);
  const std::string base = url.substr(0, url.size() - token.size());
  for (int i = 0; i < 500; ++i) {
    std::string guess = token;
    guess[static_cast<size_t>(i) % 32] = guess[static_cast<size_t>(i) % 32] == 'f' ? '0' : 'f';
    ASSERT_OK_AND_ASSIGN(const std::string answer,
                         AskOnce(base, absl::StrCat("GET ", ParseUrl(base).path, guess,
                                                    " HTTP/1.1\r\nHost: x\r\n\r\n")));
    ASSERT_THAT(answer, StartsWith("HTTP/1.1 404 "));
  }
  for (const char* path : {"/exec/", "/exec", "/", "//", "/exec/../metrics", "/metrics"}) {
    ASSERT_OK_AND_ASSIGN(const std::string answer,
                         AskOnce(base, absl::StrCat("GET ", path, " HTTP/1.1\r\n\r\n")));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 404 ")) << path;
  }
  // One is still there; so 999 more may be asked for.
  std::vector<std::string> urls;
  for (int i = 0; i < 999; ++i) {
    ASSERT_OK_AND_ASSIGN(std::string more, Url("true"));
    urls.push_back(std::move(more));
  }
  EXPECT_CODE(absl::StatusCode::kResourceExhausted, Url("true"));
  ASSERT_OK_AND_ASSIGN(CommandClient used, OpenCommand(urls[0], true, true, false, false, {}));
  EXPECT_THAT(used.spdy->ReadAll(used.error), HasSubstr("Success"));
  EXPECT_OK(Url("true"));
  const std::string log = daemon_.Log();
  for (const std::string& issued : {url, urls[0], urls[500]})
    EXPECT_THAT(log, Not(HasSubstr(issued.substr(issued.rfind('/') + 1))));
  used.spdy->Drop();
  EXPECT_LE(Settled(files_), files_);
}

TEST_F(StreamAbuseTest, BombsAreRefused) {
  // In the request's head.
  ASSERT_OK_AND_ASSIGN(std::string url, Url("true"));
  ASSERT_OK_AND_ASSIGN(const std::string answer,
                       AskOnce(url, absl::StrCat("GET ", ParseUrl(url).path, " HTTP/1.1\r\nX: ",
                                                 std::string(17 << 10, 'a'), "\r\n\r\n")));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 431 "));
  // In a header block of SPDY: a few KiB that are megabytes.
  for (const SpdyHeaders& bomb :
       {SpdyHeaders{{"streamtype", std::string(4 << 20, 'a')}}, SpdyHeaders(5000, {"a", "b"})}) {
    ASSERT_OK_AND_ASSIGN(url, Url("true"));
    ASSERT_OK_AND_ASSIGN(auto client, SpdyClient::Connect(url));
    const std::string frame = SpdyWriter().SynStream(1, false, bomb);
    EXPECT_LT(frame.size(), 32u << 10) << "not a bomb";
    client->SendFrame(frame);
    EXPECT_TRUE(client->ReadUntil([&] { return client->closed(); }));
    EXPECT_EQ(client->go_away(), 1u);
  }
  // In a message for a channel that there isn't: read in pieces, none of which is kept.
  ASSERT_OK_AND_ASSIGN(url, Url("cat >/dev/null"));
  ASSERT_OK_AND_ASSIGN(auto socket, WebSocketClient::Connect(url, "v5.channel.k8s.io"));
  ASSERT_OK(socket->Send(std::string(1, '\x07') + std::string(4 << 20, 'x')));
  socket.reset();
  EXPECT_LE(Settled(files_), files_);
  ExpectServed("after the bombs");
}

TEST_F(StreamAbuseTest, StreamsThatNobodyAskedFor) {
  // Of unknown types: taken and ignored.
  ASSERT_OK_AND_ASSIGN(std::string url, Url("cat"));
  ASSERT_OK_AND_ASSIGN(auto client, SpdyClient::Connect(url));
  for (int i = 0; i < 200; ++i) {
    const uint32_t id = client->OpenTyped(absl::StrCat("unknown", i));
    client->Send(id, "whatever");
  }
  const uint32_t error = client->OpenTyped("error");
  const uint32_t in = client->OpenTyped("stdin");
  const uint32_t out = client->OpenTyped("stdout");
  const uint32_t again = client->OpenTyped("stdout");
  client->Send(in, "through\n", true);
  EXPECT_EQ(client->ReadAll(out), "through\n");
  EXPECT_TRUE(client->stream(again).reset) << "a second one of a type";
  EXPECT_THAT(client->ReadAll(error), HasSubstr("Success"));
  // More of them than a connection may have.
  ASSERT_OK_AND_ASSIGN(url, ForwardUrl(1));
  SpdyClient::Options options;
  options.protocols = {"portforward.k8s.io"};
  ASSERT_OK_AND_ASSIGN(auto forward, SpdyClient::Connect(url, options));
  std::vector<uint32_t> ids;
  ids.reserve(1100);
  for (int i = 0; i < 1100; ++i) {
    ids.push_back(
        forward->Open({{"streamtype", "data"}, {"port", "1"}, {"requestid", absl::StrCat(i)}}));
  }
  forward->ReadAll(ids.back());
  EXPECT_TRUE(forward->stream(ids.back()).reset);
  // Data for a stream that was never opened ends the connection.
  forward->SendFrame(absl::StrCat(SpdyWriter::DataHead(99999, 1, false), "x"));
  EXPECT_TRUE(forward->ReadUntil([&] { return forward->closed(); }));
  EXPECT_EQ(forward->go_away(), 1u);
  client->Drop();
  forward->Drop();
  EXPECT_LE(Settled(files_), files_);
}

TEST_F(StreamAbuseTest, AClientThatLeavesBeforeItsStreams) {
  for (int i = 0; i < 300; ++i) {
    ASSERT_OK_AND_ASSIGN(const std::string url, Url("cat"));
    ASSERT_OK_AND_ASSIGN(auto client, SpdyClient::Connect(url));
    if (i % 2 == 0) client->OpenTyped("error");
  }
  EXPECT_LE(Settled(files_), files_);
  ExpectServed("after them");
}

}  // namespace
}  // namespace berth::testing
