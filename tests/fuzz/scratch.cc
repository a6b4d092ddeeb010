#include "tests/fuzz/scratch.h"

#include <stdlib.h>

#include "base/files.h"
#include "tests/fuzz/fuzz.h"

namespace berth {

const std::string& ScratchDirectory() {
  static const std::string* directory = [] {
    const char* base = getenv("TMPDIR");
    std::string path = std::string(base == nullptr ? "/tmp" : base) + "/berth-fuzz-XXXXXX";
    FUZZ_CHECK(mkdtemp(path.data()) != nullptr);
    atexit([] { RemoveTree(ScratchDirectory()).IgnoreError(); });
    return new std::string(path);
  }();
  return *directory;
}

}  // namespace berth
