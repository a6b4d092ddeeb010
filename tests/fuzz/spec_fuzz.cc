#include "nlohmann/json.hpp"
#include "runtime/compiler.h"
#include "runtime/spec/spec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan_walk.h"

namespace {

berth::CompileInput InputOf(unsigned choice) {
  berth::CompileInput input;
  input.capability_limit = berth::kAllCapabilities;
  input.in_pod = (choice & 1) != 0;
  if ((choice & 2) != 0) {
    input.lowers = {"/layers/2/fs", "/layers/1/fs"};
    input.upper = "/upper";
    input.work = "/work";
  }
  if ((choice & 4) != 0) {
    input.cgroups = {{"/sys/fs/cgroup/x", "cgroup", berth::kCgroupV2 | berth::kCgroupExecParent}};
  }
  if ((choice & 8) != 0) {
    input.joined_pid = berth::PidMode::kTarget;
    input.pid_target = "target";
  }
  return input;
}

}  // namespace

// The first byte is what the spec doesn't say.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = berth::Text(data, size);
  const berth::CompileInput input = InputOf(berth::TakeChoice(&text, 16));
  const auto spec = berth::ParseSpec(text);
  if (!spec.ok()) return 0;
  const std::string json = berth::SpecToJson(*spec).dump();
  const auto again = berth::ParseSpec(json);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(berth::SpecToJson(*again).dump() == json);
  const auto plan = berth::CompilePlan(*spec, input);
  if (plan.ok()) berth::CheckCompiledPlan(*plan);
  if (!spec->process) return 0;
  const auto exec = berth::CompileExecPlan(*spec, *spec->process, input);
  if (exec.ok()) berth::CheckCompiledPlan(*exec);
  return 0;
}
