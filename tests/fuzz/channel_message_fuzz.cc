#include <map>
#include <set>
#include <string>

#include "server/streaming/channel_message.h"
#include "server/streaming/terminal_size.h"
#include "tests/fuzz/fuzz.h"

namespace {

class Channels : public berth::ChannelVisitor {
 public:
  void OnChannelData(int channel, absl::string_view bytes) override {
    FUZZ_CHECK(channel >= 0 && channel <= 255 && !bytes.empty());
    data[channel].append(bytes.data(), bytes.size());
  }
  void OnChannelClosed(int channel) override { closed.insert(channel); }
  std::map<int, std::string> data;
  std::set<int> closed;
};

}  // namespace

// Lines are messages. They are read at once and in pieces, which must not matter.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  const unsigned form = berth::TakeChoice(&input, 3);
  const size_t step = 1 + berth::TakeChoice(&input, 16);
  Channels whole, pieces;
  berth::ChannelReader first(&whole, form == 1, form == 2), second(&pieces, form == 1, form == 2);
  berth::TerminalSizeReader sizes;
  bool good = true, also_good = true;
  while (!input.empty() && good && also_good) {
    const absl::string_view line = berth::TakeLine(&input);
    good = first.Read(line, true).ok();
    for (size_t i = 0; i < line.size() && also_good; i += step)
      also_good = second.Read(line.substr(i, step), i + step >= line.size()).ok();
    if (line.empty()) also_good = second.Read("", true).ok();
    sizes.Read(line);
  }
  FUZZ_CHECK(good == also_good);
  if (!good) return 0;
  FUZZ_CHECK(whole.data == pieces.data);
  FUZZ_CHECK(whole.closed == pieces.closed);
  return 0;
}
