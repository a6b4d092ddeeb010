#include "server/pods/external_runtime.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "runtime/capabilities.h"
#include "runtime/executor_external.h"

namespace berth {
namespace {

constexpr char kRuntimeFile[] = "runtime";  // the program and its options, one a line
constexpr absl::Duration kDeletePatience = absl::Seconds(10);
constexpr size_t kLogLimit = 1u << 20;
constexpr int kCapSysResource = 24;

// Nobody without CAP_SYS_RESOURCE can go below what it has got; a runtime takes the refusal for a failure.
void ClampOomScore(SpecProcess* process) {
  static const int lowest = [] {
    constexpr int kLowest = -1000;
    int own = 0;
    const auto text = ReadFile("/proc/self/oom_score_adj");
    if ((OwnBoundingSet() & CapabilityBit(kCapSysResource)) != 0 || !text.ok()) return kLowest;
    return absl::SimpleAtoi(*text, &own) ? own : kLowest;
  }();
  if (process->oom_score_adj) process->oom_score_adj = std::max(*process->oom_score_adj, lowest);
}

std::string LoggedError(const std::string& directory) {
  const auto log = ReadFile(absl::StrCat(directory, "/", kExternalLog), kLogLimit);
  return log.ok() ? LastLoggedError(*log) : "";
}

}  // namespace

ExternalRuntime ExternalRuntimeOf(const Handler& handler, const std::string& bundle,
                                  const std::string& container) {
  return {.path = handler.config.path,
          .options = handler.config.options,
          .bundle = bundle,
          .id = container,
          .recursive_read_only = handler.recursive_read_only};
}

absl::StatusOr<std::string> MakeBundle(const ExternalRuntime& runtime, Spec spec,
                                       const CompileInput& input) {
  if (spec.process) ClampOomScore(&*spec.process);
  ASSIGN_OR_RETURN(ExternalContainer made, CompileExternal(runtime, spec, input));
  RETURN_IF_ERROR(Failpoint("containers.create.bundle"));
  for (const std::string& directory : ExternalDirectories(runtime.bundle)) {
    RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  }
  std::vector<std::string> program = {runtime.path};
  program.insert(program.end(), runtime.options.begin(), runtime.options.end());
  const std::pair<const char*, std::string> files[] = {
      {kRuntimeFile, absl::StrJoin(program, "\n")},
      {kExternalConfigHead, std::move(made.config_head)},
      {kExternalConfigTail, std::move(made.config_tail)}};
  for (const auto& [name, text] : files) {
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(runtime.bundle, "/", name), text, 0600));
  }
  return std::move(made.plan);
}

absl::StatusOr<ExternalRuntime> OpenBundle(const std::string& bundle,
                                           const std::string& container) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat(bundle, "/", kRuntimeFile)));
  std::vector<std::string> program = absl::StrSplit(text, '\n');
  ExternalRuntime runtime;
  runtime.path = program[0];
  runtime.options.assign(program.begin() + 1, program.end());
  runtime.bundle = bundle;
  runtime.id = container;
  return runtime;
}

absl::StatusOr<std::string> MakeExec(const ExternalRuntime& runtime, const Spec& spec,
                                     SpecProcess process) {
  ClampOomScore(&process);
  const std::string directory = absl::StrCat(runtime.bundle, "/exec-", RandomHexId().substr(0, 16));
  ASSIGN_OR_RETURN(ExternalExec made, CompileExternalExec(runtime, spec, process, directory));
  RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  absl::Status written =
      WriteFileAtomically(absl::StrCat(directory, "/", kExternalProcess), made.process, 0600);
  if (!written.ok()) {
    RemoveTree(directory).IgnoreError();
    return written;
  }
  return std::move(made.plan);
}

absl::Status FinishExec(absl::string_view plan, const absl::Status& status) {
  const Plan* header = reinterpret_cast<const Plan*>(plan.data());
  if (status.ok() || plan.size() < sizeof(Plan) || (header->flags & kPlanExternal) == 0) {
    return status;
  }
  const std::string directory = PlanString(*header, header->cwd);
  const std::string error = LoggedError(directory);
  if (absl::Status removed = RemoveTree(directory); !removed.ok()) {
    LogWarning("files of an exec: ", removed.message(), ", ignoring");
  }
  if (error.empty() || !absl::IsUnknown(status)) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), ": ", error));
}

absl::Status ExplainRuntime(const std::string& bundle, const absl::Status& failure) {
  const std::string error = absl::IsUnknown(failure) ? LoggedError(bundle) : "";
  if (error.empty()) return failure;
  return absl::Status(failure.code(), absl::StrCat(failure.message(), ": ", error));
}

absl::Status RemoveBundle(const std::string& bundle, absl::Time deadline) {
  if (access(bundle.c_str(), F_OK) != 0) return absl::OkStatus();
  const std::string container = bundle.substr(bundle.rfind('/') + 1);
  if (const auto runtime = OpenBundle(bundle, container); runtime.ok()) {
    SubprocessOptions command;
    command.argv = ExternalDelete(*runtime);
    command.environment = ExternalEnvironment();
    const auto ended = RunSubprocess(command, std::min(deadline, absl::Now() + kDeletePatience));
    const bool good = ended.ok() && ended->exit_code == 0;
    if (!good) {
      LogWarning(
          "bundle ", bundle, ": delete: ",
          ended.ok() ? absl::StripAsciiWhitespace(ended->stderr_tail) : ended.status().message(),
          ", ignoring");
    }
  }
  return RemoveTree(bundle);
}

}  // namespace berth
