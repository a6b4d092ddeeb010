// PortForward into pods with a network of their own and with the host's.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"
#include "tests/streaming/web_socket_client.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

class PortForwardTest : public DaemonTest {
 protected:
  absl::StatusOr<std::string> Url(const std::string& pod, int port) {
    cri::PortForwardRequest request;
    request.set_pod_sandbox_id(pod);
    request.add_port(port);
    const auto response = cri().Call(&CriClient::Runtime::PortForward, request);
    if (!response.ok()) return response.status();
    return response->url();
  }
  absl::StatusOr<std::unique_ptr<SpdyClient>> Forward(const std::string& pod, int port) {
    const auto url = Url(pod, port);
    if (!url.ok()) return url.status();
    SpdyClient::Options options;
    options.protocols = {"portforward.k8s.io"};
    return SpdyClient::Connect(*url, options);
  }
  // What a connection to the port answers to `text`; retried until the server within listens.
  std::string Ask(SpdyClient& client, int port, const std::string& text) {
    std::string why;
    for (int i = 0; i < 200; ++i) {
      const SpdyHeaders headers = {{"port", absl::StrCat(port)},
                                   {"requestid", absl::StrCat(++request_)}};
      SpdyHeaders error_headers = headers, data_headers = headers;
      error_headers.emplace_back("streamtype", "error");
      data_headers.emplace_back("streamtype", "data");
      const uint32_t error = client.Open(error_headers, true);
      const uint32_t data = client.Open(data_headers);
      client.Send(data, text, true);
      const std::string answer = client.ReadAll(data);
      if (!client.stream(data).reset) return answer;
      why = client.ReadAll(error);
      absl::SleepFor(absl::Milliseconds(50));
    }
    return why;
  }
  absl::StatusOr<TestPod> Server(cri::PodSandboxConfig config, const std::string& script) {
    auto pod = RunPod(config);
    if (!pod.ok()) return pod;
    const auto id = CreateAndStart(*pod, ContainerConfig("server", {"sh", "-c", script}));
    if (!id.ok()) return id.status();
    return pod;
  }
  cri::PodSandboxConfig OwnNetwork(const std::string& name) {
    cri::PodSandboxConfig config = PodConfig(name);
    config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_network(
        cri::POD);
    return config;
  }
  int request_ = 0;
};

// Answers each connection with what it has got, when the client has closed its side.
constexpr char kServer[] = "exec nc -ll -p 7777 -e sh -c 'echo \"<$(cat)>\"'";

TEST_F(PortForwardTest, IntoAPodOfItsOwnNetwork) {
  ASSERT_OK(daemon_.WriteCniConfig());
  ASSERT_OK_AND_ASSIGN(const TestPod pod, Server(OwnNetwork("own"), kServer));
  ASSERT_OK_AND_ASSIGN(auto client, Forward(pod.id, 7777));
  EXPECT_EQ(Ask(*client, 7777, "hello"), "<hello>\n");
  EXPECT_EQ(Ask(*client, 7777, "again"), "<again>\n");
}

TEST_F(PortForwardTest, IntoAPodOfTheHostsNetwork) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, Server(PodConfig("host"), kServer));
  ASSERT_OK_AND_ASSIGN(auto client, Forward(pod.id, 7777));
  EXPECT_EQ(Ask(*client, 7777, "hello"), "<hello>\n");
}

TEST_F(PortForwardTest, ThroughTheTunnelOfAWebSocket) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, Server(PodConfig("host"), kServer));
  ASSERT_OK_AND_ASSIGN(auto warm, Forward(pod.id, 7777));
  EXPECT_EQ(Ask(*warm, 7777, "hello"), "<hello>\n");
  ASSERT_OK_AND_ASSIGN(const std::string url, Url(pod.id, 7777));
  ASSERT_OK_AND_ASSIGN(auto client, WebSocketClient::Connect(url, "SPDY/3.1+portforward.k8s.io"));
  EXPECT_EQ(client->protocol(), "SPDY/3.1+portforward.k8s.io");
  SpdyWriter writer;
  ASSERT_OK(client->Send(SpdyWriter::Ping(1)));
  ASSERT_OK_AND_ASSIGN(const std::string pong, client->Receive());
  EXPECT_EQ(pong, SpdyWriter::Ping(1));
}

TEST_F(PortForwardTest, ARefusedConnectionSaysWhy) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("host"));
  ASSERT_OK_AND_ASSIGN(auto client, Forward(pod.id, 7778));
  const uint32_t error =
      client->Open({{"streamtype", "error"}, {"port", "7778"}, {"requestid", "0"}}, true);
  client->Open({{"streamtype", "data"}, {"port", "7778"}, {"requestid", "0"}});
  const std::string why = client->ReadAll(error);
  EXPECT_THAT(why, HasSubstr("error forwarding port 7778 to pod " + pod.id + ", uid : "));
  EXPECT_THAT(why, HasSubstr("Connection refused"));
  EXPECT_FALSE(client->closed());
}

TEST_F(PortForwardTest, OnlyReadyPods) {
  EXPECT_CODE(absl::StatusCode::kNotFound, Url("nosuch", 80));
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, Url("", 80));
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("host"));
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, Url(pod.id, 70000));
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, Url(pod.id, 80));
}

}  // namespace
}  // namespace berth::testing
