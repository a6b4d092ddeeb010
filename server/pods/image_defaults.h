// What a container's record keeps of its image, so that an exec, an inspection or another process at
// its gate needs no image: that may have been removed, and only the layers are pinned.
#ifndef BERTH_SERVER_PODS_IMAGE_DEFAULTS_H_
#define BERTH_SERVER_PODS_IMAGE_DEFAULTS_H_

#include "proto/berth/store/v1/store.pb.h"
#include "server/images/image.h"

namespace berth {

store::v1::ImageDefaults ToRecord(const ImageConfig& image);
// With the members that ToRecord keeps: all that a specification is built from.
ImageConfig FromRecord(const store::v1::ImageDefaults& defaults);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_IMAGE_DEFAULTS_H_
