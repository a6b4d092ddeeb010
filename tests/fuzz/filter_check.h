// What the kernel demands of a seccomp filter before it takes it: seccomp_check_filter
// (kernel/seccomp.c) and bpf_check_classic (net/core/filter.c), Linux 6.1.
#ifndef BERTH_TESTS_FUZZ_FILTER_CHECK_H_
#define BERTH_TESTS_FUZZ_FILTER_CHECK_H_

#include <linux/filter.h>

#include <vector>

namespace berth {

// Null, or which rule the program breaks. Of the instructions only those that our compiler emits
// are known: loads of the call's data, jumps, AND, and returns of constants.
const char* FilterFault(const std::vector<sock_filter>& program);

}  // namespace berth

#endif  // BERTH_TESTS_FUZZ_FILTER_CHECK_H_
