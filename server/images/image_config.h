// The configuration blob of an image (OCI image-spec v1.1, config.md; Docker's is the same in what
// matters here).
#ifndef BERTH_SERVER_IMAGES_IMAGE_CONFIG_H_
#define BERTH_SERVER_IMAGES_IMAGE_CONFIG_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "server/images/image.h"

namespace berth {

struct ParsedImageConfig {
  ImageConfig config;
  std::vector<DiffId> diff_ids;  // bottom first, one for each layer of the manifest
};

// InvalidArgument names the field that has another type than it should, holds a NUL, or, for
// rootfs.diff_ids, another count than the manifest's `layers`.
absl::StatusOr<ParsedImageConfig> ParseImageConfig(absl::string_view bytes, size_t layers);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_CONFIG_H_
