// The real berthd on directories of its own, that a test starts, kills and starts again.
//
//   TestDaemon daemon({.name = "a"});
//   ASSERT_TRUE(daemon.Start().ok());
//   daemon.cri().RunPod(...);
//   daemon.Kill();                       // SIGKILL
//   ASSERT_TRUE(daemon.Start().ok());    // the same root and state
#ifndef BERTH_TESTS_HARNESS_TEST_DAEMON_H_
#define BERTH_TESTS_HARNESS_TEST_DAEMON_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/cri_client.h"
#include "tests/harness/program.h"

namespace berth::testing {

class TestDaemon {
 public:
  struct Options {
    std::string name = "a";  // distinguishes daemons of one test
    int metrics_port = 9626;
    std::string
        config;  // TOML, appended to the sections [cgroup] and [registry] that it always has
    std::vector<std::string> flags;
    std::string cni_plugins = "/usr/lib/cni";  // where CNI plugins are, besides the test's own
  };

  explicit TestDaemon(const Options& options);
  // Kills the daemon if it runs. Its pods stay: a test that wants them gone removes them.
  ~TestDaemon() = default;

  // Starts berthd and returns when Status answers. FailedPrecondition if it is not built; the log's
  // end in the message if it doesn't come up. `failpoints` as in base/failpoint.h.
  absl::Status Start(const std::string& failpoints = "",
                     const std::map<std::string, std::string>& environment = {});
  // The same without waiting for Status.
  absl::Status Launch(const std::string& failpoints = "",
                      const std::map<std::string, std::string>& environment = {});
  bool running() const { return program_ != nullptr && program_->running(); }
  pid_t pid() const { return program_->pid(); }
  // SIGKILL, and wait.
  void Kill();
  // SIGTERM: the exit status as waitpid gives it, DeadlineExceeded after 10 seconds.
  absl::StatusOr<int> Terminate();
  // Waits until a failpoint (or a bug) has ended the daemon.
  absl::StatusOr<int> WaitForEnd(absl::Duration timeout = absl::Seconds(20));

  // A client for the present daemon; a new one after each start.
  CriClient& cri() { return *client_; }

  // Removes every pod that the daemon lists. The first error, after trying all.
  absl::Status RemoveAllPods();

  std::string root() const { return directory_ + "/root"; }
  std::string state() const { return directory_ + "/state"; }
  std::string socket() const { return directory_ + "/berthd.sock"; }
  std::string cni_conf_dir() const { return directory_ + "/cni"; }
  std::string plugin_dir() const {
    return directory_ + "/plugins";
  }  // CNI plugins of the test's own
  std::string certs_dir() const { return directory_ + "/certs.d"; }
  std::string log_path() const { return directory_ + "/berthd.log"; }
  std::string pod_logs() const { return directory_ + "/pod-logs"; }
  std::string metrics_address() const;
  std::string directory() const { return directory_; }
  // The daemon's log so far, over all its lives.
  std::string Log() const;

  // Writes a bridge network (interface `bt-NAME`, subnet 10.77.0.0/24, portmap) into cni_conf_dir.
  absl::Status WriteCniConfig();

 private:
  const Options options_;
  const std::string directory_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<CriClient> client_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_TEST_DAEMON_H_
