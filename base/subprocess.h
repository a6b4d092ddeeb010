// Runs another program to its end: fixed argv and environment, bytes on stdin, bounded output, a
// deadline.
//
// The program gets a session (and so a process group) of its own, no descriptor but 0, 1 and 2, no
// blocked or ignored signal, and stdin as a regular file (a memfd), so that no peer can stall the
// writer. It is spawned as with vfork: the cost does not grow with the size of the daemon, and
// other threads go on.
//
// When the deadline passes, or stdout grows beyond its bound, the process group and what else
// descends from the program is killed by SIGKILL. The program is always reaped: one that outlives
// SIGKILL for two seconds (uninterruptible sleep) is reaped by a later call. Descendants that it
// leaves behind after a normal exit stay, and their hold on the pipes delays nothing.
//
// The process must not ignore SIGCHLD, nor reap children it does not know.
#ifndef BERTH_BASE_SUBPROCESS_H_
#define BERTH_BASE_SUBPROCESS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace berth {

struct SubprocessOptions {
  // argv[0] is the path of the program, not looked up in PATH.
  std::vector<std::string> argv;
  // The whole environment, NAME=VALUE.
  std::vector<std::string> environment;
  std::string stdin_data;
  // More than this on stdout kills the program.
  size_t stdout_limit = 1u << 20;
  // Of stderr the last bytes are kept.
  size_t stderr_tail = 4096;
};

struct SubprocessResult {
  // The exit code, or -1 if a signal ended the program.
  int exit_code = -1;
  // The signal that ended it, or 0.
  int signal = 0;
  std::string stdout_data;
  std::string stderr_tail;
  // True if we killed it at the deadline or for its output; then the rest is what was seen until
  // then.
  bool timed_out = false;
  bool output_too_large = false;
};

// Any thread may call it; it blocks until the program has ended. An error means that the program
// was not started (NotFound, PermissionDenied, ResourceExhausted, ...); all else is in the result.
// A deadline in the past still kills a program that was started just before.
absl::StatusOr<SubprocessResult> RunSubprocess(const SubprocessOptions& options,
                                               absl::Time deadline = absl::InfiniteFuture());

}  // namespace berth

#endif  // BERTH_BASE_SUBPROCESS_H_
