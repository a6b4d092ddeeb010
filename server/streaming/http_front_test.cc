#include "server/streaming/http_front.h"

#include <gtest/gtest.h>

#include <boost/beast/http/parser.hpp>

namespace berth {
namespace {

namespace http = boost::beast::http;

FrontHead Head(const std::string& lines, http::verb method = http::verb::get,
               const std::string& target = "/exec/TOKEN") {
  http::request_parser<http::empty_body> parser;
  boost::system::error_code error;
  const std::string text =
      std::string(http::to_string(method)) + " " + target + " HTTP/1.1\r\n" + lines + "\r\n";
  parser.put(boost::asio::buffer(text), error);
  EXPECT_FALSE(error) << error.message();
  return parser.get();
}

int StatusOf(const FrontHead& head) {
  FrontRequest request;
  FrontAnswer answer;
  StreamProtocol protocol;
  if (!ReadFront(head, &request, &answer)) return answer.status;
  if (!ChooseFrontProtocol(request, &protocol, &answer)) return answer.status;
  return 101;
}

std::string ProtocolOf(const FrontHead& head) {
  FrontRequest request;
  FrontAnswer answer;
  StreamProtocol protocol;
  if (!ReadFront(head, &request, &answer)) return "refused";
  if (!ChooseFrontProtocol(request, &protocol, &answer)) return "none";
  return protocol.name;
}

constexpr char kSpdy[] = "Connection: keep-alive, Upgrade\r\nUpgrade: spdy/3.1\r\n";
constexpr char kWebSocket[] = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

TEST(HttpFrontTest, PathsAndMethods) {
  FrontRequest request;
  FrontAnswer answer;
  EXPECT_TRUE(ReadFront(Head("", http::verb::post, "/portforward/abc?x=1"), &request, &answer));
  EXPECT_EQ(request.kind, StreamKind::kPortForward);
  EXPECT_EQ(request.token, "abc");
  EXPECT_TRUE(ReadFront(Head("", http::verb::get, "/attach/"), &request, &answer));
  EXPECT_EQ(request.token, "");
  EXPECT_EQ(StatusOf(Head("", http::verb::get, "/")), 404);
  EXPECT_EQ(StatusOf(Head("", http::verb::get, "/metrics")), 404);
  EXPECT_EQ(StatusOf(Head("", http::verb::put)), 405);
}

TEST(HttpFrontTest, TheClientsFirstKnownProtocolIsTaken) {
  const std::string spdy = kSpdy;
  EXPECT_EQ(ProtocolOf(Head(spdy + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
                                   "X-Stream-Protocol-Version: v3.channel.k8s.io\r\n")),
            "v4.channel.k8s.io");
  EXPECT_EQ(ProtocolOf(Head(spdy + "X-Stream-Protocol-Version: v9, v2.channel.k8s.io,\r\n")),
            "v2.channel.k8s.io");
  EXPECT_EQ(
      ProtocolOf(Head(std::string(kWebSocket) +
                      "Sec-WebSocket-Protocol: v6, v5.channel.k8s.io, v4.channel.k8s.io\r\n")),
      "v5.channel.k8s.io");
  EXPECT_EQ(ProtocolOf(Head(kWebSocket)), "");
}

TEST(HttpFrontTest, WhatIsMissingHasItsStatus) {
  EXPECT_EQ(StatusOf(Head(kSpdy)), 400);
  EXPECT_EQ(StatusOf(Head(std::string(kSpdy) + "X-Stream-Protocol-Version: \r\n")), 400);
  EXPECT_EQ(StatusOf(Head(std::string(kSpdy) + "X-Stream-Protocol-Version: v9\r\n")), 403);
  EXPECT_EQ(StatusOf(Head("X-Stream-Protocol-Version: v4.channel.k8s.io\r\n")), 400);
  EXPECT_EQ(StatusOf(Head(std::string(kWebSocket) + "Sec-WebSocket-Protocol: v9\r\n")), 403);
  EXPECT_EQ(StatusOf(Head(kWebSocket, http::verb::post)), 400);
}

TEST(HttpFrontTest, ARefusalNamesWhatIsServed) {
  FrontRequest request;
  FrontAnswer answer;
  StreamProtocol protocol;
  ASSERT_TRUE(
      ReadFront(Head(std::string(kSpdy) + "X-Stream-Protocol-Version: v9\r\n"), &request, &answer));
  ASSERT_FALSE(ChooseFrontProtocol(request, &protocol, &answer));
  const std::string text = EncodeFrontAnswer(answer);
  EXPECT_EQ(text.find("HTTP/1.1 403 Forbidden\r\n"), 0u);
  for (const char* name : {"v4", "v3", "v2"}) {
    EXPECT_NE(text.find(std::string("X-Accepted-Stream-Protocol-Versions: ") + name +
                        ".channel.k8s.io\r\n"),
              std::string::npos)
        << text;
  }
}

TEST(HttpFrontTest, ForwardsHaveTheirOwn) {
  const auto protocol = [](const std::string& lines) {
    return ProtocolOf(Head(lines, http::verb::get, "/portforward/t"));
  };
  EXPECT_EQ(protocol(std::string(kSpdy) + "X-Stream-Protocol-Version: portforward.k8s.io\r\n"),
            "portforward.k8s.io");
  EXPECT_EQ(protocol(std::string(kSpdy) + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"),
            "none");
  EXPECT_EQ(
      protocol(std::string(kWebSocket) + "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n"),
      "SPDY/3.1+portforward.k8s.io");
}

}  // namespace
}  // namespace berth
