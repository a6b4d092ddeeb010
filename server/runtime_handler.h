// runtime.v1.RuntimeService: each method validates, calls a flow, answers.
#ifndef BERTH_SERVER_RUNTIME_HANDLER_H_
#define BERTH_SERVER_RUNTIME_HANDLER_H_

#include "server/cri/handlers.h"
#include "server/events/event_hub.h"
#include "server/pods/container_streams.h"
#include "server/pods/containers.h"
#include "server/pods/list_items.h"
#include "server/pods/node.h"
#include "server/pods/sandboxes.h"
#include "server/pods/statuses.h"
#include "server/statistics/statistics.h"
#include "server/streaming/streaming_server.h"

namespace berth {

class RuntimeHandler : public RuntimeServiceHandler {
 public:
  RuntimeHandler(const Node& node, Sandboxes* sandboxes, Containers* containers, EventHub* events,
                 Statistics* statistics, ContainerStreams* streams, StreamingServer* streaming)
      : node_(node),
        sandboxes_(sandboxes),
        containers_(containers),
        events_(events),
        statistics_(statistics),
        streams_(streams),
        streaming_(streaming) {}

  absl::Status Version(const CallContext& context, const cri::VersionRequest& request,
                       cri::VersionResponse* response) override;
  absl::Status Status(const CallContext& context, const cri::StatusRequest& request,
                      cri::StatusResponse* response) override;
  absl::Status RuntimeConfig(const CallContext& context, const cri::RuntimeConfigRequest& request,
                             cri::RuntimeConfigResponse* response) override;
  absl::Status UpdateRuntimeConfig(const CallContext& context,
                                   const cri::UpdateRuntimeConfigRequest& request,
                                   cri::UpdateRuntimeConfigResponse* response) override;

  absl::Status RunPodSandbox(const CallContext& context, const cri::RunPodSandboxRequest& request,
                             cri::RunPodSandboxResponse* response) override;
  absl::Status StopPodSandbox(const CallContext& context, const cri::StopPodSandboxRequest& request,
                              cri::StopPodSandboxResponse* response) override;
  absl::Status RemovePodSandbox(const CallContext& context,
                                const cri::RemovePodSandboxRequest& request,
                                cri::RemovePodSandboxResponse* response) override;
  absl::Status PodSandboxStatus(const CallContext& context,
                                const cri::PodSandboxStatusRequest& request,
                                cri::PodSandboxStatusResponse* response) override;
  absl::Status ListPodSandbox(const CallContext& context, const cri::ListPodSandboxRequest& request,
                              cri::ListPodSandboxResponse* response) override;
  absl::Status UpdatePodSandboxResources(const CallContext& context,
                                         const cri::UpdatePodSandboxResourcesRequest& request,
                                         cri::UpdatePodSandboxResourcesResponse* response) override;
  absl::Status StreamPodSandboxes(const CallContext& context,
                                  const cri::StreamPodSandboxesRequest& request,
                                  ResponseStream<cri::StreamPodSandboxesResponse>* stream) override;

  absl::Status CreateContainer(const CallContext& context,
                               const cri::CreateContainerRequest& request,
                               cri::CreateContainerResponse* response) override;
  absl::Status StartContainer(const CallContext& context, const cri::StartContainerRequest& request,
                              cri::StartContainerResponse* response) override;
  absl::Status StopContainer(const CallContext& context, const cri::StopContainerRequest& request,
                             cri::StopContainerResponse* response) override;
  absl::Status RemoveContainer(const CallContext& context,
                               const cri::RemoveContainerRequest& request,
                               cri::RemoveContainerResponse* response) override;
  absl::Status ContainerStatus(const CallContext& context,
                               const cri::ContainerStatusRequest& request,
                               cri::ContainerStatusResponse* response) override;
  absl::Status ListContainers(const CallContext& context, const cri::ListContainersRequest& request,
                              cri::ListContainersResponse* response) override;
  absl::Status StreamContainers(const CallContext& context,
                                const cri::StreamContainersRequest& request,
                                ResponseStream<cri::StreamContainersResponse>* stream) override;
  absl::Status ExecSync(const CallContext& context, const cri::ExecSyncRequest& request,
                        cri::ExecSyncResponse* response) override;
  absl::Status Exec(const CallContext& context, const cri::ExecRequest& request,
                    cri::ExecResponse* response) override;
  absl::Status Attach(const CallContext& context, const cri::AttachRequest& request,
                      cri::AttachResponse* response) override;
  absl::Status PortForward(const CallContext& context, const cri::PortForwardRequest& request,
                           cri::PortForwardResponse* response) override;
  absl::Status UpdateContainerResources(const CallContext& context,
                                        const cri::UpdateContainerResourcesRequest& request,
                                        cri::UpdateContainerResourcesResponse* response) override;
  absl::Status ReopenContainerLog(const CallContext& context,
                                  const cri::ReopenContainerLogRequest& request,
                                  cri::ReopenContainerLogResponse* response) override;

  absl::Status GetContainerEvents(const CallContext& context, const cri::GetEventsRequest& request,
                                  ResponseStream<cri::ContainerEventResponse>* stream) override;

  absl::Status ContainerStats(const CallContext& context, const cri::ContainerStatsRequest& request,
                              cri::ContainerStatsResponse* response) override;
  absl::Status ListContainerStats(const CallContext& context,
                                  const cri::ListContainerStatsRequest& request,
                                  cri::ListContainerStatsResponse* response) override;
  absl::Status StreamContainerStats(
      const CallContext& context, const cri::StreamContainerStatsRequest& request,
      ResponseStream<cri::StreamContainerStatsResponse>* stream) override;
  absl::Status PodSandboxStats(const CallContext& context,
                               const cri::PodSandboxStatsRequest& request,
                               cri::PodSandboxStatsResponse* response) override;
  absl::Status ListPodSandboxStats(const CallContext& context,
                                   const cri::ListPodSandboxStatsRequest& request,
                                   cri::ListPodSandboxStatsResponse* response) override;
  absl::Status StreamPodSandboxStats(
      const CallContext& context, const cri::StreamPodSandboxStatsRequest& request,
      ResponseStream<cri::StreamPodSandboxStatsResponse>* stream) override;
  absl::Status ListMetricDescriptors(const CallContext& context,
                                     const cri::ListMetricDescriptorsRequest& request,
                                     cri::ListMetricDescriptorsResponse* response) override;
  absl::Status ListPodSandboxMetrics(const CallContext& context,
                                     const cri::ListPodSandboxMetricsRequest& request,
                                     cri::ListPodSandboxMetricsResponse* response) override;
  absl::Status StreamPodSandboxMetrics(
      const CallContext& context, const cri::StreamPodSandboxMetricsRequest& request,
      ResponseStream<cri::StreamPodSandboxMetricsResponse>* stream) override;

 private:
  const Node& node_;
  Sandboxes* const sandboxes_;
  Containers* const containers_;
  EventHub* const events_;
  Statistics* const statistics_;
  ContainerStreams* const streams_;
  StreamingServer* const streaming_;
  ListItems<store::v1::PodRecord> pod_items_{
      [](const store::v1::PodRecord& pod) { return PodListItem(pod).SerializeAsString(); }};
  ListItems<store::v1::ContainerRecord> container_items_{
      [](const store::v1::ContainerRecord& container) {
        return ContainerListItem(container).SerializeAsString();
      }};
};

}  // namespace berth

#endif  // BERTH_SERVER_RUNTIME_HANDLER_H_
