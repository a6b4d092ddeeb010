// Terminal sizes as clients send them: JSON objects one after another, {"Width":80,"Height":24}.
#ifndef BERTH_SERVER_STREAMING_TERMINAL_SIZE_H_
#define BERTH_SERVER_STREAMING_TERMINAL_SIZE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth {

struct TerminalSize {
  uint16_t width = 0;
  uint16_t height = 0;
};

class TerminalSizeReader {
 public:
  // The sizes that are complete with `bytes`. After something that is no such object, none any more.
  std::vector<TerminalSize> Read(absl::string_view bytes);
  bool broken() const { return broken_; }

 private:
  std::string object_;  // so far
  bool broken_ = false;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_TERMINAL_SIZE_H_
