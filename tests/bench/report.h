// Lines of a benchmark's report, and its end if a step fails.
#ifndef BERTH_TESTS_BENCH_REPORT_H_
#define BERTH_TESTS_BENCH_REPORT_H_

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/samples.h"

namespace berth::testing {

[[noreturn]] inline void Die(const std::string& what, const absl::Status& status) {
  fprintf(stderr, "cri_bench: %s: %s\n", what.c_str(), status.ToString().c_str());
  exit(1);
}

inline void Require(const absl::Status& status, const char* what) {
  if (!status.ok()) Die(what, status);
}

template <typename T>
T Require(absl::StatusOr<T> result, const char* what) {
  if (!result.ok()) Die(what, result.status());
  return *std::move(result);
}

inline void Print(const std::string& metric, const char* unit, const Samples& samples) {
  printf("%s\t%s\t%.3f\t%.3f\t%.3f\t%d\n", metric.c_str(), unit, samples.Percentile(0.5),
         samples.Percentile(0.9), samples.Percentile(0.99), samples.size());
  fflush(stdout);
}

inline void PrintValue(const std::string& metric, const char* unit, double value) {
  Samples one;
  one.AddValue(value);
  Print(metric, unit, one);
}

inline void PrintUnimplemented(const std::string& metric, const char* unit) {
  printf("%s\t%s\tunimplemented\t\t\t0\n", metric.c_str(), unit);
}

}  // namespace berth::testing

#endif  // BERTH_TESTS_BENCH_REPORT_H_
