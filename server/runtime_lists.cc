// The lists of pods and containers, their streams, and the stream of events.
#include "absl/functional/function_ref.h"
#include "server/cri/batches.h"
#include "server/cri/filters.h"
#include "server/filter_id.h"
#include "server/pods/statuses.h"
#include "server/runtime_handler.h"

namespace berth {
namespace {

// Gives each pod that matches to `take`, until that returns false.
void ForEachPod(const Store& store, cri::PodSandboxFilter filter,
                absl::FunctionRef<bool(cri::PodSandbox)> take) {
  const auto find = [&store](const std::string& id) { return store.FindPod(id); };
  if (!ResolveFilterId(find, filter.mutable_id())) return;
  for (const PodRecordPtr& record : store.Pods()) {
    if (!Shown(*record)) continue;
    cri::PodSandbox item = PodListItem(*record);
    if (Matches(filter, item) && !take(std::move(item))) return;
  }
}

void ForEachContainer(const Store& store, cri::ContainerFilter filter,
                      absl::FunctionRef<bool(cri::Container)> take) {
  const auto find = [&store](const std::string& id) { return store.FindContainer(id); };
  const auto find_pod = [&store](const std::string& id) { return store.FindPod(id); };
  if (!ResolveFilterId(find, filter.mutable_id()) ||
      !ResolveFilterId(find_pod, filter.mutable_pod_sandbox_id())) {
    return;
  }
  for (const ContainerRecordPtr& record : store.Containers()) {
    cri::Container item = ContainerListItem(*record);
    if (Matches(filter, item) && !take(std::move(item))) return;
  }
}

}  // namespace

absl::Status RuntimeHandler::ListPodSandbox(const CallContext& context,
                                            const cri::ListPodSandboxRequest& request,
                                            cri::ListPodSandboxResponse* response) {
  ForEachPod(*node_.store, request.filter(), [response](cri::PodSandbox item) {
    *response->add_items() = std::move(item);
    return true;
  });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamPodSandboxes(
    const CallContext& context, const cri::StreamPodSandboxesRequest& request,
    ResponseStream<cri::StreamPodSandboxesResponse>* stream) {
  Batches batches(stream, &cri::StreamPodSandboxesResponse::mutable_pod_sandboxes);
  ForEachPod(*node_.store, request.filter(),
             [&batches](cri::PodSandbox item) { return batches.Add(std::move(item)); });
  return batches.Finish();
}

absl::Status RuntimeHandler::ListContainers(const CallContext& context,
                                            const cri::ListContainersRequest& request,
                                            cri::ListContainersResponse* response) {
  ForEachContainer(*node_.store, request.filter(), [response](cri::Container item) {
    *response->add_containers() = std::move(item);
    return true;
  });
  return absl::OkStatus();
}

absl::Status RuntimeHandler::StreamContainers(
    const CallContext& context, const cri::StreamContainersRequest& request,
    ResponseStream<cri::StreamContainersResponse>* stream) {
  Batches batches(stream, &cri::StreamContainersResponse::mutable_containers);
  ForEachContainer(*node_.store, request.filter(),
                   [&batches](cri::Container item) { return batches.Add(std::move(item)); });
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
