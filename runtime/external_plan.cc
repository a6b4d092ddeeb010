#include "runtime/external_plan.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "runtime/executor_external.h"
#include "runtime/mount_options.h"
#include "runtime/plan_builder.h"

namespace berth {
namespace {

using nlohmann::json;

// What older runtimes ask for: crun before 1.12 refuses any other minor version.
constexpr char kOciVersion[] = "1.0.2";
constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

absl::Status Unsupported(absl::string_view field, absl::string_view why) {
  return absl::UnimplementedError(absl::StrCat(field, ": ", why));
}

bool HasOption(const SpecMount& m, absl::string_view option) {
  return std::find(m.options.begin(), m.options.end(), std::string(option)) != m.options.end();
}

std::string StateDirectory(const ExternalRuntime& runtime) { return runtime.bundle + "/state"; }

std::vector<std::string> CommandLine(const ExternalRuntime& runtime, const std::string& log,
                                     std::initializer_list<std::string> rest) {
  std::vector<std::string> argv = {runtime.path};
  argv.insert(argv.end(), runtime.options.begin(), runtime.options.end());
  for (const std::string& word :
       {std::string("--root"), StateDirectory(runtime), std::string("--log"), log,
        std::string("--log-format"), std::string("json")}) {
    argv.push_back(word);
  }
  argv.insert(argv.end(), rest);
  argv.push_back(runtime.id);
  return argv;
}

std::string LogOf(const std::string& directory) {
  return absl::StrCat(directory, "/", kExternalLog);
}

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

class Translator {
 public:
  Translator(const ExternalRuntime& runtime, const Spec& spec, const CompileInput& input)
      : runtime_(runtime), input_(input), spec_(spec) {}

  absl::StatusOr<ExternalContainer> Container() {
    if (!spec_.process) return absl::InvalidArgumentError("process: missing");
    RETURN_IF_ERROR(RefuseUnsupported());
    spec_.oci_version = kOciVersion;
    spec_.root_path = absl::StrCat(runtime_.bundle, "/", kExternalRootfs);
    // The pod's keeper has set them.
    spec_.hostname.clear();
    spec_.domainname.clear();
    RETURN_IF_ERROR(Cgroup());
    RETURN_IF_ERROR(Mounts());
    FillPlan();
    ExternalContainer made;
    ASSIGN_OR_RETURN(made.plan, BuildPlan(plan_));
    SplitConfig(&made);
    return made;
  }

 private:
  absl::Status RefuseUnsupported() const {
    const SpecLinux& l = spec_.linux_;
    if (spec_.Namespace(NamespaceKind::kUser) != nullptr || !l.uid_mappings.empty()) {
      return Unsupported("linux.namespaces", "no user namespaces with an external runtime");
    }
    if (!spec_.process->selinux_label.empty()) {
      return Unsupported("process.selinuxLabel", "not supported");
    }
    if (input_.lowers.empty()) return absl::InvalidArgumentError("root: want an overlay");
    return absl::OkStatus();
  }

  // Where the container's processes are to be. The daemon has made it and set its limits, so only the devices
  // are the runtime's, too: it would give the default ones otherwise.
  absl::Status Cgroup() {
    CgroupResources& resources = spec_.linux_.resources;
    CgroupResources devices;
    devices.devices = resources.devices;
    resources = std::move(devices);
    // v2 with the systemd driver: they are below the scope.
    if (input_.cgroups.size() != 1 || (input_.cgroups[0].plan_flags & kCgroupV2) == 0) {
      return absl::OkStatus();
    }
    const std::string& path = input_.cgroups[0].path;
    if (!absl::StartsWith(path, absl::StrCat(kCgroupRoot, "/"))) {
      return Unsupported("linux.cgroupsPath",
                         absl::StrCat("cgroup v2 is mounted elsewhere than at ", kCgroupRoot));
    }
    spec_.linux_.cgroups_path = path.substr(strlen(kCgroupRoot));
    return absl::OkStatus();
  }

  absl::Status Mounts() {
    std::vector<SpecMount> mounts;
    for (size_t i = 0; i < spec_.mounts.size(); ++i) {
      SpecMount& m = spec_.mounts[i];
      const std::string field = absl::StrCat("mounts[", i, "] (", m.destination, ")");
      RETURN_IF_ERROR_WITH(CheckMount(m), field);
      PlanContents::Mount staged;
      if (m.type == kVolumeType) {
        staged.kind = MountKind::kVolume;
        staged.target = m.destination;
        plan_.mounts.push_back(std::move(staged));
        continue;  // it comes with the root file system
      }
      if (m.type == kPodShmType || m.type == kLayersType) {
        RETURN_IF_ERROR_WITH(Stage(i, m, std::move(staged)), field);
      }
      mounts.push_back(std::move(m));
    }
    spec_.mounts = std::move(mounts);
    return absl::OkStatus();
  }

  absl::Status CheckMount(const SpecMount& m) const {
    if (!m.uid_mappings.empty() || !m.gid_mappings.empty() || HasOption(m, "idmap")) {
      return Unsupported("uidMappings", "no id-mapped mounts with an external runtime");
    }
    // Its mount namespace is a slave of the host's.
    if (HasOption(m, "rshared") || HasOption(m, "shared")) {
      return Unsupported("propagation", "BIDIRECTIONAL is not there with an external runtime");
    }
    if (HasOption(m, "rro") && !runtime_.recursive_read_only) {
      return Unsupported("recursive_read_only", "this runtime doesn't say that it knows it");
    }
    return absl::OkStatus();
  }

  // The driver mounts it in the bundle, and the runtime binds that.
  absl::Status Stage(size_t i, SpecMount& m, PlanContents::Mount staged) {
    staged.target = absl::StrCat(runtime_.bundle, "/mounts/", i);
    if (m.type == kPodShmType) {
      staged.kind = MountKind::kPodShm;
    } else {
      staged.kind = MountKind::kLayers;
      const auto lowers = input_.layers.find(m.destination);
      if (lowers == input_.layers.end())
        return absl::InvalidArgumentError("source: its layers are not known");
      staged.source = m.source;
      staged.lowers = lowers->second;
      const auto is_sub_path = [](const std::string& option) {
        return absl::StartsWith(option, kSubPathOption);
      };
      for (const std::string& option : m.options) {
        if (is_sub_path(option)) staged.sub_path = option.substr(strlen(kSubPathOption));
      }
      m.options.erase(std::remove_if(m.options.begin(), m.options.end(), is_sub_path),
                      m.options.end());
    }
    m.type = "bind";
    m.source = staged.target;
    m.options.insert(m.options.begin(), {"rbind", "rprivate"});
    plan_.mounts.push_back(std::move(staged));
    return absl::OkStatus();
  }

  void FillPlan() {
    plan_.flags = kPlanExternal;
    if (spec_.process->terminal) plan_.flags |= kPlanTerminal;
    if (input_.stdin_open) plan_.flags |= kPlanStdin;
    if (input_.stdin_once) plan_.flags |= kPlanStdinOnce;
    const SpecNamespace* pid = spec_.Namespace(NamespaceKind::kPid);
    plan_.pid_mode = pid == nullptr      ? PidMode::kNode
                     : pid->path.empty() ? PidMode::kOwn
                                         : input_.joined_pid;
    plan_.pid_target = input_.pid_target;
    for (const CgroupDirectory& directory : input_.cgroups)
      plan_.cgroups.push_back({directory.path, directory.plan_flags});
    plan_.rootfs_kind = RootfsKind::kOverlay;
    plan_.lowers = input_.lowers;
    plan_.upper = input_.upper;
    plan_.work = input_.work;
    plan_.overlay_options = input_.overlay_options;
    User();
    plan_.cwd = runtime_.bundle;
    Commands();
    plan_.envp = ExternalEnvironment();
  }

  void User() {
    const SpecUser& user = spec_.process->user;
    plan_.groups = user.additional_gids;
    plan_.uid = user.uid;
    plan_.gid = user.gid;
    if (!input_.user) {
      plan_.flags |= kPlanStrictGroups;
      return;
    }
    const UserReference& reference = *input_.user;
    plan_.user_flags =
        (reference.uid ? uint32_t{kUserHasUid} : 0u) | (reference.gid ? uint32_t{kUserHasGid} : 0u);
    plan_.uid = reference.uid.value_or(0);
    plan_.gid = reference.gid.value_or(0);
    if (!reference.uid) plan_.user = reference.user;
    if (!reference.gid) plan_.group = reference.group;
    if (reference.strict_groups) plan_.flags |= kPlanStrictGroups;
  }

  void Commands() {
    const std::string log = LogOf(runtime_.bundle);
    const std::string pid = absl::StrCat(runtime_.bundle, "/", kExternalPid);
    if (spec_.process->terminal) {
      plan_.argv = CommandLine(runtime_, log,
                               {"create", "--bundle", runtime_.bundle, "--pid-file", pid,
                                "--console-socket", kExternalConsole});
    } else {
      plan_.argv =
          CommandLine(runtime_, log, {"create", "--bundle", runtime_.bundle, "--pid-file", pid});
    }
    plan_.argv.emplace_back();
    for (std::string& word : CommandLine(runtime_, log, {"start"}))
      plan_.argv.push_back(std::move(word));
  }

  // Who the user is, the driver finds in the mounted image. No text of a container can be the mark.
  void SplitConfig(ExternalContainer* made) const {
    const std::string mark = RandomHexId();
    json config = SpecToJson(spec_);
    config["process"]["user"] = mark;
    const std::string text = Dump(config);
    const std::string quoted = absl::StrCat("\"", mark, "\"");
    const size_t at = text.find(quoted);
    made->config_head = text.substr(0, at);
    made->config_tail = text.substr(at + quoted.size());
  }

  const ExternalRuntime& runtime_;
  const CompileInput& input_;
  Spec spec_;
  PlanContents plan_;
};

}  // namespace

std::vector<std::string> ExternalDirectories(const std::string& bundle) {
  return {absl::StrCat(bundle, "/", kExternalRootfs), absl::StrCat(bundle, "/mounts"),
          absl::StrCat(bundle, "/state")};
}

absl::StatusOr<ExternalContainer> CompileExternal(const ExternalRuntime& runtime, const Spec& spec,
                                                  const CompileInput& input) {
  return Translator(runtime, spec, input).Container();
}

absl::StatusOr<ExternalExec> CompileExternalExec(const ExternalRuntime& runtime, const Spec& spec,
                                                 const SpecProcess& process,
                                                 const std::string& directory) {
  if (process.args.empty() || process.args[0].empty())
    return absl::InvalidArgumentError("process.args: want a command");
  ExternalExec made;
  Spec only;
  only.process = process;
  made.process = Dump(SpecToJson(only)["process"]);
  PlanContents plan;
  plan.flags = kPlanExec | kPlanExternal | kPlanStrictGroups;
  if (process.terminal) plan.flags |= kPlanTerminal;
  const SpecNamespace* pid = spec.Namespace(NamespaceKind::kPid);
  plan.pid_mode = pid == nullptr ? PidMode::kNode : PidMode::kOwn;
  plan.cwd = directory;
  plan.envp = ExternalEnvironment();
  const std::string file = absl::StrCat(directory, "/", kExternalProcess);
  const std::string pid_file = absl::StrCat(directory, "/", kExternalPid);
  if (process.terminal) {
    plan.argv = CommandLine(runtime, LogOf(directory),
                            {"exec", "--detach", "--process", file, "--pid-file", pid_file,
                             "--console-socket", kExternalConsole});
  } else {
    plan.argv = CommandLine(runtime, LogOf(directory),
                            {"exec", "--detach", "--process", file, "--pid-file", pid_file});
  }
  ASSIGN_OR_RETURN(made.plan, BuildPlan(plan));
  return made;
}

std::vector<std::string> ExternalDelete(const ExternalRuntime& runtime) {
  return CommandLine(runtime, LogOf(runtime.bundle), {"delete", "--force"});
}

std::vector<std::string> ExternalEnvironment() {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          "XDG_RUNTIME_DIR=/run"};
}

std::string LastLoggedError(absl::string_view log) {
  std::string last;
  for (const absl::string_view line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    const json entry = json::parse(line.begin(), line.end(), nullptr, false);
    if (!entry.is_object()) continue;
    const auto level = entry.find("level");
    const auto text = entry.find("msg");
    if (text == entry.end() || !text->is_string()) continue;
    const bool bad = level != entry.end() && (*level == "error" || *level == "fatal");
    if (bad) last = text->get<std::string>();
  }
  return last;
}

}  // namespace berth
