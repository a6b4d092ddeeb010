#include "server/metrics/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    server_.Handle("/healthz", [](const HttpRequest& request) {
      return HttpResponse{.body = absl::StrCat("ok ", request.query)};
    });
    server_.Handle(
        "/big", [](const HttpRequest&) { return HttpResponse{.body = std::string(1 << 20, 'x')}; });
    const absl::Status status = server_.Start("127.0.0.1:0");
    EXPECT_TRUE(status.ok()) << status;
  }

  UniqueFd Connect() {
    const std::string address = server_.address();
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) << address;
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in peer{.sin_family = AF_INET,
                     .sin_port = htons(static_cast<uint16_t>(port)),
                     .sin_addr = {htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&peer), sizeof(peer)), 0);
    timeval limit{.tv_sec = 5};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
  }
  static void Send(int fd, absl::string_view bytes) {
    (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Until the server closes, or `enough` has come.
  static std::string Receive(int fd, absl::string_view enough = "") {
    std::string all;
    char buffer[65536];
    while (enough.empty() || !absl::StrContains(all, enough)) {
      const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0) break;
      all.append(buffer, n);
    }
    return all;
  }
  std::string Ask(absl::string_view request) {
    UniqueFd fd = Connect();
    Send(fd.get(), request);
    return Receive(fd.get());
  }

  HttpServer server_;
};

constexpr char kClose[] = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

TEST_F(HttpServerTest, AnswersARoutedRequest) {
  const std::string got = Ask(absl::StrCat("GET /healthz?a=b", kClose));
  EXPECT_TRUE(absl::StartsWith(got, "HTTP/1.1 200 OK\r\n")) << got;
  EXPECT_TRUE(absl::EndsWith(got, "\r\n\r\nok a=b")) << got;
  EXPECT_TRUE(absl::StrContains(got, "Content-Length: 6\r\n")) << got;
}

TEST_F(HttpServerTest, AHeadHasNoBody) {
  const std::string got = Ask(absl::StrCat("HEAD /healthz", kClose));
  EXPECT_TRUE(absl::StrContains(got, "Content-Length: 3\r\n")) << got;
  EXPECT_TRUE(absl::EndsWith(got, "\r\n\r\n")) << got;
}

TEST_F(HttpServerTest, OtherPathsAndMethodsAreRefused) {
  EXPECT_TRUE(absl::StartsWith(Ask(absl::StrCat("GET /", kClose)), "HTTP/1.1 404 "));
  EXPECT_TRUE(absl::StartsWith(Ask(absl::StrCat("GET /healthz/", kClose)), "HTTP/1.1 404 "));
  EXPECT_TRUE(absl::StartsWith(Ask(absl::StrCat("DELETE /healthz", kClose)), "HTTP/1.1 405 "));
}

TEST_F(HttpServerTest, AConnectionServesSeveralRequests) {
  UniqueFd fd = Connect();
  for (int i = 0; i < 3; ++i) {
    Send(fd.get(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(absl::StrContains(Receive(fd.get(), "ok "), "keep-alive"));
  }
  Send(fd.get(), absl::StrCat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz", kClose));
  EXPECT_TRUE(absl::StrContains(Receive(fd.get()), "Connection: close"));
}

TEST_F(HttpServerTest, ALargeBodyArrivesWhole) {
  EXPECT_GT(Ask(absl::StrCat("GET /big", kClose)).size(), size_t{1} << 20);
}

TEST_F(HttpServerTest, HostileRequestsAreRefused) {
  EXPECT_TRUE(absl::StartsWith(Ask("nonsense\r\n\r\n"), "HTTP/1.1 400 "));
  EXPECT_TRUE(absl::StartsWith(
      Ask(absl::StrCat("GET /healthz HTTP/1.1\r\nX: ", std::string(20000, 'x'), "\r\n\r\n")),
      "HTTP/1.1 431 "));
  const std::string with_body =
      Ask("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
  EXPECT_TRUE(absl::StartsWith(with_body, "HTTP/1.1 400 ")) << with_body;
  EXPECT_TRUE(absl::StartsWith(Ask(absl::StrCat("GET /healthz", kClose)), "HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, ConnectionsAreBounded) {
  std::vector<UniqueFd> open;
  for (int i = 0; i < 32; ++i) {
    open.push_back(Connect());
    Send(open.back().get(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_FALSE(Receive(open.back().get(), "ok ").empty()) << i;
  }
  EXPECT_EQ(Ask(absl::StrCat("GET /healthz", kClose)), "");
  open.clear();
  // The server sees the ends in its own time.
  std::string got;
  for (int i = 0; i < 1000 && got.empty(); ++i) got = Ask(absl::StrCat("GET /healthz", kClose));
  EXPECT_TRUE(absl::StartsWith(got, "HTTP/1.1 200 ")) << got;
}

TEST_F(HttpServerTest, StopClosesConnectionsAndMayBeRepeated) {
  UniqueFd fd = Connect();
  Send(fd.get(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_FALSE(Receive(fd.get(), "ok ").empty());
  server_.Stop();
  server_.Stop();
  EXPECT_EQ(Receive(fd.get()), "");
}

TEST_F(HttpServerTest, BadAddressesAreRefused) {
  HttpServer other;
  EXPECT_EQ(other.Start(server_.address()).code(), absl::StatusCode::kAlreadyExists);
  for (const char* address :
       {"", "127.0.0.1", "x:1", "127.0.0.1:x", "127.0.0.1:99999", "[::1:80"}) {
    EXPECT_EQ(other.Start(address).code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

}  // namespace
}  // namespace berth
