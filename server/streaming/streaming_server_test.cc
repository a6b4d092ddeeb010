// The server over loopback with a backend of the test's own: fronts, attach, port-forward, bad input.
#include "server/streaming/streaming_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/notification.h"
#include "base/status.h"
#include "runtime/keeper/protocol.h"
#include "tests/streaming/spdy_client.h"
#include "tests/streaming/web_socket_client.h"

namespace berth {
namespace {

using ::berth::testing::AskOnce;
using ::berth::testing::OpenCommand;
using ::berth::testing::SpdyClient;
using ::berth::testing::WebSocketClient;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class FakeBackend : public StreamBackend {
 public:
  absl::StatusOr<StartedExec> Exec(const StreamRequest& request) override {
    return absl::NotFoundError("no such command");
  }
  absl::StatusOr<StartedAttach> Attach(const StreamRequest& request) override {
    int output[2], input[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, output) != 0 ||
        pipe2(input, O_CLOEXEC) != 0) {
      return ErrnoStatus("socketpair");
    }
    StartedAttach started;
    started.output.reset(output[0]);
    started.in.reset(input[1]);
    writer.reset(output[1]);
    stdin_reader.reset(input[0]);
    attached.Notify();
    return started;
  }
  absl::StatusOr<UniqueFd> PodSocket(const std::string& pod, int family) override {
    if (pod == "gone") return absl::FailedPreconditionError("pod gone is not ready");
    return UniqueFd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  }
  void Say(AttachKind kind, const std::string& text) {
    const std::string message = std::string(1, static_cast<char>(kind)) + text;
    EXPECT_EQ(send(writer.get(), message.data(), message.size(), MSG_NOSIGNAL), message.size());
  }
  // For the one attach of a test: then there are the ends of its pipes.
  Notification attached;
  UniqueFd writer, stdin_reader;
};

// Listens in the "pod"; one connection.
class PodListener {
 public:
  explicit PodListener(bool v6 = false) {
    listener_.reset(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 address{};
    socklen_t size = v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    if (v6) {
      address.sin6_family = AF_INET6;
      address.sin6_addr = in6addr_loopback;
    } else {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
      v4->sin_family = AF_INET;
      v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_.get(), 16), 0);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin6_port);  // at the same place in both
  }
  UniqueFd Accept() { return UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  void Close() { listener_.reset(); }
  int port = 0;

 private:
  UniqueFd listener_;
};

std::string ReadToEnd(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, n);
  return text;
}

class StreamingServerTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.Start().ok()); }
  static StreamingServerOptions Options() {
    StreamingServerOptions options;
    options.patience = std::chrono::milliseconds(300);
    options.head_time = std::chrono::milliseconds(300);
    options.max_connections = 20;
    return options;
  }
  std::string Url(StreamKind kind, std::vector<int> ports = {}) {
    StreamRequest request;
    request.kind = kind;
    request.id = "pod";
    request.in = request.out = request.err = true;
    request.ports = std::move(ports);
    return server_.UrlOf(request).value();
  }
  std::unique_ptr<SpdyClient> Forward() {
    SpdyClient::Options options;
    options.protocols = {"portforward.k8s.io"};
    return SpdyClient::Connect(Url(StreamKind::kPortForward), options).value();
  }
  bool WaitForNoConnections() {
    for (int i = 0; i < 500; ++i) {
      if (server_.connections() == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  FakeBackend backend_;
  StreamingServer server_{Options(), &backend_};
};

SpdyHeaders Pair(const char* type, int port, int id) {
  return {{"streamtype", type}, {"port", absl::StrCat(port)}, {"requestid", absl::StrCat(id)}};
}

TEST_F(StreamingServerTest, StatusesOfTheFront) {
  const std::string url = Url(StreamKind::kExec);
  const std::string base = url.substr(0, url.find("/exec"));
  const auto get = [&](const std::string& path, const std::string& headers = "") {
    return AskOnce(base, absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n", headers, "\r\n"))
        .value();
  };
  const std::string path = url.substr(base.size());
  EXPECT_THAT(get("/exec/0123456789abcdef0123456789abcdef"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/other"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get(path), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(get(path), StartsWith("HTTP/1.1 404 ")) << "the token was used";
  EXPECT_THAT(get(Url(StreamKind::kAttach).substr(base.size()).replace(0, 7, "/exec")),
              StartsWith("HTTP/1.1 404 "))
      << "a token of another verb";
  EXPECT_THAT(get("/exec/x", absl::StrCat("A: ", std::string(20000, 'a'), "\r\n")),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(AskOnce(base, "nonsense\r\n\r\n").value(), StartsWith("HTTP/1.1 400 "));
  EXPECT_EQ(AskOnce(base, "GET /exec/").value(), "") << "half a request";
  const StreamCounts counts = server_.counts();
  EXPECT_EQ(counts.refused.at("404"), 4u);
  EXPECT_EQ(counts.refused.at("431"), 1u);
  EXPECT_TRUE(counts.sessions.empty());
  EXPECT_TRUE(WaitForNoConnections());
}

TEST_F(StreamingServerTest, ConnectionsAreBounded) {
  const std::string url = Url(StreamKind::kExec);
  std::vector<UniqueFd> idle;
  idle.reserve(20);
  for (int i = 0; i < 20; ++i) idle.push_back(testing::ConnectTo(testing::ParseUrl(url)).value());
  EXPECT_THAT(AskOnce(url, "GET / HTTP/1.1\r\n\r\n").value(), StartsWith("HTTP/1.1 503 "));
  EXPECT_TRUE(WaitForNoConnections()) << "half-open clients stay";
}

TEST_F(StreamingServerTest, ThoseWhoSayNothingGiveWay) {
  StreamingServerOptions options = Options();
  options.head_time = std::chrono::seconds(100);
  options.max_half_open = 5;
  StreamingServer server(options, &backend_);
  ASSERT_TRUE(server.Start().ok());
  const std::string url = absl::StrCat("http://", server.address(), "/exec/0");
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 100; ++i) {
    silent.push_back(testing::ConnectTo(testing::ParseUrl(url)).value());
    const std::string half = i % 2 == 0 ? "GET /ex" : "";
    EXPECT_EQ(send(silent.back().get(), half.data(), half.size(), MSG_NOSIGNAL), half.size());
  }
  EXPECT_THAT(AskOnce(url, "GET /exec/0 HTTP/1.1\r\n\r\n").value(), StartsWith("HTTP/1.1 404 "));
  EXPECT_EQ(ReadToEnd(silent.front().get()), "") << "the oldest is closed";
  for (int i = 0; i < 500 && server.connections() > 5; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LE(server.connections(), 5);
}

TEST_F(StreamingServerTest, AFailureIsOnTheErrorStream) {
  for (const auto& [protocol, json] :
       {std::pair("v4.channel.k8s.io", true), {"channel.k8s.io", false}}) {
    SpdyClient::Options options;
    options.protocols = {protocol};
    auto client = OpenCommand(Url(StreamKind::kExec), true, true, true, false, options);
    ASSERT_TRUE(client.ok()) << client.status();
    const std::string status = client->spdy->ReadAll(client->error);
    EXPECT_THAT(status, HasSubstr("no such command"));
    EXPECT_EQ(status[0] == '{', json) << status;
    EXPECT_TRUE(client->spdy->ReadUntil([&] { return client->spdy->closed(); }));
    EXPECT_EQ(client->spdy->go_away(), 0u);
  }
}

TEST_F(StreamingServerTest, StreamsHaveToComeInTime) {
  auto client = SpdyClient::Connect(Url(StreamKind::kExec)).value();
  client->OpenTyped("error");
  EXPECT_TRUE(client->ReadUntil([&] { return client->closed(); }));
  client->Drop();
  EXPECT_TRUE(WaitForNoConnections());
}

TEST_F(StreamingServerTest, AttachCarriesBothWays) {
  auto client = OpenCommand(Url(StreamKind::kAttach), true, true, true, false, {}).value();
  client.spdy->Send(client.in, "hello", true);
  backend_.attached.WaitForNotification();
  EXPECT_EQ(ReadToEnd(backend_.stdin_reader.get()), "hello");
  backend_.Say(AttachKind::kStdout, "out");
  backend_.Say(AttachKind::kStderr, "err");
  backend_.Say(AttachKind::kStdout, "put");
  backend_.Say(AttachKind::kEnd, "");
  EXPECT_EQ(client.spdy->ReadAll(client.out), "output");
  EXPECT_EQ(client.spdy->ReadAll(client.err), "err");
  EXPECT_THAT(client.spdy->ReadAll(client.error), HasSubstr("Success"));
}

TEST_F(StreamingServerTest, AnAttachThatWasCutOffSaysSo) {
  auto client = OpenCommand(Url(StreamKind::kAttach), false, true, true, false, {});
  // stdin is wanted by the request: without its stream nothing begins.
  EXPECT_FALSE(client.ok() && !client->spdy->ReadAll(client->error).empty());
  auto whole = OpenCommand(Url(StreamKind::kAttach), true, true, true, false, {}).value();
  backend_.attached.WaitForNotification();
  backend_.Say(AttachKind::kStdout, "some");
  backend_.writer.reset();
  EXPECT_EQ(whole.spdy->ReadAll(whole.out), "some");
  EXPECT_THAT(whole.spdy->ReadAll(whole.error), HasSubstr("cut off"));
}

TEST_F(StreamingServerTest, AWebSocketAttachWithHalfClose) {
  auto client = WebSocketClient::Connect(Url(StreamKind::kAttach), "v5.channel.k8s.io").value();
  EXPECT_EQ(client->protocol(), "v5.channel.k8s.io");
  EXPECT_EQ(client->Receive().value(), "\x01");  // empty, on stdout
  ASSERT_TRUE(client->Send(std::string("\0abc", 4)).ok());
  ASSERT_TRUE(client->Send(std::string("\xff\0", 2)).ok());
  backend_.attached.WaitForNotification();
  EXPECT_EQ(ReadToEnd(backend_.stdin_reader.get()), "abc");
  backend_.Say(AttachKind::kStderr, "oops");
  backend_.Say(AttachKind::kEnd, "");
  auto channels = client->ReceiveAll();
  EXPECT_EQ(channels[2], "oops");
  EXPECT_THAT(channels[3], HasSubstr("Success"));
  EXPECT_EQ(client->close_code(), 1000);
}

TEST_F(StreamingServerTest, AWebSocketOfAnUnknownProtocolIsRefused) {
  const auto client = WebSocketClient::Connect(Url(StreamKind::kExec), "v9");
  EXPECT_THAT(std::string(client.status().message()), StartsWith("403"));
}

TEST_F(StreamingServerTest, ForwardsKeepHalfCloses) {
  PodListener pod;
  auto client = Forward();
  const uint32_t error = client->Open(Pair("error", pod.port, 1), true);
  const uint32_t data = client->Open(Pair("data", pod.port, 1));
  UniqueFd peer = pod.Accept();
  client->Send(data, "ask", true);
  EXPECT_EQ(ReadToEnd(peer.get()), "ask");
  EXPECT_EQ(write(peer.get(), "answer", 6), 6);
  peer.reset();
  EXPECT_EQ(client->ReadAll(data), "answer");
  EXPECT_EQ(client->ReadAll(error), "");
  EXPECT_FALSE(client->stream(data).reset);
}

TEST_F(StreamingServerTest, WhatAClientSaysAfterThePodsLastWordArrives) {
  PodListener pod;
  auto client = Forward();
  // What the sockets between take isn't known: of some size a little waits in the server when the client's
  // end comes, of a large one more than the server holds.
  for (size_t size = 1 << 20; size <= 12 << 20; size += 3 << 18) {
    client->Open(Pair("error", pod.port, static_cast<int>(size)), true);
    const uint32_t data = client->Open(Pair("data", pod.port, static_cast<int>(size)));
    const UniqueFd peer = pod.Accept();
    shutdown(peer.get(), SHUT_WR);
    EXPECT_EQ(client->ReadAll(data), "");
    std::thread writer([&] { client->Send(data, std::string(size, 'z'), true); });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(ReadToEnd(peer.get()).size(), size);
    writer.join();
  }
}

TEST_F(StreamingServerTest, AForwardWithoutDescriptorsSaysSo) {
  PodListener pod;
  auto client = Forward();
  EXPECT_TRUE(client->stream(1).bytes.empty());
  client->SendFrame(SpdyWriter::Ping(1));
  ASSERT_TRUE(client->ReadUntil([&] { return client->last_ping() == 1; }));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  // One is left, which the socket takes.
  const UniqueFd next(dup(STDIN_FILENO));
  const rlimit tight = {static_cast<rlim_t>(next.get()) + 2, before.rlim_max};
  UniqueFd hole(dup(STDIN_FILENO));
  ASSERT_EQ(hole.get(), next.get() + 1) << "no dense descriptors";
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  hole.reset();
  const uint32_t error = client->Open(Pair("error", pod.port, 1), true);
  client->Open(Pair("data", pod.port, 1));
  EXPECT_THAT(client->ReadAll(error), HasSubstr("Too many open files"));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(StreamingServerTest, ForwardsTryIpv6AndManyGoAtOnce) {
  PodListener pod(/*v6=*/true);
  auto client = Forward();
  std::vector<uint32_t> streams;
  for (int i = 0; i < 10; ++i) {
    streams.push_back(client->Open(Pair("data", pod.port, i)));
    client->Open(Pair("error", pod.port, i), true);
  }
  std::vector<UniqueFd> peers;
  for (int i = 0; i < 10; ++i) {
    peers.push_back(pod.Accept());
    EXPECT_EQ(write(peers.back().get(), "hi", 2), 2);
  }
  for (const uint32_t id : streams) EXPECT_TRUE(client->ReadText(id, "hi"));
}

TEST_F(StreamingServerTest, ARefusedForwardHasItsReasonAndOthersGoOn) {
  PodListener pod, closed;
  closed.Close();
  auto client = Forward();
  const uint32_t error = client->Open(Pair("error", closed.port, 1), true);
  const uint32_t data = client->Open(Pair("data", closed.port, 1));
  EXPECT_THAT(client->ReadAll(error), HasSubstr(absl::StrCat("error forwarding port ", closed.port,
                                                             " to pod pod, uid : ")));
  EXPECT_THAT(client->stream(error).bytes, HasSubstr("Connection refused"));
  client->ReadAll(data);
  EXPECT_TRUE(client->stream(data).reset);
  const uint32_t good = client->Open(Pair("data", pod.port, 2));
  client->Open(Pair("error", pod.port, 2), true);
  const UniqueFd peer = pod.Accept();
  EXPECT_EQ(write(peer.get(), "hi", 2), 2);
  EXPECT_TRUE(client->ReadText(good, "hi"));
}

TEST_F(StreamingServerTest, BadForwardStreamsAreRefused) {
  auto client = Forward();
  for (const SpdyHeaders& headers : std::vector<SpdyHeaders>{
           {}, Pair("data", 0, 1), Pair("data", 65536, 1), Pair("other", 1, 1)}) {
    const uint32_t id = client->Open(headers);
    client->ReadAll(id);
    EXPECT_TRUE(client->stream(id).reset);
  }
  const uint32_t lonely = client->Open(Pair("error", 1, 5));
  EXPECT_THAT(client->ReadAll(lonely), HasSubstr("did not come in time"));
}

TEST_F(StreamingServerTest, AForwardOverAWebSocketSaysItsPort) {
  PodListener pod;
  auto client =
      WebSocketClient::Connect(Url(StreamKind::kPortForward, {pod.port}), "v4.channel.k8s.io")
          .value();
  UniqueFd peer = pod.Accept();
  ASSERT_TRUE(client->Send(std::string("\0ask", 4)).ok());
  char buffer[3];
  EXPECT_EQ(recv(peer.get(), buffer, 3, MSG_WAITALL), 3);
  EXPECT_EQ(write(peer.get(), "hi", 2), 2);
  std::string data;
  while (data.size() < 4) {
    const std::string message = client->Receive().value();
    if (message[0] == 0) data += message.substr(1);
  }
  const std::string port = {static_cast<char>(pod.port & 255), static_cast<char>(pod.port >> 8)};
  EXPECT_EQ(data, port + "hi");
  // There is no half-close for the pod's side: the connection's end tells it.
  peer.reset();
  while (client->Receive().ok()) continue;
  EXPECT_EQ(client->close_code(), 1000);
}

TEST_F(StreamingServerTest, BackPressureStopsWhoSendsTooMuch) {
  PodListener pod;
  auto client = Forward();
  const uint32_t data = client->Open(Pair("data", pod.port, 1));
  client->Open(Pair("error", pod.port, 1), true);
  const UniqueFd peer = pod.Accept();  // which doesn't read
  const timeval patience{0, 300000};
  setsockopt(client->socket(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  size_t sent = 0;
  const std::string block = SpdyWriter::DataHead(data, 1 << 16, false) + std::string(1 << 16, 'x');
  while (sent < (256u << 20) &&
         send(client->socket(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    sent += block.size();
  }
  EXPECT_LT(sent, 64u << 20);
  client->Drop();
  EXPECT_TRUE(WaitForNoConnections()) << "nobody saw that the client had gone";
}

// For a server that would stall.
UniqueFd AcceptPatiently(PodListener& pod) {
  UniqueFd peer = pod.Accept();
  const timeval patience{20, 0};
  setsockopt(peer.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return peer;
}

TEST_F(StreamingServerTest, AForwardThatIsNotReadEndsRatherThanStopTheOthers) {
  PodListener pod;
  auto client = Forward();
  client->Open(Pair("error", pod.port, 1), true);
  const uint32_t slow = client->Open(Pair("data", pod.port, 1));
  const UniqueFd slow_peer = pod.Accept();
  client->Open(Pair("error", pod.port, 2), true);
  const uint32_t other = client->Open(Pair("data", pod.port, 2));
  const UniqueFd peer = AcceptPatiently(pod);
  std::thread writer([&] {
    const std::string block(1 << 20, 'x');
    for (int i = 0; i < 32; ++i) client->Send(slow, block);
    client->Send(other, "ask", true);
  });
  EXPECT_EQ(ReadToEnd(peer.get()), "ask");
  shutdown(client->socket(), SHUT_RDWR);  // ends a writer that hangs
  writer.join();
}

TEST_F(StreamingServerTest, AForwardThatIsNotReadSaysSo) {
  PodListener pod;
  auto client = Forward();
  const uint32_t error = client->Open(Pair("error", pod.port, 1), true);
  const uint32_t slow = client->Open(Pair("data", pod.port, 1));
  const UniqueFd slow_peer = pod.Accept();
  client->Open(Pair("error", pod.port, 2), true);
  client->Open(Pair("data", pod.port, 2));
  const UniqueFd peer = pod.Accept();
  std::thread writer([&] { client->Send(slow, std::string(15 << 20, 'x')); });
  EXPECT_THAT(client->ReadAll(error), HasSubstr("the pod has read nothing for 300ms"));
  client->ReadAll(slow);
  EXPECT_TRUE(client->stream(slow).reset);
  shutdown(client->socket(), SHUT_RDWR);
  writer.join();
}

TEST_F(StreamingServerTest, AForwardThatIsAloneMayTakeItsTime) {
  PodListener pod;
  auto client = Forward();
  client->Open(Pair("error", pod.port, 1), true);
  const uint32_t data = client->Open(Pair("data", pod.port, 1));
  const UniqueFd peer = AcceptPatiently(pod);
  constexpr size_t kSize = 15 << 20;
  std::thread writer([&] { client->Send(data, std::string(kSize, 'x'), true); });
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_EQ(ReadToEnd(peer.get()).size(), kSize);
  writer.join();
}

TEST_F(StreamingServerTest, AStreamAtItsWindowStopsItselfOnly) {
  PodListener pod;
  SpdyClient::Options options;
  options.protocols = {"portforward.k8s.io"};
  options.window = kSpdyInitialWindow;
  auto client = SpdyClient::Connect(Url(StreamKind::kPortForward), options).value();
  client->Open(Pair("error", pod.port, 1), true);
  const uint32_t slow = client->Open(Pair("data", pod.port, 1));
  const UniqueFd slow_peer = pod.Accept();
  uint64_t sent = 0;
  const auto left = [&](uint32_t stream) {
    return int64_t{kSpdyInitialWindow} + static_cast<int64_t>(client->opened(stream)) -
           static_cast<int64_t>(sent);
  };
  const std::string block(1 << 13, 'x');
  do {
    for (; left(slow) >= int64_t{1 << 13}; sent += block.size()) client->Send(slow, block);
  } while (
      client->ReadUntil([&] { return left(slow) >= int64_t{1 << 13}; }, absl::Milliseconds(200)));
  EXPECT_GE(left(0), int64_t{1 << 13}) << "the connection's window";
  client->Open(Pair("error", pod.port, 2), true);
  const uint32_t other = client->Open(Pair("data", pod.port, 2));
  const UniqueFd peer = AcceptPatiently(pod);
  client->Send(other, "ask", true);
  EXPECT_EQ(ReadToEnd(peer.get()), "ask");
}

TEST_F(StreamingServerTest, APortOfAWebSocketThatIsRefusedStopsNoOther) {
  PodListener pod, closed;
  closed.Close();
  auto client = WebSocketClient::Connect(Url(StreamKind::kPortForward, {closed.port, pod.port}),
                                         "v4.channel.k8s.io")
                    .value();
  const UniqueFd peer = AcceptPatiently(pod);
  std::thread writer([&] {
    const std::string block = std::string(1, '\0') + std::string(1 << 20, 'x');
    for (int i = 0; i < 15; ++i) client->Send(block).IgnoreError();
    client->Send(std::string("\2ask", 4)).IgnoreError();
  });
  char buffer[3] = {};
  EXPECT_EQ(recv(peer.get(), buffer, 3, MSG_WAITALL), 3);
  writer.join();
}

TEST_F(StreamingServerTest, WindowsAreObeyedByThoseWhoUseThem) {
  PodListener pod;
  SpdyClient::Options options;
  options.protocols = {"portforward.k8s.io"};
  options.window = 5000;
  auto client = SpdyClient::Connect(Url(StreamKind::kPortForward), options).value();
  const uint32_t data = client->Open(Pair("data", pod.port, 1));
  client->Open(Pair("error", pod.port, 1), true);
  UniqueFd peer = pod.Accept();
  const std::string text(1 << 20, 'y');
  std::thread writer([&] {
    EXPECT_EQ(send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL), text.size());
    peer.reset();
  });
  EXPECT_EQ(client->ReadAll(data).size(), text.size());
  writer.join();
}

TEST_F(StreamingServerTest, PingsAreAnswered) {
  auto client = Forward();
  client->SendFrame(SpdyWriter::Ping(41));
  EXPECT_TRUE(client->ReadUntil([&] { return client->last_ping() == 41; }));
}

TEST_F(StreamingServerTest, BrokenFramesEndTheConnectionWithGoAway) {
  SpdyWriter writer;
  const std::vector<std::string> broken = {
      std::string("\x80\x02\x00\x06\x00\x00\x00\x00", 8),
      writer.SynStream(2, false, {}),            // an even id
      SpdyWriter::DataHead(77, 1, false) + "x",  // never opened
      std::string(100, '\xff'),
  };
  for (const std::string& bytes : broken) {
    auto client = Forward();
    client->SendFrame(bytes);
    EXPECT_TRUE(client->ReadUntil([&] { return client->closed(); }));
    EXPECT_EQ(client->go_away(), 1u);
  }
  EXPECT_TRUE(WaitForNoConnections());
}

TEST_F(StreamingServerTest, StopTellsTheClients) {
  auto client = OpenCommand(Url(StreamKind::kAttach), true, true, true, false, {}).value();
  std::thread stop([&] { server_.Stop(); });
  EXPECT_THAT(client.spdy->ReadAll(client.error), HasSubstr("berthd is being stopped"));
  client.spdy->Drop();
  stop.join();
}

}  // namespace
}  // namespace berth
