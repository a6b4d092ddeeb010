// The CRI's messages under a short name: `cri::ContainerStatus` inside namespace berth.
//
// protoc puts them into ::runtime::v1, after the proto package that the wire demands.
#ifndef BERTH_SERVER_CRI_API_H_
#define BERTH_SERVER_CRI_API_H_

#include "proto/cri/v1/api.pb.h"  // IWYU pragma: export

namespace berth {
namespace cri = ::runtime::v1;
}  // namespace berth

#endif  // BERTH_SERVER_CRI_API_H_
