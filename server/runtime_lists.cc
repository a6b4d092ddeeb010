// The lists of pods and containers, their streams, and the stream of events.
#include <optional>

#include "server/cri/batches.h"
#include "server/cri/filters.h"
#include "server/filter_id.h"
#include "server/pods/statuses.h"
#include "server/runtime_handler.h"

namespace berth {
namespace {

// The filter with full ids in it; nothing if an id fits nothing or several, so that the list is empty.
std::optional<cri::PodSandboxFilter> Resolve(const Store& store, cri::PodSandboxFilter filter) {
  const auto find = [&store](const std::string& id) { return store.FindPod(id); };
  if (!ResolveFilterId(find, filter.mutable_id())) return std::nullopt;
  return filter;
}

std::optional<cri::ContainerFilter> Resolve(const Store& store, cri::ContainerFilter filter) {
  const auto find = [&store](const std::string& id) { return store.FindContainer(id); };
  const auto find_pod = [&store](const std::string& id) { return store.FindPod(id); };
  if (!ResolveFilterId(find, filter.mutable_id()) ||
      !ResolveFilterId(find_pod, filter.mutable_pod_sandbox_id())) {
    return std::nullopt;
  }
  return filter;
}

bool Wanted(const cri::PodSandboxFilter& filter, const store::v1::PodRecord& record) {
  return Shown(record) && Matches(filter, record.id(), StateOf(record), record.config().labels());
}

bool Wanted(const cri::ContainerFilter& filter, const store::v1::ContainerRecord& record) {
  return Matches(filter, record.id(), record.pod_id(), StateOf(record), record.config().labels());
}

}  // namespace

absl::Status RuntimeHandler::ListPodSandbox(const CallContext& context,
                                            const cri::ListPodSandboxRequest& request,
                                            cri::ListPodSandboxResponse* response) {
  const std::optional<cri::PodSandboxFilter> filter = Resolve(*node_.store, request.filter());
  if (!filter.has_value()) return absl::OkStatus();
  pod_items_.AddTo(response, cri::ListPodSandboxResponse::kItemsFieldNumber, node_.store->Pods(),
                   [&](const store::v1::PodRecord& record) { return Wanted(*filter, record); });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamPodSandboxes(
    const CallContext& context, const cri::StreamPodSandboxesRequest& request,
    ResponseStream<cri::StreamPodSandboxesResponse>* stream) {
  Batches batches(stream, &cri::StreamPodSandboxesResponse::mutable_pod_sandboxes);
  const std::optional<cri::PodSandboxFilter> filter = Resolve(*node_.store, request.filter());
  if (!filter.has_value()) return batches.Finish();
  for (const PodRecordPtr& record : node_.store->Pods()) {
    if (Wanted(*filter, *record) && !batches.Add(PodListItem(*record))) break;
  }
  return batches.Finish();
}

absl::Status RuntimeHandler::ListContainers(const CallContext& context,
                                            const cri::ListContainersRequest& request,
                                            cri::ListContainersResponse* response) {
  const std::optional<cri::ContainerFilter> filter = Resolve(*node_.store, request.filter());
  if (!filter.has_value()) return absl::OkStatus();
  container_items_.AddTo(
      response, cri::ListContainersResponse::kContainersFieldNumber, node_.store->Containers(),
      [&](const store::v1::ContainerRecord& record) { return Wanted(*filter, record); });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamContainers(
    const CallContext& context, const cri::StreamContainersRequest& request,
    ResponseStream<cri::StreamContainersResponse>* stream) {
  Batches batches(stream, &cri::StreamContainersResponse::mutable_containers);
  const std::optional<cri::ContainerFilter> filter = Resolve(*node_.store, request.filter());
  if (!filter.has_value()) return batches.Finish();
  for (const ContainerRecordPtr& record : node_.store->Containers()) {
    if (Wanted(*filter, *record) && !batches.Add(ContainerListItem(*record))) break;
  }
  return batches.Finish();
}

absl::Status RuntimeHandler::GetContainerEvents(
    const CallContext& context, const cri::GetEventsRequest& request,
    ResponseStream<cri::ContainerEventResponse>* stream) {
  const std::unique_ptr<EventHub::Subscription> subscription = events_->Subscribe();
  const CancelSubscription wake = context.OnCancel([&subscription] { subscription->End(); });
  // From here on the client may rely on hearing of everything.
  if (!stream->Begin()) return absl::CancelledError("the client left");
  cri::ContainerEventResponse event;
  while (subscription->Next(&event)) {
    if (!stream->Write(event)) return absl::CancelledError("the client left");
  }
  return subscription->status();
}

}  // namespace berth
