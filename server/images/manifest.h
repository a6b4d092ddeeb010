// Manifests and indexes: OCI image-spec v1.1 and Docker's schema 2. Every byte comes from strangers.
#ifndef BERTH_SERVER_IMAGES_MANIFEST_H_
#define BERTH_SERVER_IMAGES_MANIFEST_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"

namespace berth {

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
};

struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size = 0;
};

struct ImageManifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
};

struct IndexEntry {
  Descriptor manifest;
  bool has_platform = false;
  Platform platform;
};

struct ImageIndex {
  std::vector<IndexEntry> manifests;
};

// Reads a document of which `media_type` was said (the Content-Type, or a descriptor's; may be empty).
// InvalidArgument names the field: no JSON object, a media type that contradicts the document's own, a
// document that is both index and manifest, digests, sizes, more than kMaxLayers layers or
// kMaxIndexEntries entries. Unimplemented: schema 1, encrypted layers, layers that are no tar,
// artifacts whose config is no image configuration.
absl::StatusOr<std::variant<ImageIndex, ImageManifest>> ParseManifest(absl::string_view bytes,
                                                                      absl::string_view media_type);

// overlayfs stacks 500 lower directories (OVL_MAX_STACK, fs/overlayfs/params.h, Linux 5.15); one is kept
// free for the layer of implied directories.
inline constexpr int kMaxLayers = 499;
inline constexpr int kMaxIndexEntries = 1000;
// A bound without a standard behind it: no layer in use is near it, and sums stay far from overflow.
inline constexpr uint64_t kMaxLayerBytes = uint64_t{1} << 40;
inline constexpr uint64_t kMaxConfigBytes = 4u << 20;

// What this machine runs, best first: linux and its architecture with the variants that the CPU has.
std::vector<Platform> HostPlatforms();

// True if `image` runs where `host` is wanted: an empty variant of arm64 means v8, of arm v7.
bool PlatformMatches(const Platform& image, const Platform& host);

// The entry for the first of `host` that has one; an entry without a platform counts if no other does.
// NotFound lists the platforms that there are.
absl::StatusOr<Descriptor> ChooseManifest(const ImageIndex& index,
                                          const std::vector<Platform>& host);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_MANIFEST_H_
