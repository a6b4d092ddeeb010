#include "server/images/auth_challenge.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const berth::AuthChallenge& challenge :
       berth::ParseAuthChallenges(berth::Text(data, size))) {
    FUZZ_CHECK(!challenge.scheme.empty());
  }
  return 0;
}
