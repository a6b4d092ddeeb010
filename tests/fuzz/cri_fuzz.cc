// A CreateContainerRequest from its bytes to a plan. log_path serves as the text of every profile
// file, annotations of the pod as its sysctls.
#include <map>
#include <string>
#include <vector>

#include "google/protobuf/stubs/logging.h"
#include "nlohmann/json.hpp"
#include "proto/cri/v1/api.pb.h"
#include "runtime/compiler.h"
#include "server/network/sysctls.h"
#include "server/pods/spec_builder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan_walk.h"

namespace berth {
namespace {

HostFacts FakeHost(std::string profile) {
  HostFacts host;
  host.devices = [](const std::string& path) -> absl::StatusOr<std::vector<SpecDevice>> {
    if (path.size() % 2 == 0) return absl::NotFoundError(path);
    return std::vector<SpecDevice>{{'c', path, 1, 3}};
  };
  host.all_devices = []() -> absl::StatusOr<std::vector<SpecDevice>> {
    return std::vector<SpecDevice>{{'b', "/dev/sda", 8, 0}};
  };
  host.read_profile = [profile](const std::string&) -> absl::StatusOr<std::string> {
    return profile;
  };
  host.resolve_source = [](const std::string& path) -> absl::StatusOr<std::string> {
    if (path.empty() || path[0] != '/') return absl::NotFoundError(path);
    return path;
  };
  return host;
}

ImageConfig Image() {
  ImageConfig image;
  image.entrypoint = {"/entry"};
  image.env = {"PATH=/bin", "A=image", "bad"};
  return image;
}

PodFacts Pod() {
  PodFacts pod;
  pod.id = "pod";
  pod.hostname = "host1";
  pod.keeper_pid = 77;
  pod.pod_init_pid = 78;
  pod.netns_path = "/run/netns/x";
  pod.hosts_path = "/state/hosts";
  return pod;
}

void CheckSysctls(const runtime::v1::PodSandboxConfig& pod) {
  const auto& annotations = pod.annotations();
  const std::map<std::string, std::string> asked(annotations.begin(), annotations.end());
  PodSysctls(asked, {}).status().IgnoreError();
}

void Build(const runtime::v1::CreateContainerRequest& request) {
  CheckSysctls(request.sandbox_config());
  ResourcesFromCri(request.config().linux().resources(), "linux").status().IgnoreError();
  ContainerFacts facts;
  facts.id = "container";
  facts.cgroup_path = "/k/container";
  const auto built = BuildSpec(request.config(), request.sandbox_config(), Image(), Pod(), facts,
                               FakeHost(request.config().log_path()));
  if (!built.ok()) return;
  CompileInput input;
  input.lowers = {"/layer"};
  input.user = built->user;
  input.joined_pid = built->joined_pid;
  input.pid_target = built->pid_target;
  input.capability_limit = kAllCapabilities;
  const auto plan = CompilePlan(built->spec, input);
  if (!plan.ok()) return;
  CheckCompiledPlan(*plan);
  // It is shown to people and given to other runtimes. Values of the environment are any bytes.
  const std::string json =
      SpecToJson(built->spec).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto spec = ParseSpec(json);
  if (!spec.ok()) fprintf(stderr, "%s\n", spec.status().ToString().c_str());
  FUZZ_CHECK(spec.ok());
}

}  // namespace
}  // namespace berth

// Protobuf tells of each string that is no UTF-8.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  runtime::v1::CreateContainerRequest request;
  if (request.ParseFromArray(data, static_cast<int>(size))) berth::Build(request);
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// Keeps what still parses of a mutation, so that most inputs are whole messages.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned) {
  size = LLVMFuzzerMutate(data, size, max_size);
  runtime::v1::CreateContainerRequest request;
  if (request.ParseFromArray(data, static_cast<int>(size))) return size;
  const size_t mended = request.ByteSizeLong();
  if (mended > max_size) return size;
  request.SerializeToArray(data, static_cast<int>(max_size));
  return mended;
}
