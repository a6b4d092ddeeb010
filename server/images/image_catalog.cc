#include "server/images/image_catalog.h"

#include <map>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/status.h"
#include "server/images/image_config.h"
#include "server/images/manifest.h"
#include "server/images/reference.h"

namespace berth {

// The right to change one image; waits for whoever has it.
class ImageCatalog::Claim {
 public:
  Claim(ImageCatalog* catalog, ImageId id) : catalog_(catalog), id_(std::move(id)) {
    MutexLock lock(&catalog_->mu_);
    while (!catalog_->claimed_.insert(id_).second) catalog_->released_.Wait(&catalog_->mu_);
  }
  ~Claim() {
    MutexLock lock(&catalog_->mu_);
    catalog_->claimed_.erase(id_);
    catalog_->released_.SignalAll();
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  ImageCatalog* const catalog_;
  const ImageId id_;
};

absl::StatusOr<std::unique_ptr<ImageCatalog>> ImageCatalog::Open(const std::string& root,
                                                                 std::set<std::string> pinned,
                                                                 Database* database,
                                                                 LayerStore* layers) {
  ASSIGN_OR_RETURN(BlobStore blobs, BlobStore::Open(root));
  std::unique_ptr<ImageCatalog> catalog(
      new ImageCatalog(std::move(blobs), std::move(pinned), database, layers));
  ASSIGN_OR_RETURN(const bool is_new, catalog->records_.Open());
  if (is_new) {
    RETURN_IF_ERROR_WITH(catalog->Rebuild(), "rebuild the images");
  } else {
    RETURN_IF_ERROR_WITH(catalog->Load(), "load the images");
  }
  RETURN_IF_ERROR_WITH(catalog->Sweep(), "sweep the images");
  RETURN_IF_ERROR(catalog->records_.MarkInUse());
  return catalog;
}

absl::StatusOr<Image> ImageCatalog::ReadImage(const ImageId& id, const Digest& manifest_digest,
                                              LayerLease& lease) {
  ASSIGN_OR_RETURN(const std::string bytes, blobs_.Get(manifest_digest));
  ASSIGN_OR_RETURN(const auto document, ParseManifest(bytes, ""));
  const auto* manifest = std::get_if<ImageManifest>(&document);
  if (manifest == nullptr || manifest->config.digest.str() != id.str()) {
    return absl::DataLossError(
        absl::StrCat("manifest ", manifest_digest.str(), " is not the image's"));
  }
  ASSIGN_OR_RETURN(const std::string config, blobs_.Get(manifest->config.digest));
  ASSIGN_OR_RETURN(ParsedImageConfig parsed, ParseImageConfig(config, manifest->layers.size()));
  for (const DiffId& layer : parsed.diff_ids) {
    RETURN_IF_ERROR(layers_->Acquire(layer, lease).status());
  }
  Image image;
  image.id = id;
  image.config = std::move(parsed.config);
  image.size = manifest->config.size;
  for (const Descriptor& layer : manifest->layers) image.size += layer.size;
  image.diff_ids = std::move(parsed.diff_ids);
  return image;
}

absl::Status ImageCatalog::Load() {
  ASSIGN_OR_RETURN(const std::vector<ImageRecord> records, records_.Images());
  ASSIGN_OR_RETURN(const std::vector<ImageName> names, records_.Names());
  std::map<ImageId, std::vector<std::string>> names_of;
  for (const ImageName& name : names) names_of[name.image].push_back(name.name);
  const std::unique_ptr<LayerLease> lease = layers_->NewLease();
  for (const ImageRecord& record : records) {
    absl::StatusOr<Image> image = ReadImage(record.id, record.manifest, *lease);
    for (const DiffId& layer : record.layers) {
      if (!image.ok()) break;
      const absl::Status status = layers_->Acquire(layer, *lease).status();
      if (!status.ok()) image = status;
    }
    if (!image.ok()) {
      LogWarning("image ", record.id.str(),
                 " is damaged and un-listed: ", image.status().message());
      RETURN_IF_ERROR(records_.RemoveImage(record.id));
      continue;
    }
    image->layers = record.layers;
    lookup_.Put(*std::move(image), names_of[record.id]);
  }
  return absl::OkStatus();
}

absl::Status ImageCatalog::RebuildOne(const ImageSidecar& sidecar) {
  const std::unique_ptr<LayerLease> lease = layers_->NewLease();
  ASSIGN_OR_RETURN(Image image, ReadImage(sidecar.id, sidecar.manifest, *lease));
  ASSIGN_OR_RETURN(image.layers, layers_->CompleteLayers(image.diff_ids, *lease));
  RETURN_IF_ERROR(layers_->Reference(sidecar.id.str(), image.layers));
  RETURN_IF_ERROR(records_.Put(ImageRecord{sidecar.id, sidecar.manifest, image.size, image.layers},
                               sidecar.names));
  lookup_.Put(std::move(image), sidecar.names);
  return absl::OkStatus();
}

absl::Status ImageCatalog::Rebuild() {
  ASSIGN_OR_RETURN(const std::vector<ImageSidecar> sidecars, blobs_.Sidecars());
  for (const ImageSidecar& sidecar : sidecars) {
    if (const absl::Status status = RebuildOne(sidecar); !status.ok()) {
      LogWarning("image ", sidecar.id.str(), " can't be rebuilt, ignoring: ", status.message());
    }
  }
  if (!sidecars.empty()) LogInfo("rebuilt ", lookup_.List().size(), " images from their sidecars");
  return absl::OkStatus();
}

absl::Status ImageCatalog::Sweep() {
  ASSIGN_OR_RETURN(const std::vector<ImageRecord> records, records_.Images());
  std::vector<std::string> owners;
  std::set<std::string> digests;
  for (const ImageRecord& record : records) {
    owners.push_back(record.id.str());
    digests.insert(record.id.str());
    digests.insert(record.manifest.str());
  }
  RETURN_IF_ERROR(layers_->RetainReferences(owners));
  RETURN_IF_ERROR(layers_->Collect().status());
  return blobs_.RetainOnly(digests);
}

absl::Status ImageCatalog::WriteSidecar(const ImageId& id) {
  const ImageLookup::Pointer image = lookup_.FindId(id);
  if (image == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<ImageRecord> records, records_.Images());
  for (const ImageRecord& record : records) {
    if (record.id != id) continue;
    ImageSidecar sidecar{id, record.manifest, image->repo_tags, absl::ToUnixNanos(absl::Now())};
    sidecar.names.insert(sidecar.names.end(), image->repo_digests.begin(),
                         image->repo_digests.end());
    return blobs_.PutSidecar(sidecar);
  }
  return absl::OkStatus();
}

absl::Status ImageCatalog::Add(FetchedImage fetched, const std::vector<std::string>& names) {
  const ImageId id(fetched.config.digest.str());
  std::vector<ImageId> losers;
  {
    const Claim claim(this, id);
    const ImageLookup::Pointer before = lookup_.FindId(id);
    Image image;
    image.id = id;
    image.size = fetched.size;
    image.config = std::move(fetched.parsed.config);
    image.diff_ids = std::move(fetched.parsed.diff_ids);
    RETURN_IF_ERROR(Failpoint("images.commit.layers"));
    ASSIGN_OR_RETURN(image.layers, layers_->CompleteLayers(image.diff_ids, *fetched.lease));
    RETURN_IF_ERROR(layers_->Reference(id.str(), image.layers));
    absl::Cleanup undo = [&] {
      if (before != nullptr) return;
      const absl::Status status = layers_->Unreference(id.str());
      if (!status.ok()) LogWarning("undo of image ", id.str(), ", ignoring: ", status.message());
      blobs_.RemoveSidecar(id).IgnoreError();
      blobs_.Remove(fetched.manifest.digest).IgnoreError();
      blobs_.Remove(fetched.config.digest).IgnoreError();
    };
    RETURN_IF_ERROR(Failpoint("images.commit.blobs"));
    RETURN_IF_ERROR(blobs_.Put(fetched.config.digest, fetched.config.bytes));
    RETURN_IF_ERROR(blobs_.Put(fetched.manifest.digest, fetched.manifest.bytes));
    ImageSidecar sidecar{id, fetched.manifest.digest, names, absl::ToUnixNanos(absl::Now())};
    if (before != nullptr) {
      std::set<std::string> all(names.begin(), names.end());
      all.insert(before->repo_tags.begin(), before->repo_tags.end());
      all.insert(before->repo_digests.begin(), before->repo_digests.end());
      sidecar.names.assign(all.begin(), all.end());
    }
    RETURN_IF_ERROR(blobs_.PutSidecar(sidecar));
    RETURN_IF_ERROR(Failpoint("images.commit.record"));
    // The commit point.
    RETURN_IF_ERROR(
        records_.Put(ImageRecord{id, fetched.manifest.digest, image.size, image.layers}, names));
    std::move(undo).Cancel();
    Failpoint("images.commit.done").IgnoreError();  // for crashes: there is no way back
    losers = lookup_.Put(std::move(image), names);
  }
  // For a rebuild only: the later sidecar would win anyway, unless this image is removed first.
  for (const ImageId& loser : losers) {
    const Claim claim(this, loser);
    const absl::Status status = WriteSidecar(loser);
    if (!status.ok())
      LogWarning("sidecar of image ", loser.str(), ", ignoring: ", status.message());
  }
  return absl::OkStatus();
}

absl::Status ImageCatalog::Remove(absl::string_view text) {
  const absl::StatusOr<ImageLookup::Pointer> found = lookup_.Find(text);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  RETURN_IF_ERROR(found.status());
  const ImageId id = (*found)->id;
  const Claim claim(this, id);
  const ImageLookup::Pointer image = lookup_.FindId(id);
  if (image == nullptr) return absl::OkStatus();  // another call was first
  const absl::StatusOr<ImageReference> reference = ParseReference(text);
  if (reference.ok() && reference->digest.empty()) {
    for (const std::string& tag : image->repo_tags) {
      if (tag == reference->TagName() && image->repo_tags.size() > 1) return RemoveTag(id, tag);
    }
  }
  return RemoveImage(id);
}

absl::Status ImageCatalog::RemoveTag(const ImageId& id, const std::string& tag) {
  RETURN_IF_ERROR(Failpoint("images.remove.tag"));
  RETURN_IF_ERROR(records_.RemoveName(tag));
  lookup_.RemoveName(tag);
  return WriteSidecar(id);
}

absl::Status ImageCatalog::RemoveImage(const ImageId& id) {
  ASSIGN_OR_RETURN(const std::vector<ImageRecord> records, records_.Images());
  RETURN_IF_ERROR(Failpoint("images.remove.record"));
  RETURN_IF_ERROR(records_.RemoveImage(id));
  lookup_.RemoveImage(id);
  RETURN_IF_ERROR(Failpoint("images.remove.things"));
  RETURN_IF_ERROR(blobs_.RemoveSidecar(id));
  RETURN_IF_ERROR(layers_->Unreference(id.str()));
  RETURN_IF_ERROR(layers_->Collect().status());
  for (const ImageRecord& record : records) {
    if (record.id == id) RETURN_IF_ERROR(blobs_.Remove(record.manifest));
  }
  return blobs_.Remove(Digest(id.str()));
}

}  // namespace berth
