// Statistics and metrics of containers and pods, as lists and as streams.
#include "base/status.h"
#include "server/cri/batches.h"
#include "server/filter_id.h"
#include "server/runtime_handler.h"

namespace berth {
namespace {

bool Resolve(const Store& store, const cri::ContainerStatsFilter& given,
             cri::ContainerStatsFilter* filter) {
  *filter = given;
  const auto find = [&store](const std::string& id) { return store.FindContainer(id); };
  const auto find_pod = [&store](const std::string& id) { return store.FindPod(id); };
  return ResolveFilterId(find, filter->mutable_id()) &&
         ResolveFilterId(find_pod, filter->mutable_pod_sandbox_id());
}

bool Resolve(const Store& store, const cri::PodSandboxStatsFilter& given,
             cri::PodSandboxStatsFilter* filter) {
  *filter = given;
  const auto find = [&store](const std::string& id) { return store.FindPod(id); };
  return ResolveFilterId(find, filter->mutable_id());
}

}  // namespace

absl::Status RuntimeHandler::ContainerStats(const CallContext& context,
                                            const cri::ContainerStatsRequest& request,
                                            cri::ContainerStatsResponse* response) {
  if (request.container_id().empty()) return absl::InvalidArgumentError("container_id is empty");
  ASSIGN_OR_RETURN(const ContainerRecordPtr record,
                   node_.store->FindContainer(request.container_id()));
  ASSIGN_OR_RETURN(*response->mutable_stats(), statistics_->OfContainer(ContainerId(record->id())));
  return absl::OkStatus();
}

absl::Status RuntimeHandler::ListContainerStats(const CallContext& context,
                                                const cri::ListContainerStatsRequest& request,
                                                cri::ListContainerStatsResponse* response) {
  cri::ContainerStatsFilter filter;
  if (!Resolve(*node_.store, request.filter(), &filter)) return absl::OkStatus();
  statistics_->ForEachContainer(filter, [response](cri::ContainerStats stats) {
    *response->add_stats() = std::move(stats);
    return true;
  });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamContainerStats(
    const CallContext& context, const cri::StreamContainerStatsRequest& request,
    ResponseStream<cri::StreamContainerStatsResponse>* stream) {
  cri::ContainerStatsFilter filter;
  if (!Resolve(*node_.store, request.filter(), &filter)) return absl::OkStatus();
  Batches batches(stream, &cri::StreamContainerStatsResponse::mutable_container_stats);
  statistics_->ForEachContainer(
      filter, [&batches](cri::ContainerStats stats) { return batches.Add(std::move(stats)); });
  return batches.Finish();
}

absl::Status RuntimeHandler::PodSandboxStats(const CallContext& context,
                                             const cri::PodSandboxStatsRequest& request,
                                             cri::PodSandboxStatsResponse* response) {
  if (request.pod_sandbox_id().empty()) {
    return absl::InvalidArgumentError("pod_sandbox_id is empty");
  }
  ASSIGN_OR_RETURN(const PodRecordPtr record, node_.store->FindPod(request.pod_sandbox_id()));
  ASSIGN_OR_RETURN(*response->mutable_stats(), statistics_->OfPod(PodId(record->id())));
  return absl::OkStatus();
}

absl::Status RuntimeHandler::ListPodSandboxStats(const CallContext& context,
                                                 const cri::ListPodSandboxStatsRequest& request,
                                                 cri::ListPodSandboxStatsResponse* response) {
  cri::PodSandboxStatsFilter filter;
  if (!Resolve(*node_.store, request.filter(), &filter)) return absl::OkStatus();
  statistics_->ForEachPod(filter, [response](cri::PodSandboxStats stats) {
    *response->add_stats() = std::move(stats);
    return true;
  });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamPodSandboxStats(
    const CallContext& context, const cri::StreamPodSandboxStatsRequest& request,
    ResponseStream<cri::StreamPodSandboxStatsResponse>* stream) {
  cri::PodSandboxStatsFilter filter;
  if (!Resolve(*node_.store, request.filter(), &filter)) return absl::OkStatus();
  Batches batches(stream, &cri::StreamPodSandboxStatsResponse::mutable_pod_sandbox_stats);
  statistics_->ForEachPod(
      filter, [&batches](cri::PodSandboxStats stats) { return batches.Add(std::move(stats)); });
  return batches.Finish();
}

absl::Status RuntimeHandler::ListMetricDescriptors(const CallContext& context,
                                                   const cri::ListMetricDescriptorsRequest& request,
                                                   cri::ListMetricDescriptorsResponse* response) {
  const std::vector<cri::MetricDescriptor> descriptors = MetricDescriptors();
  response->mutable_descriptors()->Assign(descriptors.begin(), descriptors.end());
  return absl::OkStatus();
}

absl::Status RuntimeHandler::ListPodSandboxMetrics(const CallContext& context,
                                                   const cri::ListPodSandboxMetricsRequest& request,
                                                   cri::ListPodSandboxMetricsResponse* response) {
  statistics_->ForEachPodMetrics([response](cri::PodSandboxMetrics metrics) {
    *response->add_pod_metrics() = std::move(metrics);
    return true;
  });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamPodSandboxMetrics(
    const CallContext& context, const cri::StreamPodSandboxMetricsRequest& request,
    ResponseStream<cri::StreamPodSandboxMetricsResponse>* stream) {
  Batches batches(stream, &cri::StreamPodSandboxMetricsResponse::mutable_pod_sandbox_metrics);
  statistics_->ForEachPodMetrics(
      [&batches](cri::PodSandboxMetrics metrics) { return batches.Add(std::move(metrics)); });
  return batches.Finish();
}

}  // namespace berth
