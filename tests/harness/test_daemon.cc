#include "tests/harness/test_daemon.h"

#include <signal.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "base/files.h"
#include "base/status.h"
#include "tests/harness/private_machine.h"

namespace berth::testing {

namespace {

constexpr absl::Duration kStartTimeout = absl::Minutes(1);

// The end of a log, as much as a failure message should carry.
std::string Tail(const std::string& log) {
  constexpr size_t kShown = 4000;
  return log.size() <= kShown ? log : log.substr(log.size() - kShown);
}

}  // namespace

TestDaemon::TestDaemon(const Options& options)
    : options_(options), directory_(absl::StrCat(TestDirectory(), "/daemon-", options.name)) {}

std::string TestDaemon::metrics_address() const {
  return absl::StrCat("127.0.0.1:", options_.metrics_port);
}

std::string TestDaemon::Log() const { return ReadFile(log_path(), 256 << 20).value_or(""); }

absl::Status TestDaemon::Launch(const std::string& failpoints,
                                const std::map<std::string, std::string>& environment) {
  const std::string binary = FindOwnProgram("berthd");
  if (binary.empty()) {
    return absl::FailedPreconditionError("berthd is not built: ./dev build, or set BERTH_BIN");
  }
  for (const std::string& directory : {cni_conf_dir(), plugin_dir(), certs_dir(), pod_logs()}) {
    RETURN_IF_ERROR(MakeDirectories(directory, 0755));
  }
  const std::string config =
      absl::StrCat("[cgroup]\nkeepers_cgroup = \"", TestCgroup(), "/keepers\"\n",
                   SystemdDriver() ? "driver = \"systemd\"\n" : "", "[registry]\nconfig_path = \"",
                   certs_dir(), "\"\n", options_.config);
  const std::string config_file = directory_ + "/config.toml";
  RETURN_IF_ERROR(WriteFileAtomically(config_file, config, 0644));
  std::vector<std::string> argv = {binary,
                                   "--config",
                                   config_file,
                                   "--root",
                                   root(),
                                   "--state",
                                   state(),
                                   "--address",
                                   "unix://" + socket(),
                                   "--metrics-address",
                                   metrics_address(),
                                   "--cni-conf-dir",
                                   cni_conf_dir(),
                                   "--cni-bin-dir",
                                   options_.cni_plugins + "," + plugin_dir(),
                                   "--log-level",
                                   "debug"};
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  std::map<std::string, std::string> variables = environment;
  if (!failpoints.empty()) variables["BERTH_FAILPOINTS"] = failpoints;
  client_.reset();
  ASSIGN_OR_RETURN(program_, Program::Start(argv, log_path(), variables));
  client_ = std::make_unique<CriClient>(socket());
  return absl::OkStatus();
}

absl::Status TestDaemon::Start(const std::string& failpoints,
                               const std::map<std::string, std::string>& environment) {
  RETURN_IF_ERROR(Launch(failpoints, environment));
  const absl::Time deadline = absl::Now() + kStartTimeout;
  while (!client_->WaitUntilServing(absl::Milliseconds(200))) {
    if (!running()) return absl::AbortedError(absl::StrCat("berthd ended: ", Tail(Log())));
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("berthd doesn't answer: ", Tail(Log())));
    }
  }
  return absl::OkStatus();
}

void TestDaemon::Kill() {
  program_->Signal(SIGKILL);
  program_->Wait(absl::Seconds(10)).IgnoreError();
}

absl::StatusOr<int> TestDaemon::Terminate() {
  program_->Signal(SIGTERM);
  return program_->Wait(absl::Seconds(10));
}

absl::StatusOr<int> TestDaemon::WaitForEnd(absl::Duration timeout) {
  if (program_ == nullptr) return absl::FailedPreconditionError("berthd was not started");
  return program_->Wait(timeout);
}

absl::Status TestDaemon::RemoveAllPods() {
  ASSIGN_OR_RETURN(const auto pods, client_->ListPods());
  absl::Status first;
  for (const cri::PodSandbox& pod : pods) {
    first.Update(client_->StopPod(pod.id()));
    first.Update(client_->RemovePod(pod.id()));
  }
  return first;
}

absl::Status TestDaemon::WriteCniConfig() {
  RETURN_IF_ERROR(MakeDirectories(cni_conf_dir(), 0755));
  const std::string text = absl::Substitute(
      R"({"cniVersion": "1.0.0", "name": "berth-test-$0", "plugins": [
  {"type": "bridge", "bridge": "bt-$0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$1/ipam",
            "ranges": [[{"subnet": "10.77.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
)",
      options_.name, directory_);
  return WriteFileAtomically(cni_conf_dir() + "/10-test.conflist", text, 0644);
}

}  // namespace berth::testing
