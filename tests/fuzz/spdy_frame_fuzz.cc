#include <string>

#include "server/streaming/spdy_frame.h"
#include "tests/fuzz/fuzz.h"

namespace {

// What is heard, as text, so that two readings can be compared.
class Listener : public berth::SpdyVisitor {
 public:
  void OnSynStream(uint32_t id, bool fin, const berth::SpdyHeaders& headers) override {
    Headers(id, fin, headers);
  }
  void OnSynReply(uint32_t id, bool fin, const berth::SpdyHeaders& headers) override {
    Headers(id, fin, headers);
  }
  void OnHeaders(uint32_t id, bool fin, const berth::SpdyHeaders& headers) override {
    Headers(id, fin, headers);
  }
  void OnReset(uint32_t id, uint32_t status) override { Say('r', id, status); }
  void OnInitialWindow(uint32_t bytes) override {
    FUZZ_CHECK(bytes <= berth::kSpdyMaxStream);
    Say('i', bytes, 0);
  }
  void OnPing(uint32_t id) override { Say('p', id, 0); }
  void OnGoAway(uint32_t status) override { Say('g', status, 0); }
  void OnWindowUpdate(uint32_t id, uint32_t delta) override {
    FUZZ_CHECK(delta > 0 && delta <= berth::kSpdyMaxStream);
    Say('w', id, delta);
  }
  void OnData(uint32_t id, absl::string_view bytes, bool fin) override {
    FUZZ_CHECK(id > 0 && id <= berth::kSpdyMaxStream);
    data.append(bytes.data(), bytes.size());
    if (fin) Say('d', id, 0);
  }
  std::string heard, data;

 private:
  void Say(char what, uint32_t a, uint32_t b) {
    heard += what + std::to_string(a) + "," + std::to_string(b) + ";";
  }
  void Headers(uint32_t id, bool fin, const berth::SpdyHeaders& headers) {
    size_t bytes = 0;
    for (const auto& [name, value] : headers) bytes += name.size() + value.size();
    FUZZ_CHECK(id > 0 && bytes <= berth::kMaxSpdyHeaderBytes);
    FUZZ_CHECK(headers.size() <= berth::kMaxSpdyHeaderCount);
    Say('h', id, fin ? 1 : 0);
  }
};

}  // namespace

// The first byte says how the bytes are cut; what is heard must not depend on it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  const size_t step = 1 + berth::TakeChoice(&input, 64);
  Listener whole, pieces;
  berth::SpdyReader first(&whole), second(&pieces);
  const bool good = first.Read(input).ok();
  bool also_good = true;
  for (size_t i = 0; i < input.size(); i += step)
    also_good = second.Read(input.substr(i, step)).ok();
  FUZZ_CHECK(good == also_good);
  FUZZ_CHECK(whole.heard == pieces.heard);
  FUZZ_CHECK(whole.data == pieces.data);
  return 0;
}
