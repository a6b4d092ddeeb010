#include "server/images/manifest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "server/images/digest.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr absl::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr absl::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr absl::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr absl::string_view kDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
constexpr absl::string_view kSchema1 = "application/vnd.docker.distribution.manifest.v1";
constexpr absl::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
constexpr absl::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";

absl::Status Refuse(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("manifest: ", field, ": ", why));
}

// A stranger's string as an error may show it.
std::string Shown(absl::string_view text) { return absl::CHexEscape(text.substr(0, 200)); }

// The string member `key`; empty if there is none.
absl::StatusOr<std::string> OptionalString(const json& object, const char* key,
                                           absl::string_view field) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return std::string();
  if (!it->is_string()) return Refuse(absl::StrCat(field, key), "must be a string");
  return it->get<std::string>();
}

absl::StatusOr<Descriptor> ParseDescriptor(const json& value, const std::string& field,
                                           uint64_t max_size) {
  if (!value.is_object()) return Refuse(field, "must be an object");
  Descriptor descriptor;
  ASSIGN_OR_RETURN(descriptor.media_type, OptionalString(value, "mediaType", field + "."));
  ASSIGN_OR_RETURN(const std::string digest, OptionalString(value, "digest", field + "."));
  if (absl::Status status = CheckDigest(digest); !status.ok()) {
    return Refuse(field + ".digest", status.message());
  }
  descriptor.digest = Digest(digest);
  const auto size = value.find("size");
  if (size == value.end() || !size->is_number_unsigned()) {
    return Refuse(field + ".size", "must be a number that is not negative");
  }
  descriptor.size = size->get<uint64_t>();
  if (descriptor.size > max_size) {
    return Refuse(field + ".size", absl::StrCat(descriptor.size, " exceeds ", max_size));
  }
  return descriptor;
}

absl::Status CheckLayerType(const std::string& type, const std::string& field) {
  if (absl::EndsWith(type, "+encrypted")) {
    return absl::UnimplementedError(absl::StrCat(
        "manifest: ", field, ": encrypted layers are not supported (", Shown(type), ")"));
  }
  static constexpr absl::string_view kKnown[] = {
      "application/vnd.oci.image.layer.v1.tar",
      "application/vnd.oci.image.layer.v1.tar+gzip",
      "application/vnd.oci.image.layer.v1.tar+zstd",
      "application/vnd.oci.image.layer.nondistributable.v1.tar",
      "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
      "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
      "application/vnd.docker.image.rootfs.diff.tar",
      "application/vnd.docker.image.rootfs.diff.tar.gzip",
      "application/vnd.docker.image.rootfs.diff.tar.zstd",
      "application/vnd.docker.image.rootfs.foreign.diff.tar",
      "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  };
  if (std::find(std::begin(kKnown), std::end(kKnown), type) != std::end(kKnown)) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("manifest: ", field, ": media type \"", Shown(type),
                                               "\" is no file system layer"));
}

absl::StatusOr<ImageIndex> ParseIndex(const json& document) {
  const json& manifests = document["manifests"];
  if (!manifests.is_array()) return Refuse("manifests", "must be a list");
  if (manifests.size() > kMaxIndexEntries) {
    return Refuse("manifests", absl::StrCat("more than ", kMaxIndexEntries, " entries"));
  }
  ImageIndex index;
  for (size_t i = 0; i < manifests.size(); ++i) {
    const std::string field = absl::StrCat("manifests[", i, "]");
    IndexEntry entry;
    ASSIGN_OR_RETURN(entry.manifest, ParseDescriptor(manifests[i], field, kMaxLayerBytes));
    const auto platform = manifests[i].find("platform");
    if (platform != manifests[i].end() && !platform->is_null()) {
      if (!platform->is_object()) return Refuse(field + ".platform", "must be an object");
      const std::string at = field + ".platform.";
      entry.has_platform = true;
      ASSIGN_OR_RETURN(entry.platform.os, OptionalString(*platform, "os", at));
      ASSIGN_OR_RETURN(entry.platform.architecture, OptionalString(*platform, "architecture", at));
      ASSIGN_OR_RETURN(entry.platform.variant, OptionalString(*platform, "variant", at));
    }
    index.manifests.push_back(std::move(entry));
  }
  return index;
}

absl::StatusOr<ImageManifest> ParseImageManifest(const json& document) {
  ImageManifest manifest;
  ASSIGN_OR_RETURN(const std::string artifact, OptionalString(document, "artifactType", ""));
  ASSIGN_OR_RETURN(manifest.config, ParseDescriptor(document["config"], "config", kMaxConfigBytes));
  const std::string& config_type = manifest.config.media_type;
  if (config_type != kOciConfig && config_type != kDockerConfig) {
    return absl::UnimplementedError(absl::StrCat("this is an artifact of type \"",
                                                 Shown(artifact.empty() ? config_type : artifact),
                                                 "\", not an image that runs"));
  }
  const auto layers = document.find("layers");
  if (layers == document.end() || !layers->is_array()) return Refuse("layers", "must be a list");
  if (layers->size() > kMaxLayers) {
    return Refuse("layers", absl::StrCat(layers->size(), " layers exceed ", kMaxLayers));
  }
  for (size_t i = 0; i < layers->size(); ++i) {
    const std::string field = absl::StrCat("layers[", i, "]");
    ASSIGN_OR_RETURN(Descriptor layer, ParseDescriptor((*layers)[i], field, kMaxLayerBytes));
    RETURN_IF_ERROR(CheckLayerType(layer.media_type, field + ".mediaType"));
    manifest.layers.push_back(std::move(layer));
  }
  return manifest;
}

std::string PlatformText(const Platform& platform) {
  return absl::StrCat(Shown(platform.os), "/", Shown(platform.architecture),
                      platform.variant.empty() ? "" : "/", Shown(platform.variant));
}

std::string NormalVariant(const Platform& platform) {
  if (platform.architecture == "arm64" && platform.variant == "v8") return "";
  if (platform.architecture == "arm" && platform.variant.empty()) return "v7";
  if (platform.architecture == "amd64" && platform.variant == "v1") return "";
  return platform.variant;
}

}  // namespace

absl::StatusOr<std::variant<ImageIndex, ImageManifest>> ParseManifest(
    absl::string_view bytes, absl::string_view media_type) {
  if (absl::StartsWith(media_type, kSchema1)) {
    return absl::UnimplementedError(
        "the registry serves a Docker schema 1 manifest, which is not "
        "supported: push the image again with a current tool");
  }
  json document = json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!document.is_object()) return Refuse("document", "is no JSON object");
  const auto version = document.find("schemaVersion");
  if (version != document.end() && version->is_number_integer() && *version == 1) {
    return absl::UnimplementedError(
        "Docker schema 1 manifests are not supported: push the image "
        "again with a current tool");
  }
  if (version == document.end() || !version->is_number_integer() || *version != 2) {
    return Refuse("schemaVersion", "must be 2");
  }
  ASSIGN_OR_RETURN(const std::string own_type, OptionalString(document, "mediaType", ""));
  const auto is_known = [](absl::string_view type) {
    return type == kOciIndex || type == kOciManifest || type == kDockerList ||
           type == kDockerManifest;
  };
  if (!own_type.empty() && is_known(media_type) && own_type != media_type) {
    return Refuse("mediaType",
                  absl::StrCat("\"", Shown(own_type), "\" was announced as \"", media_type, "\""));
  }
  const absl::string_view type = own_type.empty() ? media_type : absl::string_view(own_type);
  // A document that could be read in two ways would have two contents under one digest.
  const bool has_manifests = document.contains("manifests");
  const bool has_layers = document.contains("layers") || document.contains("config");
  if (has_manifests && has_layers) return Refuse("document", "is an index and a manifest at once");
  const bool is_index = is_known(type) ? type == kOciIndex || type == kDockerList : has_manifests;
  if (is_index) {
    if (!has_manifests) return Refuse("manifests", "is missing");
    return ParseIndex(document);
  }
  if (!is_known(type) && !has_layers) {
    return absl::UnimplementedError(
        absl::StrCat("manifest: media type \"", Shown(type), "\" is no image"));
  }
  if (!document.contains("config")) return Refuse("config", "is missing");
  return ParseImageManifest(document);
}

std::vector<Platform> HostPlatforms() {
  std::vector<Platform> platforms;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) platforms.push_back({"linux", "amd64", "v4"});
  if (__builtin_cpu_supports("x86-64-v3")) platforms.push_back({"linux", "amd64", "v3"});
  if (__builtin_cpu_supports("x86-64-v2")) platforms.push_back({"linux", "amd64", "v2"});
  platforms.push_back({"linux", "amd64", ""});
#elif defined(__aarch64__)
  platforms.push_back({"linux", "arm64", ""});
#elif defined(__riscv)
  platforms.push_back({"linux", "riscv64", ""});
#elif defined(__powerpc64__)
  platforms.push_back({"linux", "ppc64le", ""});
#elif defined(__s390x__)
  platforms.push_back({"linux", "s390x", ""});
#else
#error "name this architecture as Go does"
#endif
  return platforms;
}

bool PlatformMatches(const Platform& image, const Platform& host) {
  return image.os == host.os && image.architecture == host.architecture &&
         NormalVariant(image) == NormalVariant(host);
}

absl::StatusOr<Descriptor> ChooseManifest(const ImageIndex& index,
                                          const std::vector<Platform>& host) {
  for (const Platform& wanted : host) {
    for (const IndexEntry& entry : index.manifests) {
      if (entry.has_platform && PlatformMatches(entry.platform, wanted)) return entry.manifest;
    }
  }
  std::vector<std::string> found;
  for (const IndexEntry& entry : index.manifests) {
    if (!entry.has_platform) return entry.manifest;
    if (found.size() < 20) found.push_back(PlatformText(entry.platform));
  }
  return absl::NotFoundError(absl::StrCat("the index has no image for ", PlatformText(host.back()),
                                          "; it has: ", absl::StrJoin(found, ", ")));
}

}  // namespace berth
