// The two CRI services as plain interfaces: the daemon's flows implement them, the transport calls
// them.
//
// Contract of every method, beyond what the CRI says of it:
// - It may be called by many threads at once, also with equal requests.
// - It answers by its return value: a failure's code and message reach the client as they are (see
//   status_map.h), and `response` is then ignored. It never blocks past `context.deadline()`, and
//   should look at `context.cancelled()` or subscribe to it where it waits.
// - `response` and `request` live until it returns; `response` is empty when it is called.
// - Those marked "Inline" run on a completion-queue thread, of which there are two: they must not
// block
//   on anything but a short lock. All others run on the pool for blocking calls.
// - What isn't overridden answers Unimplemented with the method's name.
#ifndef BERTH_SERVER_CRI_HANDLERS_H_
#define BERTH_SERVER_CRI_HANDLERS_H_

#include "absl/status/status.h"
#include "server/cri/api.h"
#include "server/cri/call_context.h"

namespace berth {

// The answers of a server-streaming call.
template <typename Response>
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;

  // Tells the client, by the headers, that the stream has begun: for a stream whose first message may
  // be long in coming. At most once, before the first Write. False as Write.
  virtual bool Begin() = 0;

  // Sends one message; waits while the client is slower than its flow-control window: never more than
  // one message of a stream waits here. False once nobody listens any more, or the client has taken
  // nothing for too long (CriServerOptions::stream_write_timeout): the handler should return then.
  virtual bool Write(const Response& response) = 0;
};

// runtime.v1.RuntimeService.
class RuntimeServiceHandler {
 public:
  virtual ~RuntimeServiceHandler() = default;

  // Inline.
  virtual absl::Status Version(const CallContext& context, const cri::VersionRequest& request,
                               cri::VersionResponse* response);
  virtual absl::Status RunPodSandbox(const CallContext& context,
                                     const cri::RunPodSandboxRequest& request,
                                     cri::RunPodSandboxResponse* response);
  virtual absl::Status StopPodSandbox(const CallContext& context,
                                      const cri::StopPodSandboxRequest& request,
                                      cri::StopPodSandboxResponse* response);
  virtual absl::Status RemovePodSandbox(const CallContext& context,
                                        const cri::RemovePodSandboxRequest& request,
                                        cri::RemovePodSandboxResponse* response);
  // Inline.
  virtual absl::Status PodSandboxStatus(const CallContext& context,
                                        const cri::PodSandboxStatusRequest& request,
                                        cri::PodSandboxStatusResponse* response);
  // Inline.
  virtual absl::Status ListPodSandbox(const CallContext& context,
                                      const cri::ListPodSandboxRequest& request,
                                      cri::ListPodSandboxResponse* response);
  virtual absl::Status StreamPodSandboxes(const CallContext& context,
                                          const cri::StreamPodSandboxesRequest& request,
                                          ResponseStream<cri::StreamPodSandboxesResponse>* stream);
  virtual absl::Status CreateContainer(const CallContext& context,
                                       const cri::CreateContainerRequest& request,
                                       cri::CreateContainerResponse* response);
  virtual absl::Status StartContainer(const CallContext& context,
                                      const cri::StartContainerRequest& request,
                                      cri::StartContainerResponse* response);
  virtual absl::Status StopContainer(const CallContext& context,
                                     const cri::StopContainerRequest& request,
                                     cri::StopContainerResponse* response);
  virtual absl::Status RemoveContainer(const CallContext& context,
                                       const cri::RemoveContainerRequest& request,
                                       cri::RemoveContainerResponse* response);
  // Inline.
  virtual absl::Status ListContainers(const CallContext& context,
                                      const cri::ListContainersRequest& request,
                                      cri::ListContainersResponse* response);
  virtual absl::Status StreamContainers(const CallContext& context,
                                        const cri::StreamContainersRequest& request,
                                        ResponseStream<cri::StreamContainersResponse>* stream);
  // Inline.
  virtual absl::Status ContainerStatus(const CallContext& context,
                                       const cri::ContainerStatusRequest& request,
                                       cri::ContainerStatusResponse* response);
  virtual absl::Status UpdateContainerResources(const CallContext& context,
                                                const cri::UpdateContainerResourcesRequest& request,
                                                cri::UpdateContainerResourcesResponse* response);
  virtual absl::Status ReopenContainerLog(const CallContext& context,
                                          const cri::ReopenContainerLogRequest& request,
                                          cri::ReopenContainerLogResponse* response);
  virtual absl::Status ExecSync(const CallContext& context, const cri::ExecSyncRequest& request,
                                cri::ExecSyncResponse* response);
  virtual absl::Status Exec(const CallContext& context, const cri::ExecRequest& request,
                            cri::ExecResponse* response);
  virtual absl::Status Attach(const CallContext& context, const cri::AttachRequest& request,
                              cri::AttachResponse* response);
  virtual absl::Status PortForward(const CallContext& context,
                                   const cri::PortForwardRequest& request,
                                   cri::PortForwardResponse* response);
  virtual absl::Status ContainerStats(const CallContext& context,
                                      const cri::ContainerStatsRequest& request,
                                      cri::ContainerStatsResponse* response);
  virtual absl::Status ListContainerStats(const CallContext& context,
                                          const cri::ListContainerStatsRequest& request,
                                          cri::ListContainerStatsResponse* response);
  virtual absl::Status StreamContainerStats(
      const CallContext& context, const cri::StreamContainerStatsRequest& request,
      ResponseStream<cri::StreamContainerStatsResponse>* stream);
  virtual absl::Status PodSandboxStats(const CallContext& context,
                                       const cri::PodSandboxStatsRequest& request,
                                       cri::PodSandboxStatsResponse* response);
  virtual absl::Status ListPodSandboxStats(const CallContext& context,
                                           const cri::ListPodSandboxStatsRequest& request,
                                           cri::ListPodSandboxStatsResponse* response);
  virtual absl::Status StreamPodSandboxStats(
      const CallContext& context, const cri::StreamPodSandboxStatsRequest& request,
      ResponseStream<cri::StreamPodSandboxStatsResponse>* stream);
  virtual absl::Status UpdateRuntimeConfig(const CallContext& context,
                                           const cri::UpdateRuntimeConfigRequest& request,
                                           cri::UpdateRuntimeConfigResponse* response);
  // Inline.
  virtual absl::Status Status(const CallContext& context, const cri::StatusRequest& request,
                              cri::StatusResponse* response);
  virtual absl::Status CheckpointContainer(const CallContext& context,
                                           const cri::CheckpointContainerRequest& request,
                                           cri::CheckpointContainerResponse* response);
  virtual absl::Status CheckpointPod(const CallContext& context,
                                     const cri::CheckpointPodRequest& request,
                                     cri::CheckpointPodResponse* response);
  virtual absl::Status RestorePod(const CallContext& context, const cri::RestorePodRequest& request,
                                  cri::RestorePodResponse* response);
  virtual absl::Status GetContainerEvents(const CallContext& context,
                                          const cri::GetEventsRequest& request,
                                          ResponseStream<cri::ContainerEventResponse>* stream);
  // Inline.
  virtual absl::Status ListMetricDescriptors(const CallContext& context,
                                             const cri::ListMetricDescriptorsRequest& request,
                                             cri::ListMetricDescriptorsResponse* response);
  virtual absl::Status ListPodSandboxMetrics(const CallContext& context,
                                             const cri::ListPodSandboxMetricsRequest& request,
                                             cri::ListPodSandboxMetricsResponse* response);
  virtual absl::Status StreamPodSandboxMetrics(
      const CallContext& context, const cri::StreamPodSandboxMetricsRequest& request,
      ResponseStream<cri::StreamPodSandboxMetricsResponse>* stream);
  // Inline.
  virtual absl::Status RuntimeConfig(const CallContext& context,
                                     const cri::RuntimeConfigRequest& request,
                                     cri::RuntimeConfigResponse* response);
  virtual absl::Status UpdatePodSandboxResources(
      const CallContext& context, const cri::UpdatePodSandboxResourcesRequest& request,
      cri::UpdatePodSandboxResourcesResponse* response);
};

// runtime.v1.ImageService.
class ImageServiceHandler {
 public:
  virtual ~ImageServiceHandler() = default;

  // Inline.
  virtual absl::Status ListImages(const CallContext& context, const cri::ListImagesRequest& request,
                                  cri::ListImagesResponse* response);
  virtual absl::Status StreamImages(const CallContext& context,
                                    const cri::StreamImagesRequest& request,
                                    ResponseStream<cri::StreamImagesResponse>* stream);
  // Inline.
  virtual absl::Status ImageStatus(const CallContext& context,
                                   const cri::ImageStatusRequest& request,
                                   cri::ImageStatusResponse* response);
  virtual absl::Status PullImage(const CallContext& context, const cri::PullImageRequest& request,
                                 cri::PullImageResponse* response);
  virtual absl::Status RemoveImage(const CallContext& context,
                                   const cri::RemoveImageRequest& request,
                                   cri::RemoveImageResponse* response);
  virtual absl::Status ImageFsInfo(const CallContext& context,
                                   const cri::ImageFsInfoRequest& request,
                                   cri::ImageFsInfoResponse* response);
};
}  // namespace berth

#endif  // BERTH_SERVER_CRI_HANDLERS_H_
