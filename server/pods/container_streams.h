// Exec, Attach and PortForward: what the streaming server asks of containers and pods.
#ifndef BERTH_SERVER_PODS_CONTAINER_STREAMS_H_
#define BERTH_SERVER_PODS_CONTAINER_STREAMS_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/cri/api.h"
#include "server/pods/containers.h"
#include "server/pods/keepers.h"
#include "server/pods/node.h"
#include "server/streaming/stream_backend.h"

namespace berth {

// Thread-safe.
class ContainerStreams : public StreamBackend {
 public:
  ContainerStreams(const Node& node, Containers* containers, Keepers* keepers)
      : node_(node), containers_(containers), keepers_(keepers) {}

  // What a URL is to stand for. InvalidArgument names the field; NotFound; FailedPrecondition if the
  // container doesn't run or the pod isn't ready.
  absl::StatusOr<StreamRequest> RequestOf(const cri::ExecRequest& request) const;
  absl::StatusOr<StreamRequest> RequestOf(const cri::AttachRequest& request) const;
  absl::StatusOr<StreamRequest> RequestOf(const cri::PortForwardRequest& request) const;

  absl::StatusOr<StartedExec> Exec(const StreamRequest& request) override;
  absl::StatusOr<StartedAttach> Attach(const StreamRequest& request) override;
  absl::StatusOr<UniqueFd> PodSocket(const std::string& pod, int family) override;

 private:
  absl::StatusOr<ContainerRecordPtr> Running(const std::string& id) const;

  const Node& node_;
  Containers* const containers_;
  Keepers* const keepers_;
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_CONTAINER_STREAMS_H_
