// The fixture of integration tests: a registry, a daemon, a client, and the check for leaks.
//
// Each test has a fresh daemon. At its end all pods are removed through CRI, the machine is
// compared with what it was when the daemon had just started, the daemon gets SIGTERM, and the
// machine is compared with what it was before. A leak fails the test and is named.
#ifndef BERTH_TESTS_HARNESS_DAEMON_TEST_H_
#define BERTH_TESTS_HARNESS_DAEMON_TEST_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/harness/cri_client.h"
#include "tests/harness/leak_check.h"
#include "tests/harness/pod_config.h"
#include "tests/harness/private_machine.h"
#include "tests/harness/program.h"
#include "tests/harness/test_daemon.h"
#include "tests/harness/test_registry.h"

// For absl::Status and StatusOr alike; the message is shown.
#define ASSERT_OK(expression) ASSERT_TRUE(::berth::testing::IsOk(expression))
#define EXPECT_OK(expression) EXPECT_TRUE(::berth::testing::IsOk(expression))
#define EXPECT_CODE(code, expression) EXPECT_TRUE(::berth::testing::HasCode(code, expression))
// Declares or assigns the value; a test failure that ends the function if there is none.
#define ASSERT_OK_AND_ASSIGN(lhs, expression) \
  ASSERT_OK_AND_ASSIGN_(BERTH_TEST_CONCAT_(berth_test_result_, __LINE__), lhs, expression)
#define ASSERT_OK_AND_ASSIGN_(result, lhs, expression) \
  auto result = (expression);                          \
  ASSERT_OK(result.status());                          \
  lhs = *std::move(result)
#define BERTH_TEST_CONCAT_(a, b) BERTH_TEST_CONCAT_INNER_(a, b)
#define BERTH_TEST_CONCAT_INNER_(a, b) a##b

namespace berth::testing {

::testing::AssertionResult IsOk(const absl::Status& status);
::testing::AssertionResult HasCode(absl::StatusCode code, const absl::Status& status);
template <typename T>
::testing::AssertionResult IsOk(const absl::StatusOr<T>& result) {
  return IsOk(result.status());
}
template <typename T>
::testing::AssertionResult HasCode(absl::StatusCode code, const absl::StatusOr<T>& result) {
  return HasCode(code, result.status());
}

// A pod that runs, with what its containers need.
struct TestPod {
  cri::PodSandboxConfig config;
  std::string id;
};

class DaemonTest : public ::testing::Test {
 protected:
  explicit DaemonTest(const TestDaemon::Options& options = {}) : daemon_(options) {}

  // Starts the daemon with an empty root and pulls the busybox image.
  void SetUp() override;
  void TearDown() override;

  CriClient& cri() { return daemon_.cri(); }
  const std::string& image() const { return image_; }

  // Kill -9 and start; the log keeps both lives.
  void Restart(const std::string& failpoints = "");

  // A host-network pod with its log directory set.
  cri::PodSandboxConfig PodConfig(const std::string& name);
  absl::StatusOr<TestPod> RunPod(const std::string& name) { return RunPod(PodConfig(name)); }
  absl::StatusOr<TestPod> RunPod(const cri::PodSandboxConfig& config);

  // A container of the busybox image.
  cri::ContainerConfig ContainerConfig(const std::string& name,
                                       const std::vector<std::string>& command);
  absl::StatusOr<std::string> Create(const TestPod& pod, cri::ContainerConfig config);
  absl::StatusOr<std::string> CreateAndStart(const TestPod& pod, cri::ContainerConfig config);
  // Starts `sh -c script` in a pod of its own.
  absl::StatusOr<std::string> Sleeper(const TestPod& pod, const std::string& name = "sleeper");

  // Runs `sh -c script` in the container: its output; a test failure if its exit code isn't 0.
  std::string Exec(const std::string& container, const std::string& script);
  // Runs a container to its end: its log's text (both streams, stripped of the CRI prefix).
  std::string RunToEnd(const TestPod& pod, cri::ContainerConfig config, int* exit_code = nullptr);

  // The host's pid of a container's main process, from verbose status; 0 with a failure if unknown.
  pid_t PidOf(const std::string& container);
  // The path of its cgroup below the hierarchies' roots, from verbose status.
  std::string CgroupOf(const std::string& container);
  // Keepers' pids in this machine.
  std::vector<pid_t> Keepers();

  // No leak check against the time before the daemon, for tests that break it on purpose.
  void IgnoreFiles(const std::string& text) { ignored_files_.push_back(text); }

  TestRegistry& registry_ = TestRegistry::Shared();
  TestDaemon daemon_;

 private:
  // The `info` of verbose status, which crictl reads as a JSON object.
  nlohmann::json InfoOf(const std::string& container);
  void ExpectNoLeaks(const LeakCheck& check, const char* when);

  std::string image_;
  std::unique_ptr<LeakCheck> before_daemon_, with_daemon_;
  std::vector<std::string> ignored_files_;
};

// One line of a CRI log file.
struct LogLine {
  std::string time, stream, text;
  bool partial = false;
};
// The lines of a log; a test failure for a line that is not `TIME STREAM P|F TEXT`.
std::vector<LogLine> ReadLog(const std::string& path);
// The text of one stream ("" for both), partial lines joined, full ones ended by \n.
std::string LogText(const std::vector<LogLine>& lines, const std::string& stream = "");

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_DAEMON_TEST_H_
