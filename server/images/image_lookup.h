// The images in memory, by ID and by name: what every read of the image service is answered from.
// Threads: any; no method waits for more than another's few map operations.
#ifndef BERTH_SERVER_IMAGES_IMAGE_LOOKUP_H_
#define BERTH_SERVER_IMAGES_IMAGE_LOOKUP_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "server/images/image.h"

namespace berth {

class ImageLookup {
 public:
  using Pointer = std::shared_ptr<const Image>;

  // An image is pinned while it has one of the names in `pinned` (normalised tags or repo digests).
  explicit ImageLookup(std::set<std::string> pinned) : pinned_(std::move(pinned)) {}

  // Adds or replaces an image (its own name lists are not read) and gives it `names` besides those it
  // has; a name that another image had moves. Returns the other images that lost a name.
  std::vector<ImageId> Put(Image image, const std::vector<std::string>& names);
  void RemoveName(const std::string& name);
  void RemoveImage(const ImageId& id);

  // As ImageService::Resolve says.
  absl::StatusOr<Pointer> Find(absl::string_view text) const;
  // Null if there is none.
  Pointer FindId(const ImageId& id) const;
  std::vector<Pointer> List() const;

 private:
  // Replaces an image's entry by a copy with the names that it has now.
  void Publish(const ImageId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Pointer> FindPrefix(absl::string_view hex) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::set<std::string> pinned_;
  mutable Mutex mu_;
  std::map<ImageId, Pointer> images_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, ImageId> names_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_LOOKUP_H_
