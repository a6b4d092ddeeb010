// The images of this node: pull, look up, list and remove. The CRI image service and the pod flows
// stand on this class and see nothing of registries, manifests and layers below it.
//
// Vocabulary
//   reference   what a caller writes: busybox, ghcr.io/a/b:1, localhost:5000/c@sha256:...
//   name        a normalised reference by which an image is listed: docker.io/library/busybox:latest
//               (a repo tag) or docker.io/library/busybox@sha256:... (a repo digest)
//   image ID    the digest of the image's config, sha256:HEX
//   diff ID     the digest of one uncompressed layer
//
// Life of an image
//   Pull makes it visible by one commit, after its manifest, config and every layer are durable and
//   have the digests that the manifest and the config state. A tag that moves goes from the old image
//   to the new one in the same commit. Remove takes away its names and then its record; its layers go
//   when no image, snapshot or pull needs them. A crash leaves whole layers and blobs that no record
//   names; Open sweeps what is not needed.
//
// Threads: every method may be called from any thread. Pull blocks for as long as the transfer takes;
// reads come from memory and never wait for a pull, a disk or a network.
#ifndef BERTH_SERVER_IMAGES_IMAGE_SERVICE_H_
#define BERTH_SERVER_IMAGES_IMAGE_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/ids.h"
#include "server/images/image.h"
#include "server/images/pull_observer.h"
#include "server/images/registry_auth.h"
#include "snapshotter/layer_store.h"

namespace berth {

class Database;

struct ImageServiceOptions {
  std::string root;                 // ROOT of the daemon; blobs are kept below ROOT/blobs
  std::string config_path;          // directory of HOST/hosts.toml files; may be empty or missing
  std::vector<std::string> pinned;  // references of images that are listed as pinned
  // Layers that one pull downloads and unpacks at once; twice as many in all pulls together.
  int concurrent_downloads = 3;
  // A transfer that receives nothing for so long is ended and resumed.
  absl::Duration stall_timeout = absl::Seconds(30);
  LayerLimits limits;                // on what a layer may unpack to
  PullObserver* observer = nullptr;  // may be null; outlives the service
};

struct PulledImage {
  ImageId id;
  std::string repo_digest;  // docker.io/library/busybox@sha256:HEX
};

// Where images live, and what they take.
struct ImageFilesystem {
  std::string mountpoint;  // ROOT
  uint64_t used_bytes = 0;
  uint64_t inodes_used = 0;
  absl::Time timestamp;
};

class ImageService {
 public:
  // Loads the images from `database`'s tables (made if they are not there). An image whose blobs or
  // layers are missing is dropped from the list, so that kubelet pulls it again; if the tables are new
  // and blobs are there, the images are rebuilt from them (their names from the sidecars beside the
  // manifests). `database` and `layers` outlive the service.
  // Open comes before pulls and before other users of `layers` take references.
  static absl::StatusOr<std::unique_ptr<ImageService>> Open(ImageServiceOptions options,
                                                            Database* database, LayerStore* layers);
  virtual ~ImageService() = default;

  // Pulls `reference`; when it returns OK, Resolve(reference) finds the image, also after a power cut.
  // Equal pulls (reference and credentials) in flight are joined: cancelling one leaves the others.
  // Each other pull asks the registry for its manifest with its own credentials, even if everything is
  // on the node already. May be repeated.
  // InvalidArgument: the reference, or something the registry sent, is malformed or does not have the
  // digest it should have (DataLoss); Unimplemented: a kind of image that can't run here;
  // Unauthenticated and PermissionDenied: HTTP 401 and 403; NotFound: no such repository, tag or
  // platform; Unavailable: network; ResourceExhausted: 429 or a full disk; Cancelled,
  // DeadlineExceeded: from `cancellation`. A failed pull changes no image; layers that were complete
  // stay for the next pull.
  virtual absl::StatusOr<PulledImage> Pull(absl::string_view reference, const RegistryAuth& auth,
                                           Cancellation* cancellation) = 0;

  // Finds an image by image ID (with or without sha256:), a unique prefix of one, a tag (busybox means
  // docker.io/library/busybox:latest) or a repo digest. NotFound if there is none; InvalidArgument if
  // the text is no reference or the prefix is ambiguous.
  virtual absl::StatusOr<std::shared_ptr<const Image>> Resolve(absl::string_view text) const = 0;

  // All images in the order of their IDs. With `filter` not empty, only the one that Resolve finds.
  virtual std::vector<std::shared_ptr<const Image>> List(absl::string_view filter = "") const = 0;

  // Removes what `text` names: by a tag that is not the image's last, the tag; else the image with all
  // its names. OK if there is none. Containers that run from it are not disturbed: layers stay until
  // the last snapshot goes. After a crash the image is listed or gone.
  virtual absl::Status Remove(absl::string_view text) = 0;

  // From memory: the sums are kept as layers come and go.
  virtual ImageFilesystem FsInfo() const = 0;

  // Removes the layers and blobs that no image, snapshot or pull needs. Cheap when there is nothing
  // to do; the flows call it after removing a container's snapshot.
  virtual absl::Status CollectGarbage() = 0;
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_SERVICE_H_
