// Records as the CRI shows them. Pure.
#ifndef BERTH_SERVER_PODS_STATUSES_H_
#define BERTH_SERVER_PODS_STATUSES_H_

#include "server/cri/api.h"
#include "server/store/store.h"

namespace berth {

// Pods that are being made or taken apart are not shown.
bool Shown(const store::v1::PodRecord& record);

cri::PodSandboxState StateOf(const store::v1::PodRecord& record);
cri::ContainerState StateOf(const store::v1::ContainerRecord& record);

cri::PodSandbox PodListItem(const store::v1::PodRecord& record);
cri::PodSandboxStatus PodStatus(const store::v1::PodRecord& record);
cri::Container ContainerListItem(const store::v1::ContainerRecord& record);
cri::ContainerStatus ContainerStatusOf(const store::v1::ContainerRecord& record);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_STATUSES_H_
