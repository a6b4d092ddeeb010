#include "server/pods/statuses.h"

#include "server/pods/signals.h"

namespace berth {
namespace {

// What pods and containers, in lists and statuses, have in common.
template <typename Record, typename Message>
void SetCommon(const Record& record, Message* message) {
  message->set_id(record.id());
  *message->mutable_metadata() = record.config().metadata();
  message->set_state(StateOf(record));
  message->set_created_at(record.created_at_ns());
  *message->mutable_labels() = record.config().labels();
  *message->mutable_annotations() = record.config().annotations();
}

template <typename Message>
void SetImage(const store::v1::ContainerRecord& record, Message* message) {
  *message->mutable_image() = record.config().image();
  message->mutable_image()->set_image(record.user_image());
  message->set_image_id(record.image_id());
  message->set_image_ref(record.image_ref().empty() ? record.image_id() : record.image_ref());
}

}  // namespace

cri::PodSandboxState StateOf(const store::v1::PodRecord& record) {
  return record.state() == store::v1::POD_STATE_READY ? cri::SANDBOX_READY : cri::SANDBOX_NOTREADY;
}

cri::ContainerState StateOf(const store::v1::ContainerRecord& record) {
  switch (record.state()) {
    case store::v1::CONTAINER_STATE_CREATED:
      return cri::CONTAINER_CREATED;
    case store::v1::CONTAINER_STATE_RUNNING:
      return cri::CONTAINER_RUNNING;
    case store::v1::CONTAINER_STATE_EXITED:
      return cri::CONTAINER_EXITED;
    default:
      return cri::CONTAINER_UNKNOWN;
  }
}

bool Shown(const store::v1::PodRecord& record) {
  return record.state() == store::v1::POD_STATE_READY ||
         record.state() == store::v1::POD_STATE_NOTREADY;
}

cri::PodSandbox PodListItem(const store::v1::PodRecord& record) {
  cri::PodSandbox item;
  SetCommon(record, &item);
  item.set_runtime_handler(record.runtime_handler());
  return item;
}

cri::PodSandboxStatus PodStatus(const store::v1::PodRecord& record) {
  cri::PodSandboxStatus status;
  SetCommon(record, &status);
  status.set_runtime_handler(record.runtime_handler());
  *status.mutable_linux()->mutable_namespaces()->mutable_options() = record.namespaces();
  cri::PodSandboxNetworkStatus* network = status.mutable_network();
  for (int i = 0; i < record.ips_size(); ++i) {
    if (i == 0) {
      network->set_ip(record.ips(i));
    } else {
      network->add_additional_ips()->set_ip(record.ips(i));
    }
  }
  return status;
}

cri::Container ContainerListItem(const store::v1::ContainerRecord& record) {
  cri::Container item;
  SetCommon(record, &item);
  item.set_pod_sandbox_id(record.pod_id());
  SetImage(record, &item);
  return item;
}

cri::ContainerStatus ContainerStatusOf(const store::v1::ContainerRecord& record) {
  cri::ContainerStatus status;
  SetCommon(record, &status);
  SetImage(record, &status);
  status.set_started_at(record.started_at_ns());
  status.set_finished_at(record.finished_at_ns());
  status.set_exit_code(record.exit_code());
  status.set_reason(record.reason());
  status.set_message(record.message());
  *status.mutable_mounts() = record.config().mounts();
  status.set_log_path(record.log_path());
  *status.mutable_resources()->mutable_linux() = record.resources();
  *status.mutable_user()->mutable_linux() = record.user();
  status.set_stop_signal(SignalValue(record.stop_signal()));
  return status;
}

}  // namespace berth
