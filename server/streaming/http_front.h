// What a client asks of the streaming server with its HTTP request, before any of it is done.
#ifndef BERTH_SERVER_STREAMING_HTTP_FRONT_H_
#define BERTH_SERVER_STREAMING_HTTP_FRONT_H_

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <string>
#include <utility>
#include <vector>

#include "server/streaming/stream_protocol.h"

namespace berth {

inline constexpr size_t kMaxFrontHead = 16 << 10;

using FrontHead = boost::beast::http::request<boost::beast::http::empty_body>;

struct FrontRequest {
  StreamKind kind = StreamKind::kExec;
  std::string token;
  bool websocket = false;
  bool spdy = false;                   // asks for the upgrade to SPDY/3.1
  std::vector<std::string> protocols;  // in the client's order
};

// An answer that ends the connection.
struct FrontAnswer {
  int status = 200;
  std::string text;
  std::vector<std::pair<std::string, std::string>> headers;
};

// GET or POST of /exec/TOKEN, /attach/TOKEN or /portforward/TOKEN. False with *answer set for
// anything else.
bool ReadFront(const FrontHead& head, FrontRequest* request, FrontAnswer* answer);

// The sub-protocol for the request; false with *answer set if there is none.
bool ChooseFrontProtocol(const FrontRequest& request, StreamProtocol* protocol,
                         FrontAnswer* answer);

// The bytes of an answer, and of the one that accepts an upgrade to SPDY.
std::string EncodeFrontAnswer(const FrontAnswer& answer);
std::string EncodeSpdyUpgrade(const StreamProtocol& protocol);

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_HTTP_FRONT_H_
