#include "server/streaming/stream_protocol.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace berth {
namespace {

constexpr char kPortForward[] = "portforward.k8s.io";

const std::vector<StreamProtocol>& SpdyTable() {
  static const auto* const table = new std::vector<StreamProtocol>{
      {.name = "v4.channel.k8s.io", .version = 4},
      {.name = "v3.channel.k8s.io", .version = 3},
      {.name = "v2.channel.k8s.io", .version = 2},
      {.name = "channel.k8s.io", .version = 1},
  };
  return *table;
}

// Over WebSockets the first version can resize already.
const std::vector<StreamProtocol>& WebSocketTable() {
  static const auto* const table = new std::vector<StreamProtocol>{
      {.name = "v5.channel.k8s.io", .version = 5},
      {.name = "v4.channel.k8s.io", .version = 4},
      {.name = "v4.base64.channel.k8s.io", .version = 4, .base64 = true},
      {.name = "channel.k8s.io", .version = 3},
      {.name = "base64.channel.k8s.io", .version = 3, .base64 = true},
  };
  return *table;
}

const std::vector<StreamProtocol>& WebSocketForwardTable() {
  static const auto* const table = new std::vector<StreamProtocol>{
      {.name = "SPDY/3.1+portforward.k8s.io", .version = 4, .tunnel = true},
      {.name = "v4.channel.k8s.io", .version = 4},
      {.name = "v4.base64.channel.k8s.io", .version = 4, .base64 = true},
  };
  return *table;
}

std::optional<StreamProtocol> Choose(const std::vector<StreamProtocol>& table,
                                     const std::vector<std::string>& offered) {
  for (const std::string& name : offered) {
    for (const StreamProtocol& protocol : table) {
      if (protocol.name == name) return protocol;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<StreamProtocol> ChooseSpdyProtocol(StreamKind kind,
                                                 const std::vector<std::string>& offered) {
  if (kind != StreamKind::kPortForward) return Choose(SpdyTable(), offered);
  return Choose({{.name = kPortForward, .version = 1}}, offered);
}

std::optional<StreamProtocol> ChooseWebSocketProtocol(StreamKind kind,
                                                      const std::vector<std::string>& offered) {
  const bool forward = kind == StreamKind::kPortForward;
  if (offered.empty()) return StreamProtocol{.name = "", .version = forward ? 4 : 3};
  return Choose(forward ? WebSocketForwardTable() : WebSocketTable(), offered);
}

std::vector<std::string> SpdyProtocols(StreamKind kind) {
  if (kind == StreamKind::kPortForward) return {kPortForward};
  std::vector<std::string> names;
  for (const StreamProtocol& protocol : SpdyTable()) names.push_back(protocol.name);
  return names;
}

std::vector<std::string> SplitHeaderList(absl::string_view value) {
  std::vector<std::string> items;
  for (absl::string_view item : absl::StrSplit(value, ',')) {
    item = absl::StripAsciiWhitespace(item);
    if (!item.empty()) items.emplace_back(item);
  }
  return items;
}

}  // namespace berth
