// The image tables of state.db.
#ifndef BERTH_SERVER_IMAGES_IMAGE_RECORDS_H_
#define BERTH_SERVER_IMAGES_IMAGE_RECORDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "base/sqlite.h"

namespace berth {

struct ImageRecord {
  ImageId id;
  Digest manifest;  // the blob of the platform's manifest
  uint64_t size = 0;
  std::vector<DiffId> layers;  // complete, bottom first
};

struct ImageName {
  std::string name;
  ImageId image;
};

// Each method is one transaction; writes survive a power cut when they return.
class ImageRecords {
 public:
  explicit ImageRecords(Database* database) : database_(database) {}

  // Makes the tables. Says whether they are new: never marked as in use.
  absl::StatusOr<bool> Open();
  // The tables are the truth from here on.
  absl::Status MarkInUse();

  absl::StatusOr<std::vector<ImageRecord>> Images();
  absl::StatusOr<std::vector<ImageName>> Names();

  // Adds or replaces an image and gives it the names, which may have been another's.
  absl::Status Put(const ImageRecord& image, const std::vector<std::string>& names);
  absl::Status RemoveName(const std::string& name);
  // With all its names. A missing one is OK.
  absl::Status RemoveImage(const ImageId& id);

 private:
  Database* const database_;
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_RECORDS_H_
