#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/status/statusor.h"
#include "snapshotter/unpack/decompressor.h"
#include "tests/fuzz/fuzz.h"

// The first byte is how much the input gives at once, the second how much is read.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t kEnough = 4u << 20;
  absl::string_view input = berth::Text(data, size);
  const size_t piece = 1u << berth::TakeChoice(&input, 17);
  std::vector<char> buffer(1u << berth::TakeChoice(&input, 19));
  const size_t all = input.size();
  berth::Decompressor decompressor([&](char* to, size_t room) -> absl::StatusOr<size_t> {
    const size_t given = std::min({piece, room, input.size()});
    memcpy(to, input.data(), given);
    input.remove_prefix(given);
    return given;
  });
  uint64_t out = 0;
  while (out < kEnough) {
    const auto got = decompressor.Read(buffer.data(), buffer.size());
    if (!got.ok()) return 0;
    FUZZ_CHECK(*got <= buffer.size());
    out += *got;
    if (*got == buffer.size()) continue;
    FUZZ_CHECK(decompressor.compressed_bytes() == all);
    const auto end = decompressor.Read(buffer.data(), buffer.size());
    FUZZ_CHECK(end.ok() && *end == 0);
    return 0;
  }
  return 0;
}
