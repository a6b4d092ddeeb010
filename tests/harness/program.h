// Programs that a test runs: daemons that it stops itself, and commands whose output it wants.
#ifndef BERTH_TESTS_HARNESS_PROGRAM_H_
#define BERTH_TESTS_HARNESS_PROGRAM_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace berth::testing {

// A running program. Destroying it kills (SIGKILL) and reaps it.
class Program {
 public:
  // argv[0] is looked up in PATH unless it has a slash. stdout and stderr are appended to `log`,
  // stdin is /dev/null; `environment` is added to the test's own.
  static absl::StatusOr<std::unique_ptr<Program>> Start(
      const std::vector<std::string>& argv, const std::string& log,
      const std::map<std::string, std::string>& environment = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  bool running() const;
  void Signal(int signal);
  // The status as waitpid gives it; DeadlineExceeded if it still runs then.
  absl::StatusOr<int> Wait(absl::Duration timeout);

 private:
  Program(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  const pid_t pid_;
  const UniqueFd pidfd_;
  bool reaped_ = false;
  int status_ = 0;
};

struct CommandResult {
  int exit_code = 0;
  std::string output;  // stdout and stderr
};

// Runs a command to its end, at most `timeout`.
absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv,
                                         absl::Duration timeout = absl::Seconds(60));
// The output of `sh -c script`; a test failure if its exit code isn't 0.
std::string Shell(const std::string& script);

// A program of this project (berthd, …): in $BERTH_BIN, else among the test's runfiles, else in
// build/bin. Empty if it is in none.
std::string FindOwnProgram(const std::string& name);

// GETs http://HOST:PORT/PATH by curl: the body, or an error with what curl said.
absl::StatusOr<std::string> HttpGet(const std::string& url);

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_PROGRAM_H_
