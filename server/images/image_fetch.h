// One pull's work up to the commit: reference → manifest → config → layers in the layer store.
#ifndef BERTH_SERVER_IMAGES_IMAGE_FETCH_H_
#define BERTH_SERVER_IMAGES_IMAGE_FETCH_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "server/images/blob_store.h"
#include "server/images/image_config.h"
#include "server/images/layer_flights.h"
#include "server/images/manifest.h"
#include "server/images/pull_observer.h"
#include "server/images/reference.h"
#include "server/images/registry_session.h"
#include "snapshotter/layer_store.h"

namespace berth {

// A small blob that was verified.
struct FetchedBlob {
  Digest digest;
  std::string bytes;
};

struct FetchedImage {
  Digest named_digest;   // of what the reference names: an index or the manifest
  FetchedBlob manifest;  // of this platform
  FetchedBlob config;
  ParsedImageConfig parsed;
  uint64_t size = 0;                  // config and compressed layers
  std::unique_ptr<LayerLease> lease;  // keeps every layer until the image's reference does
};

// What fetches share; all outlive them.
struct FetchContext {
  LayerStore* layers;
  const BlobStore* blobs;
  LayerFlights* flights;
  WorkSlots* slots;        // places for layers in all pulls together
  PullObserver* observer;  // not null
  int concurrent_layers;
  LayerLimits limits;
};

// Fetches what the session's reference names. Layers are fetched side by side; each that is complete
// stays in the layer store whatever happens to the others. The first failure ends the rest: it calls
// cancellation->Cancel(). Errors as ImageService::Pull has them.
absl::StatusOr<FetchedImage> FetchImage(const FetchContext& context,
                                        RegistrySession::Options options,
                                        Cancellation* cancellation);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_FETCH_H_
