#include "cli/verbs.h"

#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "cli/log_reader.h"
#include "cli/stream_verbs.h"
#include "google/protobuf/util/json_util.h"

namespace berth::cli {
namespace {

using Arguments = std::vector<std::string>;

constexpr int kStopGraceSeconds = 10;
constexpr size_t kShortId = 13;

// Takes `--NAME VALUE` options from the front of `arguments`; the rest stays.
class Options {
 public:
  // The value of an option; empty if it isn't there.
  static absl::StatusOr<std::string> Take(Arguments* arguments, const std::string& name) {
    for (auto it = arguments->begin(); it != arguments->end() && *it != "--"; ++it) {
      if (*it != name) continue;
      if (it + 1 == arguments->end()) {
        return absl::InvalidArgumentError(absl::StrCat(name, " needs a value"));
      }
      std::string value = *(it + 1);
      arguments->erase(it, it + 2);
      return value;
    }
    return std::string();
  }

  static bool TakeFlag(Arguments* arguments, const std::string& name) {
    const auto end = std::find(arguments->begin(), arguments->end(), "--");
    const auto it = std::find(arguments->begin(), end, name);
    if (it == end) return false;
    arguments->erase(it);
    return true;
  }
};

absl::Status Expect(const Arguments& arguments, size_t least, size_t most) {
  if (arguments.size() < least) return absl::InvalidArgumentError("too few arguments");
  if (arguments.size() > most) return absl::InvalidArgumentError("too many arguments");
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    if (argument.size() > 1 && argument[0] == '-') {
      return absl::InvalidArgumentError(absl::StrCat("unknown option ", argument));
    }
  }
  return absl::OkStatus();
}

void Print(const std::string& line) { printf("%s\n", line.c_str()); }

absl::Status PrintJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return absl::InternalError(status.ToString());
  printf("%s", json.c_str());
  return absl::OkStatus();
}

std::string Age(int64_t nanoseconds) {
  const absl::Duration age = absl::Now() - absl::FromUnixNanos(nanoseconds);
  return absl::FormatDuration(absl::Trunc(age, absl::Seconds(1)));
}

std::string StateName(const std::string& name) {
  const size_t bar = name.find('_');
  return bar == std::string::npos ? name : name.substr(bar + 1);
}

absl::StatusOr<int> Pull(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 1, 1));
  cri::PullImageRequest request;
  request.mutable_image()->set_image(arguments[0]);
  ASSIGN_OR_RETURN(const cri::PullImageResponse response,
                   client.Call(&Client::Images::PullImage, request));
  Print(response.image_ref());
  return 0;
}

// A pod's configuration, the same for `runp` and, read back from the pod, for `create`.
cri::PodSandboxConfig PodConfig(const std::string& name, bool host_network,
                                const std::string& log_directory) {
  cri::PodSandboxConfig config;
  config.mutable_metadata()->set_name(name);
  config.mutable_metadata()->set_uid(name);
  config.mutable_metadata()->set_namespace_("default");
  if (!host_network) config.set_hostname(name);
  config.set_log_directory(log_directory);
  auto* options = config.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  options->set_pid(cri::CONTAINER);
  if (host_network) options->set_network(cri::NODE);
  config.mutable_linux()->mutable_security_context()->mutable_seccomp()->set_profile_type(
      cri::SecurityProfile::RuntimeDefault);
  return config;
}

absl::StatusOr<int> RunPod(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  ASSIGN_OR_RETURN(const std::string logs, Options::Take(&arguments, "--log-dir"));
  ASSIGN_OR_RETURN(const std::string cgroup, Options::Take(&arguments, "--cgroup-parent"));
  const bool host_network = Options::TakeFlag(&arguments, "--host-network");
  RETURN_IF_ERROR(Expect(arguments, 1, 1));
  cri::RunPodSandboxRequest request;
  *request.mutable_config() = PodConfig(arguments[0], host_network, logs);
  request.mutable_config()->mutable_linux()->set_cgroup_parent(cgroup);
  // `create` has to repeat what it can't read from the pod's status.
  auto& annotations = *request.mutable_config()->mutable_annotations();
  annotations["berth.cli/log-directory"] = logs;
  annotations["berth.cli/cgroup-parent"] = cgroup;
  ASSIGN_OR_RETURN(const cri::RunPodSandboxResponse response,
                   client.Call(&Client::Runtime::RunPodSandbox, request));
  Print(response.pod_sandbox_id());
  return 0;
}

absl::StatusOr<cri::PodSandboxStatus> PodStatus(const Client& client, const std::string& id) {
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(id);
  ASSIGN_OR_RETURN(cri::PodSandboxStatusResponse response,
                   client.Call(&Client::Runtime::PodSandboxStatus, request));
  return std::move(*response.mutable_status());
}

absl::StatusOr<cri::ContainerStatus> ContainerStatus(const Client& client, const std::string& id) {
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  ASSIGN_OR_RETURN(cri::ContainerStatusResponse response,
                   client.Call(&Client::Runtime::ContainerStatus, request));
  return std::move(*response.mutable_status());
}

absl::StatusOr<cri::PodSandboxConfig> ConfigOfPod(const Client& client, const std::string& id) {
  ASSIGN_OR_RETURN(cri::PodSandboxStatus pod, PodStatus(client, id));
  const auto& options = pod.linux().namespaces().options();
  cri::PodSandboxConfig config = PodConfig(pod.metadata().name(), options.network() == cri::NODE,
                                           pod.annotations().count("berth.cli/log-directory")
                                               ? pod.annotations().at("berth.cli/log-directory")
                                               : "");
  *config.mutable_metadata() = pod.metadata();
  *config.mutable_annotations() = pod.annotations();
  if (pod.annotations().count("berth.cli/cgroup-parent")) {
    config.mutable_linux()->set_cgroup_parent(pod.annotations().at("berth.cli/cgroup-parent"));
  }
  return config;
}

absl::StatusOr<int> Create(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  ASSIGN_OR_RETURN(std::string name, Options::Take(&arguments, "--name"));
  RETURN_IF_ERROR(Expect(arguments, 2, 4096));
  cri::CreateContainerRequest request;
  request.set_pod_sandbox_id(arguments[0]);
  ASSIGN_OR_RETURN(*request.mutable_sandbox_config(), ConfigOfPod(client, arguments[0]));
  if (name.empty()) name = absl::StrCat("c", absl::ToUnixNanos(absl::Now()));
  cri::ContainerConfig& config = *request.mutable_config();
  config.mutable_metadata()->set_name(name);
  config.mutable_image()->set_image(arguments[1]);
  config.set_log_path(absl::StrCat(name, ".log"));
  auto* security = config.mutable_linux()->mutable_security_context();
  *security->mutable_namespace_options() =
      request.sandbox_config().linux().security_context().namespace_options();
  security->mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  const size_t command = arguments.size() > 2 && arguments[2] == "--" ? 3 : 2;
  for (size_t i = command; i < arguments.size(); ++i) config.add_command(arguments[i]);
  ASSIGN_OR_RETURN(const cri::CreateContainerResponse response,
                   client.Call(&Client::Runtime::CreateContainer, request));
  Print(response.container_id());
  return 0;
}

absl::StatusOr<int> Start(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 1, 1));
  cri::StartContainerRequest request;
  request.set_container_id(arguments[0]);
  RETURN_IF_ERROR(client.Call(&Client::Runtime::StartContainer, request).status());
  return 0;
}

// The log's lines are `TIME STREAM TAG TEXT`; tag P says that the line goes on.
absl::StatusOr<int> Logs(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  const bool follow = Options::TakeFlag(&arguments, "-f");
  RETURN_IF_ERROR(Expect(arguments, 1, 1));
  ASSIGN_OR_RETURN(cri::ContainerStatus status, ContainerStatus(client, arguments[0]));
  if (status.log_path().empty()) {
    return absl::FailedPreconditionError("the container has no log: its pod has no log directory");
  }
  ASSIGN_OR_RETURN(LogReader reader, LogReader::Open(status.log_path()));
  for (;;) {
    // Its end is asked for first: what it wrote before is printed then.
    if (follow) {
      ASSIGN_OR_RETURN(status, ContainerStatus(client, arguments[0]));
    }
    RETURN_IF_ERROR(reader.Print());
    if (!follow || status.state() == cri::CONTAINER_EXITED) return 0;
    reader.Wait();
  }
}

absl::StatusOr<int> Exec(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  CommandOptions options;
  // Options of the command itself stand behind the container.
  while (!arguments.empty() && (arguments[0] == "-i" || arguments[0] == "-t" ||
                                arguments[0] == "-it" || arguments[0] == "-ti")) {
    options.in |= absl::StrContains(arguments[0], 'i');
    options.tty |= absl::StrContains(arguments[0], 't');
    arguments.erase(arguments.begin());
  }
  if (arguments.size() < 2) return absl::InvalidArgumentError("too few arguments");
  cri::ExecRequest request;
  request.set_container_id(arguments[0]);
  const size_t command = arguments[1] == "--" ? 2 : 1;
  for (size_t i = command; i < arguments.size(); ++i) request.add_cmd(arguments[i]);
  request.set_stdin(options.in);
  request.set_tty(options.tty);
  request.set_stdout(true);
  request.set_stderr(!options.tty);
  ASSIGN_OR_RETURN(const cri::ExecResponse response, client.Call(&Client::Runtime::Exec, request));
  return RunCommand(response.url(), options);
}

absl::StatusOr<int> Attach(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  CommandOptions options;
  const bool both = Options::TakeFlag(&arguments, "-it");
  options.in = Options::TakeFlag(&arguments, "-i") || both;
  options.tty = Options::TakeFlag(&arguments, "-t") || both;
  RETURN_IF_ERROR(Expect(arguments, 1, 1));
  cri::AttachRequest request;
  request.set_container_id(arguments[0]);
  request.set_stdin(options.in);
  request.set_tty(options.tty);
  request.set_stdout(true);
  request.set_stderr(!options.tty);
  ASSIGN_OR_RETURN(const cri::AttachResponse response,
                   client.Call(&Client::Runtime::Attach, request));
  return RunCommand(response.url(), options);
}

absl::StatusOr<int> PortForward(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 2, 2));
  const std::vector<std::string> ports = absl::StrSplit(arguments[1], ':');
  int local = 0, remote = 0;
  if (ports.size() > 2 || !absl::SimpleAtoi(ports.front(), &local) ||
      !absl::SimpleAtoi(ports.back(), &remote) || local < 0 || local > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(arguments[1], " is not [LOCAL:]PORT"));
  }
  cri::PortForwardRequest request;
  request.set_pod_sandbox_id(arguments[0]);
  request.add_port(remote);
  ASSIGN_OR_RETURN(const cri::PortForwardResponse response,
                   client.Call(&Client::Runtime::PortForward, request));
  return RunForward(response.url(), local, remote);
}

// `TIME TYPE ID NAMESPACE/POD CONTAINER`; a sandbox, and what was deleted, have no container's name.
bool PrintEvent(const cri::ContainerEventResponse& event) {
  std::string type = cri::ContainerEventType_Name(event.container_event_type());
  type = StateName(type.substr(0, type.rfind('_')));
  const cri::PodSandboxMetadata& pod = event.pod_sandbox_status().metadata();
  std::string name;
  for (const cri::ContainerStatus& status : event.containers_statuses()) {
    if (status.id() == event.container_id()) name = " " + status.metadata().name();
  }
  const std::string time = absl::FormatTime(
      absl::RFC3339_full, absl::FromUnixNanos(event.created_at()), absl::UTCTimeZone());
  printf("%-35s %-8s %s %s/%s%s\n", time.c_str(), type.c_str(),
         event.container_id().substr(0, kShortId).c_str(), pod.namespace_().c_str(),
         pod.name().c_str(), name.c_str());
  return fflush(stdout) == 0;
}

absl::StatusOr<int> Events(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 0, 0));
  RETURN_IF_ERROR(
      client.Listen(&Client::Runtime::GetContainerEvents, cri::GetEventsRequest(), PrintEvent));
  return 0;
}

absl::StatusOr<int> Containers(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  const bool all = Options::TakeFlag(&arguments, "-a");
  const bool quiet = Options::TakeFlag(&arguments, "-q");
  RETURN_IF_ERROR(Expect(arguments, 0, 0));
  ASSIGN_OR_RETURN(const cri::ListContainersResponse response,
                   client.Call(&Client::Runtime::ListContainers, cri::ListContainersRequest()));
  if (!quiet)
    printf("%-14s %-10s %-12s %-24s %-14s %s\n", "CONTAINER", "STATE", "AGE", "NAME", "POD",
           "IMAGE");
  for (const cri::Container& container : response.containers()) {
    if (!all && container.state() != cri::CONTAINER_RUNNING) continue;
    if (quiet) {
      Print(container.id());
      continue;
    }
    printf("%-14s %-10s %-12s %-24s %-14s %s\n", container.id().substr(0, kShortId).c_str(),
           StateName(cri::ContainerState_Name(container.state())).c_str(),
           Age(container.created_at()).c_str(), container.metadata().name().c_str(),
           container.pod_sandbox_id().substr(0, kShortId).c_str(),
           container.image().image().c_str());
  }
  return 0;
}

absl::StatusOr<int> Pods(const Client& client, const Arguments& given) {
  Arguments arguments = given;
  const bool quiet = Options::TakeFlag(&arguments, "-q");
  RETURN_IF_ERROR(Expect(arguments, 0, 0));
  ASSIGN_OR_RETURN(const cri::ListPodSandboxResponse response,
                   client.Call(&Client::Runtime::ListPodSandbox, cri::ListPodSandboxRequest()));
  if (!quiet) printf("%-14s %-10s %-12s %-24s %s\n", "POD", "STATE", "AGE", "NAME", "NAMESPACE");
  for (const cri::PodSandbox& pod : response.items()) {
    if (quiet) {
      Print(pod.id());
      continue;
    }
    printf("%-14s %-10s %-12s %-24s %s\n", pod.id().substr(0, kShortId).c_str(),
           StateName(cri::PodSandboxState_Name(pod.state())).c_str(), Age(pod.created_at()).c_str(),
           pod.metadata().name().c_str(), pod.metadata().namespace_().c_str());
  }
  return 0;
}

absl::StatusOr<int> ListImages(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 0, 0));
  ASSIGN_OR_RETURN(const cri::ListImagesResponse response,
                   client.Call(&Client::Images::ListImages, cri::ListImagesRequest()));
  printf("%-20s %12s  %s\n", "IMAGE", "BYTES", "NAMES");
  for (const cri::Image& image : response.images()) {
    std::string names = absl::StrJoin(image.repo_tags(), " ");
    if (names.empty()) names = absl::StrJoin(image.repo_digests(), " ");
    printf("%-20s %12llu  %s\n", image.id().substr(0, 20).c_str(),
           static_cast<unsigned long long>(image.size()), names.c_str());
  }
  return 0;
}

absl::StatusOr<int> Status(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 0, 1));
  if (arguments.empty()) {
    cri::StatusRequest request;
    request.set_verbose(true);
    ASSIGN_OR_RETURN(const cri::StatusResponse response,
                     client.Call(&Client::Runtime::Status, request));
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  cri::ContainerStatusRequest container;
  container.set_container_id(arguments[0]);
  container.set_verbose(true);
  const auto found = client.Call(&Client::Runtime::ContainerStatus, container);
  if (found.ok()) {
    RETURN_IF_ERROR(PrintJson(*found));
    return 0;
  }
  if (!absl::IsNotFound(found.status())) return found.status();
  cri::PodSandboxStatusRequest pod;
  pod.set_pod_sandbox_id(arguments[0]);
  pod.set_verbose(true);
  ASSIGN_OR_RETURN(const cri::PodSandboxStatusResponse response,
                   client.Call(&Client::Runtime::PodSandboxStatus, pod));
  RETURN_IF_ERROR(PrintJson(response));
  return 0;
}

absl::StatusOr<int> Ip(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 1, 1));
  ASSIGN_OR_RETURN(const cri::PodSandboxStatus pod, PodStatus(client, arguments[0]));
  Print(pod.network().ip());
  return 0;
}

// True if `id` is a container, false if it is a pod.
absl::StatusOr<bool> IsContainer(const Client& client, const std::string& id) {
  const auto container = ContainerStatus(client, id);
  if (container.ok()) return true;
  if (!absl::IsNotFound(container.status())) return container.status();
  RETURN_IF_ERROR(PodStatus(client, id).status());
  return false;
}

absl::Status StopOne(const Client& client, const std::string& id) {
  ASSIGN_OR_RETURN(const bool is_container, IsContainer(client, id));
  if (is_container) {
    cri::StopContainerRequest request;
    request.set_container_id(id);
    request.set_timeout(kStopGraceSeconds);
    return client.Call(&Client::Runtime::StopContainer, request).status();
  }
  cri::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  return client.Call(&Client::Runtime::StopPodSandbox, request).status();
}

absl::Status RemoveOne(const Client& client, const std::string& id) {
  ASSIGN_OR_RETURN(const bool is_container, IsContainer(client, id));
  if (is_container) {
    cri::RemoveContainerRequest request;
    request.set_container_id(id);
    return client.Call(&Client::Runtime::RemoveContainer, request).status();
  }
  cri::RemovePodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  return client.Call(&Client::Runtime::RemovePodSandbox, request).status();
}

absl::StatusOr<int> ForEach(const Client& client, const Arguments& arguments,
                            absl::Status (*act)(const Client&, const std::string&)) {
  RETURN_IF_ERROR(Expect(arguments, 1, 4096));
  for (const std::string& id : arguments) RETURN_IF_ERROR_WITH(act(client, id), id);
  return 0;
}

absl::StatusOr<int> Stop(const Client& client, const Arguments& arguments) {
  return ForEach(client, arguments, StopOne);
}

absl::StatusOr<int> Remove(const Client& client, const Arguments& arguments) {
  return ForEach(client, arguments, RemoveOne);
}

absl::StatusOr<int> Version(const Client& client, const Arguments& arguments) {
  RETURN_IF_ERROR(Expect(arguments, 0, 0));
  ASSIGN_OR_RETURN(const cri::VersionResponse response,
                   client.Call(&Client::Runtime::Version, cri::VersionRequest()));
  Print(absl::StrCat(response.runtime_name(), " ", response.runtime_version(), ", CRI ",
                     response.runtime_api_version()));
  return 0;
}

}  // namespace

const std::vector<Verb>& Verbs() {
  static const auto* verbs = new std::vector<Verb>{
      {"version", "", "the runtime's name and version", Version},
      {"status", "[ID]", "the runtime's, a container's or a pod's status as JSON", Status},
      {"pull", "IMAGE", "pull an image", Pull},
      {"images", "", "list images", ListImages},
      {"runp", "[--host-network] [--log-dir DIR] [--cgroup-parent PATH] NAME", "run a pod", RunPod},
      {"pods", "[-q]", "list pods", Pods},
      {"ip", "POD", "the pod's IP address", Ip},
      {"create", "[--name NAME] POD IMAGE [[--] COMMAND...]", "create a container in a pod",
       Create},
      {"start", "CONTAINER", "start a container", Start},
      {"ps", "[-a] [-q]", "list running, or all, containers", Containers},
      {"logs", "[-f] CONTAINER", "what the container has written; -f: and goes on to write", Logs},
      {"exec", "[-i] [-t] CONTAINER [--] COMMAND...",
       "run a command in a container; -i: with stdin, -t: with a terminal", Exec},
      {"attach", "[-i] [-t] CONTAINER", "join a container's output, and its stdin with -i", Attach},
      {"forward", "POD [LOCAL:]PORT", "forward a local port to one of a pod's", PortForward},
      {"events", "", "what happens to pods and containers from now on", Events},
      {"stop", "ID...", "stop containers or pods", Stop},
      {"rm", "ID...", "remove containers or pods", Remove},
  };
  return *verbs;
}

}  // namespace berth::cli
