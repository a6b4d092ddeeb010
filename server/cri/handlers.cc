#include "server/cri/handlers.h"

// A method that nobody overrode.
#define BERTH_UNIMPLEMENTED(service, method, Request, Response)                                 \
  absl::Status service##Handler::method(const CallContext&, const cri::Request&, Response*) {   \
    return absl::UnimplementedError("/runtime.v1." #service "/" #method " is not implemented"); \
  }

namespace berth {

BERTH_UNIMPLEMENTED(RuntimeService, Version, VersionRequest, cri::VersionResponse)
BERTH_UNIMPLEMENTED(RuntimeService, RunPodSandbox, RunPodSandboxRequest, cri::RunPodSandboxResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StopPodSandbox, StopPodSandboxRequest,
                    cri::StopPodSandboxResponse)
BERTH_UNIMPLEMENTED(RuntimeService, RemovePodSandbox, RemovePodSandboxRequest,
                    cri::RemovePodSandboxResponse)
BERTH_UNIMPLEMENTED(RuntimeService, PodSandboxStatus, PodSandboxStatusRequest,
                    cri::PodSandboxStatusResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ListPodSandbox, ListPodSandboxRequest,
                    cri::ListPodSandboxResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StreamPodSandboxes, StreamPodSandboxesRequest,
                    ResponseStream<cri::StreamPodSandboxesResponse>)
BERTH_UNIMPLEMENTED(RuntimeService, CreateContainer, CreateContainerRequest,
                    cri::CreateContainerResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StartContainer, StartContainerRequest,
                    cri::StartContainerResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StopContainer, StopContainerRequest, cri::StopContainerResponse)
BERTH_UNIMPLEMENTED(RuntimeService, RemoveContainer, RemoveContainerRequest,
                    cri::RemoveContainerResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ListContainers, ListContainersRequest,
                    cri::ListContainersResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StreamContainers, StreamContainersRequest,
                    ResponseStream<cri::StreamContainersResponse>)
BERTH_UNIMPLEMENTED(RuntimeService, ContainerStatus, ContainerStatusRequest,
                    cri::ContainerStatusResponse)
BERTH_UNIMPLEMENTED(RuntimeService, UpdateContainerResources, UpdateContainerResourcesRequest,
                    cri::UpdateContainerResourcesResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ReopenContainerLog, ReopenContainerLogRequest,
                    cri::ReopenContainerLogResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ExecSync, ExecSyncRequest, cri::ExecSyncResponse)
BERTH_UNIMPLEMENTED(RuntimeService, Exec, ExecRequest, cri::ExecResponse)
BERTH_UNIMPLEMENTED(RuntimeService, Attach, AttachRequest, cri::AttachResponse)
BERTH_UNIMPLEMENTED(RuntimeService, PortForward, PortForwardRequest, cri::PortForwardResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ContainerStats, ContainerStatsRequest,
                    cri::ContainerStatsResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ListContainerStats, ListContainerStatsRequest,
                    cri::ListContainerStatsResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StreamContainerStats, StreamContainerStatsRequest,
                    ResponseStream<cri::StreamContainerStatsResponse>)
BERTH_UNIMPLEMENTED(RuntimeService, PodSandboxStats, PodSandboxStatsRequest,
                    cri::PodSandboxStatsResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ListPodSandboxStats, ListPodSandboxStatsRequest,
                    cri::ListPodSandboxStatsResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StreamPodSandboxStats, StreamPodSandboxStatsRequest,
                    ResponseStream<cri::StreamPodSandboxStatsResponse>)
BERTH_UNIMPLEMENTED(RuntimeService, UpdateRuntimeConfig, UpdateRuntimeConfigRequest,
                    cri::UpdateRuntimeConfigResponse)
BERTH_UNIMPLEMENTED(RuntimeService, Status, StatusRequest, cri::StatusResponse)
BERTH_UNIMPLEMENTED(RuntimeService, CheckpointContainer, CheckpointContainerRequest,
                    cri::CheckpointContainerResponse)
BERTH_UNIMPLEMENTED(RuntimeService, CheckpointPod, CheckpointPodRequest, cri::CheckpointPodResponse)
BERTH_UNIMPLEMENTED(RuntimeService, RestorePod, RestorePodRequest, cri::RestorePodResponse)
BERTH_UNIMPLEMENTED(RuntimeService, GetContainerEvents, GetEventsRequest,
                    ResponseStream<cri::ContainerEventResponse>)
BERTH_UNIMPLEMENTED(RuntimeService, ListMetricDescriptors, ListMetricDescriptorsRequest,
                    cri::ListMetricDescriptorsResponse)
BERTH_UNIMPLEMENTED(RuntimeService, ListPodSandboxMetrics, ListPodSandboxMetricsRequest,
                    cri::ListPodSandboxMetricsResponse)
BERTH_UNIMPLEMENTED(RuntimeService, StreamPodSandboxMetrics, StreamPodSandboxMetricsRequest,
                    ResponseStream<cri::StreamPodSandboxMetricsResponse>)
BERTH_UNIMPLEMENTED(RuntimeService, RuntimeConfig, RuntimeConfigRequest, cri::RuntimeConfigResponse)
BERTH_UNIMPLEMENTED(RuntimeService, UpdatePodSandboxResources, UpdatePodSandboxResourcesRequest,
                    cri::UpdatePodSandboxResourcesResponse)
BERTH_UNIMPLEMENTED(ImageService, ListImages, ListImagesRequest, cri::ListImagesResponse)
BERTH_UNIMPLEMENTED(ImageService, StreamImages, StreamImagesRequest,
                    ResponseStream<cri::StreamImagesResponse>)
BERTH_UNIMPLEMENTED(ImageService, ImageStatus, ImageStatusRequest, cri::ImageStatusResponse)
BERTH_UNIMPLEMENTED(ImageService, PullImage, PullImageRequest, cri::PullImageResponse)
BERTH_UNIMPLEMENTED(ImageService, RemoveImage, RemoveImageRequest, cri::RemoveImageResponse)
BERTH_UNIMPLEMENTED(ImageService, ImageFsInfo, ImageFsInfoRequest, cri::ImageFsInfoResponse)

}  // namespace berth
