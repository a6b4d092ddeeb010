// The images that are there: records, sidecars, blobs, references to layers and the lookup in memory,
// changed together and in the order that a crash forgives.
//
//   add     layers referenced → blobs → sidecar → [record] COMMIT → lookup
//   remove  [record removed] COMMIT → lookup → sidecar → reference dropped → layers and blobs removed
//
// Threads: any. Changes to one image come one after the other.
#ifndef BERTH_SERVER_IMAGES_IMAGE_CATALOG_H_
#define BERTH_SERVER_IMAGES_IMAGE_CATALOG_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "server/images/blob_store.h"
#include "server/images/image_fetch.h"
#include "server/images/image_lookup.h"
#include "server/images/image_records.h"
#include "snapshotter/layer_store.h"

namespace berth {

class ImageCatalog {
 public:
  // `pinned`: normalised names. `database` and `layers` outlive the catalog.
  static absl::StatusOr<std::unique_ptr<ImageCatalog>> Open(const std::string& root,
                                                            std::set<std::string> pinned,
                                                            Database* database, LayerStore* layers);

  // Makes a fetched image visible under `names`.
  absl::Status Add(FetchedImage image, const std::vector<std::string>& names);
  // As ImageService::Remove.
  absl::Status Remove(absl::string_view text);

  const ImageLookup& lookup() const { return lookup_; }
  const BlobStore& blobs() const { return blobs_; }

 private:
  class Claim;

  ImageCatalog(BlobStore blobs, std::set<std::string> pinned, Database* database,
               LayerStore* layers)
      : blobs_(std::move(blobs)), records_(database), layers_(layers), lookup_(std::move(pinned)) {}

  absl::Status Load();
  absl::Status Rebuild();
  // Reads an image's blobs and checks that its layers are there.
  absl::StatusOr<Image> ReadImage(const ImageId& id, const Digest& manifest, LayerLease& lease);
  absl::Status RebuildOne(const ImageSidecar& sidecar);
  // Removes what no record names.
  absl::Status Sweep();
  absl::Status WriteSidecar(const ImageId& id);
  absl::Status RemoveTag(const ImageId& id, const std::string& tag);
  absl::Status RemoveImage(const ImageId& id);

  const BlobStore blobs_;
  ImageRecords records_;
  LayerStore* const layers_;
  ImageLookup lookup_;
  Mutex mu_;
  CondVar released_;
  std::set<ImageId> claimed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_CATALOG_H_
