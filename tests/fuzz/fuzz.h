// What the fuzz targets share: checks that hold for any input, and ways to cut an input into
// pieces.
#ifndef BERTH_TESTS_FUZZ_FUZZ_H_
#define BERTH_TESTS_FUZZ_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/string_view.h"

// A finding unless `condition` holds.
#define FUZZ_CHECK(condition)                                                       \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      abort();                                                                      \
    }                                                                               \
  } while (false)

namespace berth {

inline absl::string_view Text(const uint8_t* data, size_t size) {
  return absl::string_view(reinterpret_cast<const char*>(data), size);
}

// The first byte as a choice among `count`; 0 of an empty input.
inline unsigned TakeChoice(absl::string_view* input, unsigned count) {
  if (input->empty()) return 0;
  const auto byte = static_cast<unsigned char>(input->front());
  input->remove_prefix(1);
  return byte % count;
}

// The input up to the first newline, which is dropped; all of it without one.
inline absl::string_view TakeLine(absl::string_view* input) {
  const size_t end = input->find('\n');
  const absl::string_view line = input->substr(0, end);
  input->remove_prefix(end == absl::string_view::npos ? input->size() : end + 1);
  return line;
}

}  // namespace berth

#endif  // BERTH_TESTS_FUZZ_FUZZ_H_
