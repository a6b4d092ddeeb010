// The command line and the environment of a container, and the process of an exec.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void SetEnvironment(const std::string& entry, std::vector<std::string>* env) {
  const absl::string_view name = absl::string_view(entry).substr(0, entry.find('=') + 1);
  for (std::string& old : *env) {
    if (absl::StartsWith(old, name)) {
      old = entry;
      return;
    }
  }
  env->push_back(entry);
}

bool HasEnvironment(const std::vector<std::string>& env, absl::string_view name_and_equals) {
  return std::any_of(env.begin(), env.end(),
                     [&](const std::string& e) { return absl::StartsWith(e, name_and_equals); });
}

}  // namespace

// Kubernetes, "Define a Command and Arguments for a Container": a command replaces the image's
// entrypoint and its cmd, arguments alone only its cmd.
absl::Status AddCommand(const SpecRequest& request, BuiltSpec* built) {
  std::vector<std::string>& args = built->process().args;
  if (request.container.command_size() > 0) {
    args.assign(request.container.command().begin(), request.container.command().end());
  } else {
    args = request.image.entrypoint;
  }
  if (request.container.args_size() > 0) {
    args.insert(args.end(), request.container.args().begin(), request.container.args().end());
  } else if (request.container.command_size() == 0) {
    args.insert(args.end(), request.image.cmd.begin(), request.image.cmd.end());
  }
  if (args.empty() || args[0].empty()) {
    return InvalidField("command", "neither the container nor its image says what to run");
  }
  std::string& cwd = built->process().cwd;
  cwd = !request.container.working_dir().empty() ? request.container.working_dir()
        : !request.image.working_dir.empty()     ? request.image.working_dir
                                                 : "/";
  if (!IsAbsolutePath(cwd)) {
    return InvalidField("working_dir", absl::StrCat("\"", cwd, "\" is not absolute"));
  }
  return absl::OkStatus();
}

absl::Status AddEnvironment(const SpecRequest& request, BuiltSpec* built) {
  std::vector<std::string>& env = built->process().env;
  for (const std::string& entry : request.image.env) {
    if (absl::StrContains(entry, "=")) SetEnvironment(entry, &env);
  }
  if (!HasEnvironment(env, "PATH=")) env.insert(env.begin(), kDefaultPath);
  if (request.container.tty() && !HasEnvironment(env, "TERM=")) env.push_back("TERM=xterm");
  if (!request.pod_facts.hostname.empty()) {
    SetEnvironment(absl::StrCat("HOSTNAME=", request.pod_facts.hostname), &env);
  }
  for (int i = 0; i < request.container.envs_size(); ++i) {
    const cri::KeyValue& e = request.container.envs(i);
    const std::string field = absl::StrCat("envs[", i, "]");
    if (e.key().empty() || absl::StrContains(e.key(), "=")) {
      return InvalidField(absl::StrCat(field, ".key"), "is empty or has a \"=\"");
    }
    if (e.key().find('\0') != std::string::npos || e.value().find('\0') != std::string::npos) {
      return InvalidField(field, "has a NUL byte");
    }
    SetEnvironment(absl::StrCat(e.key(), "=", e.value()), &env);
  }
  return absl::OkStatus();
}

SpecProcess BuildExecProcess(const Spec& spec, const std::vector<std::string>& command, bool tty) {
  SpecProcess process = spec.process.value_or(SpecProcess());
  process.args = command;
  process.terminal = tty;
  process.console_height = process.console_width = 0;
  if (tty && !HasEnvironment(process.env, "TERM=")) process.env.push_back("TERM=xterm");
  return process;
}

}  // namespace berth
