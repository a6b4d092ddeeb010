// Between a pod's configuration, its record and its attachment to the network. Pure.
#ifndef BERTH_SERVER_PODS_ATTACHMENT_H_
#define BERTH_SERVER_PODS_ATTACHMENT_H_

#include <string>

#include "server/cri/api.h"
#include "server/network/network.h"
#include "server/store/store.h"

namespace berth {

DnsConfig DnsOf(const cri::PodSandboxConfig& config);

// What the network is asked for. InvalidArgument names the port mapping or the bandwidth annotation
// that is none.
absl::StatusOr<AttachRequest> AttachRequestFor(const store::v1::PodRecord& record);

// The record's form of an attachment and back.
void ToRecord(const Attachment& attachment, store::v1::CniAttachment::Phase phase,
              store::v1::CniAttachment* record);
Attachment FromRecord(const store::v1::PodRecord& pod, const store::v1::CniAttachment& record);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_ATTACHMENT_H_
