// Reads all of a plan as its users do, so that a sanitizer sees what ValidatePlan let pass.
#ifndef BERTH_TESTS_FUZZ_PLAN_WALK_H_
#define BERTH_TESTS_FUZZ_PLAN_WALK_H_

#include "absl/strings/string_view.h"
#include "runtime/plan.h"

namespace berth {

// `plan` is validated. Every table, string and number is read.
void WalkPlan(const Plan& plan);

// For what a compiler made: copies it to a buffer of exactly its size, which must be valid, and
// walks.
void CheckCompiledPlan(absl::string_view bytes);

}  // namespace berth

#endif  // BERTH_TESTS_FUZZ_PLAN_WALK_H_
