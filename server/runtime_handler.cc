#include "server/runtime_handler.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/version.h"
#include "nlohmann/json.hpp"
#include "server/pods/handlers.h"
#include "server/pods/inspection.h"
#include "server/pods/statuses.h"

namespace berth {
namespace {

// Foreign text (labels, environment) may be no UTF-8; JSON for people replaces what isn't.
std::string Dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<PodRecordPtr> FindShownPod(const Store& store, const std::string& id) {
  ASSIGN_OR_RETURN(PodRecordPtr record, store.FindPod(id));
  if (!Shown(*record)) return absl::NotFoundError(absl::StrCat("pod ", id, " not found"));
  return record;
}

cri::RuntimeCondition* AddCondition(const std::string& type, const absl::Status& status,
                                    const std::string& reason, cri::RuntimeStatus* out) {
  cri::RuntimeCondition* condition = out->add_conditions();
  condition->set_type(type);
  condition->set_status(status.ok());
  if (!status.ok()) {
    condition->set_reason(reason);
    condition->set_message(std::string(status.message()));
  }
  return condition;
}

void Announce(const std::string& name, const Handler& handler, cri::StatusResponse* response) {
  cri::RuntimeHandler* announced = response->add_runtime_handlers();
  announced->set_name(name);
  announced->mutable_features()->set_recursive_read_only_mounts(handler.recursive_read_only);
  announced->mutable_features()->set_user_namespaces(handler.user_namespaces);
}

}  // namespace

absl::Status RuntimeHandler::Version(const CallContext& context, const cri::VersionRequest& request,
                                     cri::VersionResponse* response) {
  response->set_version("0.1.0");  // of the kubelet's runtime API, as every runtime says
  response->set_runtime_name("berth");
  response->set_runtime_version(kBerthVersion);
  response->set_runtime_api_version("v1");
  return absl::OkStatus();
}

absl::Status RuntimeHandler::Status(const CallContext& context, const cri::StatusRequest& request,
                                    cri::StatusResponse* response) {
  cri::RuntimeStatus* status = response->mutable_status();
  AddCondition("RuntimeReady", absl::OkStatus(), "", status);
  AddCondition("NetworkReady", node_.network->Ready(), "NetworkPluginNotReady", status);
  if (const auto by_default = node_.handlers->Find(""); by_default.ok()) {
    Announce("", **by_default, response);
  }
  for (const Handler& handler : node_.handlers->all()) Announce(handler.name, handler, response);
  response->mutable_features()->set_supplemental_groups_policy(true);
  response->mutable_features()->set_user_namespaces_host_network(
      node_.features.user_namespaces.ok());
  response->mutable_features()->set_mount_options(true);
  if (request.verbose()) {
    nlohmann::json config = nlohmann::json::parse(node_.config->DumpJson(), nullptr, false);
    if (!config.is_object()) config = nlohmann::json::object();
    config["instance"] = node_.instance.str();
    config["version"] = kBerthVersion;
    for (const Handler& handler : node_.handlers->all()) config["runtimes"].push_back(handler.name);
    auto& info = *response->mutable_info();
    info["config"] = Dump(config);
    const absl::StatusOr<std::string> list = node_.network->Configuration();
    info["cniconfig"] = Dump(InspectNetwork(node_.config->network.conf_dir,
                                            node_.config->network.bin_dirs, list.value_or("")));
    info["lastCNILoadStatus"] = list.ok() ? "OK" : std::string(list.status().message());
    info["lastCNILoadStatus.default"] = info["lastCNILoadStatus"];
  }
  return absl::OkStatus();
}

absl::Status RuntimeHandler::RuntimeConfig(const CallContext& context,
                                           const cri::RuntimeConfigRequest& request,
                                           cri::RuntimeConfigResponse* response) {
  response->mutable_linux()->set_cgroup_driver(
      node_.config->cgroup.driver == "systemd" ? cri::SYSTEMD : cri::CGROUPFS);
  return absl::OkStatus();
}

// The pod CIDR is for runtimes that write a CNI configuration from a template; Berth's network comes
// from the configuration directory alone.
absl::Status RuntimeHandler::UpdateRuntimeConfig(const CallContext& context,
                                                 const cri::UpdateRuntimeConfigRequest& request,
                                                 cri::UpdateRuntimeConfigResponse* response) {
  return absl::OkStatus();
}

absl::Status RuntimeHandler::RunPodSandbox(const CallContext& context,
                                           const cri::RunPodSandboxRequest& request,
                                           cri::RunPodSandboxResponse* response) {
  ASSIGN_OR_RETURN(const PodId id, sandboxes_->Run(context, request));
  response->set_pod_sandbox_id(id.str());
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StopPodSandbox(const CallContext& context,
                                            const cri::StopPodSandboxRequest& request,
                                            cri::StopPodSandboxResponse* response) {
  if (request.pod_sandbox_id().empty()) {
    return absl::InvalidArgumentError("pod_sandbox_id is empty");
  }
  return sandboxes_->Stop(context, request.pod_sandbox_id());
}

absl::Status RuntimeHandler::RemovePodSandbox(const CallContext& context,
                                              const cri::RemovePodSandboxRequest& request,
                                              cri::RemovePodSandboxResponse* response) {
  if (request.pod_sandbox_id().empty()) {
    return absl::InvalidArgumentError("pod_sandbox_id is empty");
  }
  return sandboxes_->Remove(context, request.pod_sandbox_id());
}

absl::Status RuntimeHandler::PodSandboxStatus(const CallContext& context,
                                              const cri::PodSandboxStatusRequest& request,
                                              cri::PodSandboxStatusResponse* response) {
  if (request.pod_sandbox_id().empty()) {
    return absl::InvalidArgumentError("pod_sandbox_id is empty");
  }
  ASSIGN_OR_RETURN(const PodRecordPtr record, FindShownPod(*node_.store, request.pod_sandbox_id()));
  *response->mutable_status() = PodStatus(*record);
  for (const ContainerRecordPtr& container : node_.store->ContainersOf(PodId(record->id()))) {
    *response->add_containers_statuses() = ContainerStatusOf(*container);
  }
  response->set_timestamp(absl::GetCurrentTimeNanos());
  if (request.verbose()) {
    (*response->mutable_info())["info"] =
        Dump(InspectPod(*record, node_.config->runtime.default_handler));
  }
  return absl::OkStatus();
}

absl::Status RuntimeHandler::UpdatePodSandboxResources(
    const CallContext& context, const cri::UpdatePodSandboxResourcesRequest& request,
    cri::UpdatePodSandboxResourcesResponse* response) {
  if (request.pod_sandbox_id().empty()) {
    return absl::InvalidArgumentError("pod_sandbox_id is empty");
  }
  return sandboxes_->UpdateResources(context, request);
}

absl::Status RuntimeHandler::CreateContainer(const CallContext& context,
                                             const cri::CreateContainerRequest& request,
                                             cri::CreateContainerResponse* response) {
  ASSIGN_OR_RETURN(const ContainerId id, containers_->Create(context, request));
  response->set_container_id(id.str());
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StartContainer(const CallContext& context,
                                            const cri::StartContainerRequest& request,
                                            cri::StartContainerResponse* response) {
  if (request.container_id().empty()) return absl::InvalidArgumentError("container_id is empty");
  return containers_->Start(context, request.container_id());
}

absl::Status RuntimeHandler::StopContainer(const CallContext& context,
                                           const cri::StopContainerRequest& request,
                                           cri::StopContainerResponse* response) {
  if (request.container_id().empty()) return absl::InvalidArgumentError("container_id is empty");
  return containers_->Stop(context, request.container_id(), absl::Seconds(request.timeout()));
}

absl::Status RuntimeHandler::RemoveContainer(const CallContext& context,
                                             const cri::RemoveContainerRequest& request,
                                             cri::RemoveContainerResponse* response) {
  if (request.container_id().empty()) return absl::InvalidArgumentError("container_id is empty");
  return containers_->Remove(context, request.container_id());
}

absl::Status RuntimeHandler::ContainerStatus(const CallContext& context,
                                             const cri::ContainerStatusRequest& request,
                                             cri::ContainerStatusResponse* response) {
  if (request.container_id().empty()) return absl::InvalidArgumentError("container_id is empty");
  ASSIGN_OR_RETURN(const ContainerRecordPtr record,
                   node_.store->FindContainer(request.container_id()));
  *response->mutable_status() = ContainerStatusOf(*record);
  if (request.verbose()) {
    const auto built = containers_->SpecOf(*record);
    const absl::StatusOr<Spec> spec =
        built.ok() ? absl::StatusOr<Spec>((*built)->spec) : built.status();
    nlohmann::json info = InspectContainer(*record, spec, node_.config->runtime.default_handler);
    info["removing"] = containers_->Removing(ContainerId(record->id()));
    (*response->mutable_info())["info"] = Dump(info);
  }
  return absl::OkStatus();
}

absl::Status RuntimeHandler::ExecSync(const CallContext& context,
                                      const cri::ExecSyncRequest& request,
                                      cri::ExecSyncResponse* response) {
  return containers_->ExecSync(context, request, response);
}

absl::Status RuntimeHandler::Exec(const CallContext& context, const cri::ExecRequest& request,
                                  cri::ExecResponse* response) {
  ASSIGN_OR_RETURN(StreamRequest stream, streams_->RequestOf(request));
  ASSIGN_OR_RETURN(*response->mutable_url(), streaming_->UrlOf(std::move(stream)));
  return absl::OkStatus();
}

absl::Status RuntimeHandler::Attach(const CallContext& context, const cri::AttachRequest& request,
                                    cri::AttachResponse* response) {
  ASSIGN_OR_RETURN(StreamRequest stream, streams_->RequestOf(request));
  ASSIGN_OR_RETURN(*response->mutable_url(), streaming_->UrlOf(std::move(stream)));
  return absl::OkStatus();
}

absl::Status RuntimeHandler::PortForward(const CallContext& context,
                                         const cri::PortForwardRequest& request,
                                         cri::PortForwardResponse* response) {
  ASSIGN_OR_RETURN(StreamRequest stream, streams_->RequestOf(request));
  ASSIGN_OR_RETURN(*response->mutable_url(), streaming_->UrlOf(std::move(stream)));
  return absl::OkStatus();
}

absl::Status RuntimeHandler::UpdateContainerResources(
    const CallContext& context, const cri::UpdateContainerResourcesRequest& request,
    cri::UpdateContainerResourcesResponse* response) {
  return containers_->UpdateResources(context, request);
}

absl::Status RuntimeHandler::ReopenContainerLog(const CallContext& context,
                                                const cri::ReopenContainerLogRequest& request,
                                                cri::ReopenContainerLogResponse* response) {
  return containers_->ReopenLog(context, request.container_id());
}

}  // namespace berth
