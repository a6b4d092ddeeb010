#include <cstring>
#include <vector>

#include "runtime/keeper/protocol.h"
#include "tests/fuzz/fuzz.h"

namespace {

// The bytes at the start of a buffer that is as large as what a socket's reader has.
template <typename T>
T Received(absl::string_view bytes) {
  T message;
  memset(&message, 0xa5, sizeof message);
  memcpy(&message, bytes.data(), bytes.size() < sizeof message ? bytes.size() : sizeof message);
  return message;
}

void Request(absl::string_view bytes) {
  const unsigned fds = berth::TakeChoice(&bytes, berth::kMaxRequestFds + 2);
  const auto request = Received<berth::KeeperRequest>(bytes);
  if (berth::CheckRequest(request, bytes.size(), static_cast<int>(fds)) != 0) return;
  FUZZ_CHECK(fds >= 1 && fds <= berth::kMaxRequestFds);
  if (berth::KeeperIdIsValid(request.id)) FUZZ_CHECK(strlen(request.id) < sizeof request.id);
}

void Reply(absl::string_view bytes) {
  const auto reply = Received<berth::KeeperReply>(bytes);
  if (!berth::ReplyIsValid(reply, bytes.size())) return;
  FUZZ_CHECK(reply.group_count <= berth::kMaxPlanGroups);
}

void Parameters(absl::string_view bytes) {
  if (bytes.size() < sizeof(berth::KeeperParameters)) return;
  std::vector<uint64_t> buffer((bytes.size() + 7) / 8);
  char* copy = reinterpret_cast<char*>(buffer.data());
  memcpy(copy, bytes.data(), bytes.size());
  if (!berth::ParametersAreValid(copy, bytes.size())) return;
  const auto& p = *reinterpret_cast<const berth::KeeperParameters*>(copy);
  const char* text = copy + sizeof p;
  for (uint32_t i = 0; i < 4 + p.cgroups + p.pod_cgroups + 2 * p.sysctls; ++i) {
    FUZZ_CHECK(text < copy + bytes.size());
    text += strlen(text) + 1;
  }
  FUZZ_CHECK(text == copy + bytes.size());
}

void Exit(absl::string_view bytes) {
  const auto exit = Received<berth::KeeperExit>(bytes);
  if (berth::ExitIsValid(exit, bytes.size())) FUZZ_CHECK(strlen(exit.id) < sizeof exit.id);
}

}  // namespace

// The first byte is the kind of message.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  switch (berth::TakeChoice(&input, 4)) {
    case 0:
      Request(input);
      break;
    case 1:
      Reply(input);
      break;
    case 2:
      Parameters(input);
      break;
    default:
      Exit(input);
      break;
  }
  return 0;
}
