#include <errno.h>

#include <cstring>
#include <vector>

#include "runtime/keeper_failure.h"
#include "runtime/plan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan_walk.h"

// A buffer of exactly the input's size, aligned as a mapping is. The three numbers that no mutation
// finds are set, but for every eighth input.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint64_t> buffer(size / sizeof(uint64_t));
  const size_t bytes = buffer.size() * sizeof(uint64_t);
  if (bytes == 0) return 0;
  memcpy(buffer.data(), data, bytes);
  auto* plan = reinterpret_cast<berth::Plan*>(buffer.data());
  if (bytes >= sizeof(berth::Plan) && size % 8 != 0) {
    plan->magic = berth::kPlanMagic;
    plan->version = berth::kPlanVersion;
    plan->size = static_cast<uint32_t>(bytes);
  }
  if (berth::ValidatePlan(buffer.data(), bytes) != nullptr) return 0;
  berth::WalkPlan(*plan);
  // A failure that a keeper reports of it, made of what executors don't read.
  const absl::string_view text = berth::Text(reinterpret_cast<const uint8_t*>(plan), bytes);
  const berth::Failure failure = {plan->console_rows % 64, plan->rootfs.reserved, ENOENT};
  FUZZ_CHECK(!berth::DescribeFailure(text, failure).ok());
  return 0;
}
