#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>

#include "server/streaming/http_front.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  boost::beast::http::request_parser<boost::beast::http::empty_body> parser;
  parser.header_limit(berth::kMaxFrontHead);
  parser.body_limit(0);
  boost::system::error_code error;
  parser.put(boost::asio::buffer(data, size), error);
  if (error || !parser.is_header_done()) return 0;
  berth::FrontRequest request;
  berth::FrontAnswer answer;
  berth::StreamProtocol protocol;
  if (!berth::ReadFront(parser.get(), &request, &answer) ||
      !berth::ChooseFrontProtocol(request, &protocol, &answer)) {
    FUZZ_CHECK(answer.status >= 400 && answer.status < 500);
    const std::string text = berth::EncodeFrontAnswer(answer);
    FUZZ_CHECK(text.find("\r\n\r\n") != std::string::npos);
    return 0;
  }
  FUZZ_CHECK(request.websocket || request.spdy);
  FUZZ_CHECK(request.protocols.size() <= 32);
  return 0;
}
