#include "tests/harness/daemon_test.h"

#include <signal.h>
#include <stdio.h>

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/status.h"

namespace berth::testing {

::testing::AssertionResult IsOk(const absl::Status& status) {
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << status;
}

::testing::AssertionResult HasCode(absl::StatusCode code, const absl::Status& status) {
  if (status.code() == code) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "want " << absl::StatusCodeToString(code) << ", got " << status;
}

void DaemonTest::SetUp() {
  RemoveTree(daemon_.directory()).IgnoreError();
  before_daemon_ = std::make_unique<LeakCheck>();
  ASSERT_OK(daemon_.Start());
  image_ = registry_.Image("busybox:1");
  ASSERT_OK(cri().PullImage(image_));
  with_daemon_ = std::make_unique<LeakCheck>(
      std::vector<std::string>{daemon_.state(), daemon_.root() + "/snapshots"});
}

void DaemonTest::TearDown() {
  if (daemon_.running()) {
    EXPECT_OK(daemon_.RemoveAllPods());
    if (with_daemon_ != nullptr && !HasFatalFailure())
      ExpectNoLeaks(*with_daemon_, "after all pods");
    auto status = daemon_.Terminate();
    EXPECT_TRUE(status.ok() && *status == 0)
        << "SIGTERM: " << status.status() << " wait status " << status.value_or(-1);
    if (!status.ok()) daemon_.Kill();
  } else {
    daemon_.WaitForEnd(absl::ZeroDuration()).status().IgnoreError();  // reaps it
  }
  ExpectNoLeaks(*before_daemon_, "after the daemon");
  if (HasFailure()) {
    const std::string log = daemon_.Log();
    std::cerr << "---- berthd's log\n"
              << (log.size() > 6000 ? log.substr(log.size() - 6000) : log) << "----\n";
    for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);  // the next test starts clean
  }
}

void DaemonTest::ExpectNoLeaks(const LeakCheck& check, const char* when) {
  LeakCheck adjusted = check;
  adjusted.IgnoreInterface("bt-a");
  adjusted.IgnoreInterface("bt-b");
  for (const std::string& text : ignored_files_) adjusted.IgnoreFiles(text);
  if (daemon_.running()) adjusted.IgnoreProcess(daemon_.pid());
  const std::vector<std::string> leaks = adjusted.Leaks();
  EXPECT_TRUE(leaks.empty()) << "left " << when << ":\n  " << absl::StrJoin(leaks, "\n  ");
}

void DaemonTest::Restart(const std::string& failpoints) {
  daemon_.Kill();
  ASSERT_OK(daemon_.Start(failpoints));
}

cri::PodSandboxConfig DaemonTest::PodConfig(const std::string& name) {
  cri::PodSandboxConfig config = HostNetworkPod(name);
  config.set_log_directory(absl::StrCat(daemon_.pod_logs(), "/", name));
  return config;
}

absl::StatusOr<TestPod> DaemonTest::RunPod(const cri::PodSandboxConfig& config) {
  TestPod pod{config, ""};
  ASSIGN_OR_RETURN(pod.id, cri().RunPod(config));
  return pod;
}

cri::ContainerConfig DaemonTest::ContainerConfig(const std::string& name,
                                                 const std::vector<std::string>& command) {
  return Container(name, image_, command);
}

absl::StatusOr<std::string> DaemonTest::Create(const TestPod& pod, cri::ContainerConfig config) {
  // A test that shares namespaces of its own choice says so in the container's configuration.
  if (!config.linux().security_context().namespace_options().target_id().empty()) {
    return cri().CreateContainer(pod.id, config, pod.config);
  }
  MatchNamespaces(pod.config, &config);
  return cri().CreateContainer(pod.id, config, pod.config);
}

absl::StatusOr<std::string> DaemonTest::CreateAndStart(const TestPod& pod,
                                                       cri::ContainerConfig config) {
  ASSIGN_OR_RETURN(std::string id, Create(pod, std::move(config)));
  RETURN_IF_ERROR(cri().StartContainer(id));
  return id;
}

absl::StatusOr<std::string> DaemonTest::Sleeper(const TestPod& pod, const std::string& name) {
  return CreateAndStart(pod, ContainerConfig(name, {"sleep", "100000"}));
}

std::string DaemonTest::Exec(const std::string& container, const std::string& script) {
  auto answer = cri().ExecSync(container, {"sh", "-c", script}, 20);
  EXPECT_OK(answer);
  if (!answer.ok()) return "";
  EXPECT_EQ(answer->exit_code(), 0) << script << "\n" << answer->stdout() << answer->stderr();
  return answer->stdout();
}

std::string DaemonTest::RunToEnd(const TestPod& pod, cri::ContainerConfig config, int* exit_code) {
  const std::string log = absl::StrCat(pod.config.log_directory(), "/", config.log_path());
  auto id = CreateAndStart(pod, std::move(config));
  EXPECT_OK(id);
  if (!id.ok()) return "";
  auto status = cri().WaitForExit(*id);
  EXPECT_OK(status);
  if (!status.ok()) return "";
  if (exit_code != nullptr) {
    *exit_code = status->exit_code();
  } else {
    EXPECT_EQ(status->exit_code(), 0) << LogText(ReadLog(log));
  }
  return LogText(ReadLog(log));
}

nlohmann::json DaemonTest::InfoOf(const std::string& container) {
  cri::ContainerStatusRequest request;
  request.set_container_id(container);
  request.set_verbose(true);
  auto answer = cri().Call(&CriClient::Runtime::ContainerStatus, request);
  EXPECT_OK(answer);
  if (!answer.ok()) return nlohmann::json::object();
  auto info = nlohmann::json::parse(answer->info().at("info"), nullptr, false);
  EXPECT_TRUE(info.is_object() && info.contains("pid")) << answer->info().at("info");
  return info.is_object() ? info : nlohmann::json::object();
}

pid_t DaemonTest::PidOf(const std::string& container) { return InfoOf(container).value("pid", 0); }

std::string DaemonTest::CgroupOf(const std::string& container) {
  return InfoOf(container).value("cgroup", "");
}

std::vector<pid_t> DaemonTest::Keepers() {
  std::map<pid_t, pid_t> parents;  // of processes with a keeper's command line
  auto names = ListDirectory("/proc");
  if (!names.ok()) return {};
  for (const std::string& name : *names) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string line = ReadFile(absl::StrCat("/proc/", name, "/cmdline")).value_or("");
    if (!absl::StrContains(line.substr(0, line.find('\0')), "berth-keeper")) continue;
    const std::string stat = ReadFile(absl::StrCat("/proc/", name, "/stat")).value_or("");
    pid_t parent = 0;
    if (sscanf(stat.c_str() + stat.rfind(')') + 1, " %*c %d", &parent) != 1) continue;
    parents[std::stoi(name)] = parent;
  }
  // A keeper's children, its log writer first of all, have its command line until they execve.
  std::vector<pid_t> result;
  for (const auto& [pid, parent] : parents) {
    if (!parents.contains(parent)) result.push_back(pid);
  }
  return result;
}

std::vector<LogLine> ReadLog(const std::string& path) {
  auto text = ReadFile(path, size_t{1} << 30);
  EXPECT_OK(text);
  std::vector<LogLine> result;
  if (!text.ok() || text->empty()) return result;
  EXPECT_EQ(text->back(), '\n') << path << " ends within a line";
  std::vector<absl::string_view> lines = absl::StrSplit(*text, '\n');
  lines.pop_back();
  for (const absl::string_view line : lines) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    const bool good = fields.size() == 4 && (fields[1] == "stdout" || fields[1] == "stderr") &&
                      (fields[2] == "F" || fields[2] == "P");
    EXPECT_TRUE(good) << path << ": not a CRI log line: " << line;
    if (!good) return result;
    result.push_back(
        {std::string(fields[0]), std::string(fields[1]), std::string(fields[3]), fields[2] == "P"});
  }
  return result;
}

std::string LogText(const std::vector<LogLine>& lines, const std::string& stream) {
  std::string text;
  for (const LogLine& line : lines) {
    if (!stream.empty() && line.stream != stream) continue;
    absl::StrAppend(&text, line.text, line.partial ? "" : "\n");
  }
  return text;
}

}  // namespace berth::testing
