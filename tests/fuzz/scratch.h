// A directory for a fuzz target's files, below $TMPDIR or /tmp, removed at the process's orderly
// end.
#ifndef BERTH_TESTS_FUZZ_SCRATCH_H_
#define BERTH_TESTS_FUZZ_SCRATCH_H_

#include <string>

namespace berth {

// Makes it at the first call.
const std::string& ScratchDirectory();

}  // namespace berth

#endif  // BERTH_TESTS_FUZZ_SCRATCH_H_
