#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/unique_fd.h"
#include "runtime/keeper_client.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

namespace {

// In reach of both names: what the record says, and a fixed one.
std::string NameFor(absl::string_view record) {
  constexpr size_t kIdAt = 8;
  if (record.size() <= kIdAt) return "short";
  absl::string_view id = record.substr(kIdAt, 72);
  id = id.substr(0, id.find('\0'));
  return id.empty() || id.find('/') != absl::string_view::npos ? "other" : std::string(id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view record = berth::Text(data, size);
  const std::string path = absl::StrCat(berth::ScratchDirectory(), "/exit-", NameFor(record));
  {
    const berth::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    FUZZ_CHECK(fd.valid() && berth::WriteFd(fd.get(), record).ok());
  }
  const auto records = berth::ReadExitRecords(berth::ScratchDirectory());
  FUZZ_CHECK(records.ok() && records->size() <= 1);
  if (!records->empty()) FUZZ_CHECK(records->front().first.str() == NameFor(record));
  FUZZ_CHECK(unlink(path.c_str()) == 0);
  return 0;
}
