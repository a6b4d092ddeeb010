#include <variant>

#include "server/images/digest.h"
#include "server/images/manifest.h"
#include "tests/fuzz/fuzz.h"

namespace {

void CheckDescriptor(const berth::Descriptor& descriptor, uint64_t limit) {
  FUZZ_CHECK(berth::CheckDigest(descriptor.digest.str()).ok());
  FUZZ_CHECK(descriptor.size <= limit);
}

}  // namespace

// The first line is the media type that was said.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  const absl::string_view media_type = berth::TakeLine(&input);
  const auto document = berth::ParseManifest(input, media_type);
  if (!document.ok()) return 0;
  if (const auto* index = std::get_if<berth::ImageIndex>(&*document)) {
    FUZZ_CHECK(index->manifests.size() <= berth::kMaxIndexEntries);
    const auto chosen = berth::ChooseManifest(*index, berth::HostPlatforms());
    if (chosen.ok()) FUZZ_CHECK(berth::CheckDigest(chosen->digest.str()).ok());
    return 0;
  }
  const auto& manifest = std::get<berth::ImageManifest>(*document);
  FUZZ_CHECK(manifest.layers.size() <= berth::kMaxLayers);
  CheckDescriptor(manifest.config, berth::kMaxConfigBytes);
  for (const berth::Descriptor& layer : manifest.layers) {
    CheckDescriptor(layer, berth::kMaxLayerBytes);
  }
  return 0;
}
