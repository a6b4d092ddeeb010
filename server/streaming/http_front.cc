#include "server/streaming/http_front.h"

#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/status.hpp>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace berth {
namespace {

namespace http = boost::beast::http;
using BeastText = boost::beast::string_view;

absl::string_view View(BeastText text) { return absl::string_view(text.data(), text.size()); }

constexpr size_t kMaxProtocols = 32;

std::vector<std::string> HeaderItems(const FrontHead& head, BeastText name) {
  std::vector<std::string> items;
  const auto range = head.equal_range(name);
  for (auto it = range.first; it != range.second; ++it) {
    for (std::string& item : SplitHeaderList(View(it->value()))) {
      if (items.size() < kMaxProtocols) items.push_back(std::move(item));
    }
  }
  return items;
}

bool HasItem(const FrontHead& head, BeastText name, absl::string_view wanted) {
  for (const std::string& item : HeaderItems(head, name)) {
    if (absl::EqualsIgnoreCase(item, wanted)) return true;
  }
  return false;
}

bool ReadPath(absl::string_view target, FrontRequest* request) {
  target = target.substr(0, target.find('?'));
  if (absl::ConsumePrefix(&target, "/exec/")) {
    request->kind = StreamKind::kExec;
  } else if (absl::ConsumePrefix(&target, "/attach/")) {
    request->kind = StreamKind::kAttach;
  } else if (absl::ConsumePrefix(&target, "/portforward/")) {
    request->kind = StreamKind::kPortForward;
  } else {
    return false;
  }
  request->token = std::string(target);
  return true;
}

}  // namespace

bool ReadFront(const FrontHead& head, FrontRequest* request, FrontAnswer* answer) {
  if (!ReadPath(View(head.target()), request)) {
    *answer = {404, "not found"};
    return false;
  }
  if (head.method() != http::verb::get && head.method() != http::verb::post) {
    *answer = {405, "method not allowed", {{"Allow", "GET, POST"}}};
    return false;
  }
  const bool upgrade = HasItem(head, "Connection", "upgrade");
  // RFC 6455 has GET only.
  request->websocket = upgrade && HasItem(head, "Upgrade", "websocket") &&
                       head.method() == http::verb::get && head.version() >= 11;
  request->spdy = upgrade && HasItem(head, "Upgrade", "SPDY/3.1");
  request->protocols = HeaderItems(
      head, request->websocket ? "Sec-WebSocket-Protocol" : "X-Stream-Protocol-Version");
  return true;
}

bool ChooseFrontProtocol(const FrontRequest& request, StreamProtocol* protocol,
                         FrontAnswer* answer) {
  if (!request.websocket && request.protocols.empty()) {
    *answer = {400, "X-Stream-Protocol-Version: is missing"};
    return false;
  }
  const std::optional<StreamProtocol> chosen =
      request.websocket ? ChooseWebSocketProtocol(request.kind, request.protocols)
                        : ChooseSpdyProtocol(request.kind, request.protocols);
  if (!chosen.has_value()) {
    *answer = {403, "none of the sub-protocols that the client offers is served"};
    for (std::string& name : SpdyProtocols(request.kind)) {
      answer->headers.emplace_back("X-Accepted-Stream-Protocol-Versions", std::move(name));
    }
    return false;
  }
  if (!request.websocket && !request.spdy) {
    *answer = {400, "an upgrade to SPDY/3.1 or websocket is wanted", {{"Upgrade", "SPDY/3.1"}}};
    return false;
  }
  *protocol = *chosen;
  return true;
}

std::string EncodeFrontAnswer(const FrontAnswer& answer) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(answer.status));
  std::string bytes =
      absl::StrCat("HTTP/1.1 ", answer.status, " ", View(reason),
                   "\r\nContent-Type: text/plain; charset=utf-8\r\n",
                   "Content-Length: ", answer.text.size() + 1, "\r\nConnection: close\r\n");
  for (const auto& [name, value] : answer.headers)
    absl::StrAppend(&bytes, name, ": ", value, "\r\n");
  return absl::StrCat(bytes, "\r\n", answer.text, "\n");
}

std::string EncodeSpdyUpgrade(const StreamProtocol& protocol) {
  return absl::StrCat(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
      "X-Stream-Protocol-Version: ",
      protocol.name, "\r\n\r\n");
}

}  // namespace berth
