#include "server/images/image_fetch.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/images/digest.h"

namespace berth {
namespace {

constexpr int kMaxIndexDepth = 3;  // an index of indexes of manifests; more is no image in use

// One layer of the image that is being fetched.
struct LayerTask {
  Descriptor blob;
  DiffId diff_id;
};

// Follows the indexes from what the reference names to this platform's manifest.
absl::StatusOr<ImageManifest> ResolveManifest(RegistrySession* session,
                                              const std::vector<Platform>& host,
                                              FetchedImage* image) {
  RETURN_IF_ERROR(Failpoint("images.pull.manifest"));
  ASSIGN_OR_RETURN(FetchedManifest fetched, session->GetManifest());
  image->named_digest = fetched.digest;
  std::string media_type = fetched.media_type;
  for (int depth = 0; depth <= kMaxIndexDepth; ++depth) {
    ASSIGN_OR_RETURN_WITH(auto document, ParseManifest(fetched.bytes, media_type),
                          fetched.digest.str());
    if (auto* manifest = std::get_if<ImageManifest>(&document)) {
      image->manifest = FetchedBlob{fetched.digest, std::move(fetched.bytes)};
      return std::move(*manifest);
    }
    ASSIGN_OR_RETURN(const Descriptor chosen, ChooseManifest(std::get<ImageIndex>(document), host));
    ASSIGN_OR_RETURN(fetched, session->GetManifest(chosen.digest));
    if (fetched.bytes.size() != chosen.size) {
      return absl::DataLossError(absl::StrCat("manifest ", chosen.digest.str(), ": ",
                                              fetched.bytes.size(), " bytes; the index states ",
                                              chosen.size));
    }
    // The index is authenticated by its digest, the Content-Type header by nothing.
    if (!chosen.media_type.empty()) media_type = chosen.media_type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the index ", image->named_digest.str(), " is nested too deeply"));
}

absl::StatusOr<FetchedBlob> FetchConfig(const FetchContext& context, RegistrySession* session,
                                        const Descriptor& descriptor) {
  FetchedBlob config{descriptor.digest, ""};
  absl::StatusOr<std::string> present = context.blobs->Get(descriptor.digest);
  if (present.ok() && present->size() == descriptor.size) {
    config.bytes = *std::move(present);
    return config;
  }
  absl::Status status;
  do {
    config.bytes.clear();
    RETURN_IF_ERROR(Failpoint("images.pull.config"));
    status = session->FetchBlob(descriptor.digest, descriptor.size, [&](absl::string_view data) {
      config.bytes.append(data.data(), data.size());
      return absl::OkStatus();
    });
  } while (absl::IsDataLoss(status) && session->MayRetryElsewhere());
  RETURN_IF_ERROR_WITH(status, "config");
  return config;
}

absl::Status CheckPlatform(const ImageConfig& config, const std::vector<Platform>& host) {
  const Platform own{config.os, config.architecture, config.variant};
  // Old tools left them out.
  if (own.os.empty() || own.architecture.empty()) return absl::OkStatus();
  for (const Platform& wanted : host) {
    if (PlatformMatches(own, wanted)) return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("the image is for ", own.os.substr(0, 32), "/",
                                          own.architecture.substr(0, 32), ", this machine is ",
                                          host.back().os, "/", host.back().architecture));
}

// Fetches the layers of one image with a few threads.
class LayersFetch {
 public:
  LayersFetch(const FetchContext& context, RegistrySession* session, LayerLease* lease,
              std::vector<LayerTask> tasks, Cancellation* cancellation)
      : context_(context),
        session_(session),
        lease_(lease),
        tasks_(std::move(tasks)),
        cancellation_(cancellation) {}

  absl::Status Run() {
    const size_t count = std::min<size_t>(context_.concurrent_layers, tasks_.size());
    std::vector<std::thread> workers;
    for (size_t i = 1; i < count; ++i) workers.emplace_back([this] { Work(); });
    Work();
    for (std::thread& worker : workers) worker.join();
    MutexLock lock(&mu_);
    return first_error_;
  }

 private:
  void Work() {
    while (true) {
      const size_t index = next_.fetch_add(1);
      if (index >= tasks_.size()) return;
      const absl::Status status = FetchLayer(tasks_[index]);
      if (status.ok()) continue;
      {
        MutexLock lock(&mu_);
        if (first_error_.ok()) {
          first_error_ = Annotate(status, absl::StrCat("layer ", tasks_[index].diff_id.str()));
        }
      }
      cancellation_->Cancel();
      return;
    }
  }

  absl::Status FetchLayer(const LayerTask& task) {
    const auto acquire = [&] { return context_.layers->Acquire(task.diff_id, *lease_).ok(); };
    ASSIGN_OR_RETURN(const LayerFlights::Flight flight,
                     context_.flights->Begin(task.diff_id, acquire, cancellation_));
    if (!flight) {
      context_.observer->OnLayerReused();
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(context_.slots->Take(cancellation_));
    const absl::Cleanup give = [this] { context_.slots->Give(); };
    absl::Status status;
    do {
      status = Ingest(task);
    } while (absl::IsDataLoss(status) && !ingest_failed_on_content_ &&
             session_->MayRetryElsewhere() && cancellation_->Check().ok());
    return status;
  }

  // One attempt: the blob's bytes through the unpacker into the store.
  absl::Status Ingest(const LayerTask& task) {
    RETURN_IF_ERROR(Failpoint("images.pull.layer"));
    ASSIGN_OR_RETURN(const std::unique_ptr<LayerIngest> ingest,
                     context_.layers->BeginIngest(
                         IngestRequest{.expected = task.diff_id, .limits = context_.limits}));
    const CancelCallback cancel(cancellation_, [&] { ingest->Cancel(); });
    absl::Duration unpacking;
    const absl::Time start = absl::Now();
    RETURN_IF_ERROR(session_->FetchBlob(task.blob.digest, task.blob.size,
                                        [&](absl::string_view data) -> absl::Status {
                                          const absl::Time before = absl::Now();
                                          const absl::Status status = ingest->Write(data);
                                          unpacking += absl::Now() - before;
                                          context_.observer->OnBytes(data.size());
                                          return status;
                                        }));
    const absl::Time fetched = absl::Now();
    RETURN_IF_ERROR(Failpoint("images.pull.fetched"));
    const absl::StatusOr<LayerInfo> layer = ingest->Commit(*lease_);
    if (!layer.ok()) {
      // The blob is what the manifest says, so that another endpoint would send the same.
      ingest_failed_on_content_ = true;
      return layer.status();
    }
    context_.observer->OnPhase(PullPhase::kDownload, fetched - start - unpacking);
    context_.observer->OnPhase(PullPhase::kUnpack, unpacking);
    context_.observer->OnPhase(PullPhase::kSync, absl::Now() - fetched);
    return absl::OkStatus();
  }

  const FetchContext& context_;
  RegistrySession* const session_;
  LayerLease* const lease_;
  const std::vector<LayerTask> tasks_;
  Cancellation* const cancellation_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> ingest_failed_on_content_{false};
  Mutex mu_;
  absl::Status first_error_ ABSL_GUARDED_BY(mu_);
};

// Each layer once, though an image may have it twice.
std::vector<LayerTask> Tasks(const ImageManifest& manifest, const ParsedImageConfig& config) {
  std::vector<LayerTask> tasks;
  std::set<DiffId> seen;
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    if (!seen.insert(config.diff_ids[i]).second) continue;
    tasks.push_back(LayerTask{manifest.layers[i], config.diff_ids[i]});
  }
  return tasks;
}

}  // namespace

absl::StatusOr<FetchedImage> FetchImage(const FetchContext& context,
                                        RegistrySession::Options options,
                                        Cancellation* cancellation) {
  const absl::Time start = absl::Now();
  const std::vector<Platform> host = HostPlatforms();
  RegistrySession session(std::move(options), cancellation);
  FetchedImage image;
  ASSIGN_OR_RETURN(const ImageManifest manifest, ResolveManifest(&session, host, &image));
  ASSIGN_OR_RETURN(image.config, FetchConfig(context, &session, manifest.config));
  ASSIGN_OR_RETURN(image.parsed, ParseImageConfig(image.config.bytes, manifest.layers.size()));
  RETURN_IF_ERROR(CheckPlatform(image.parsed.config, host));
  context.observer->OnPhase(PullPhase::kResolve, absl::Now() - start);

  image.size = manifest.config.size;
  for (const Descriptor& layer : manifest.layers) image.size += layer.size;
  image.lease = context.layers->NewLease();
  LayersFetch layers(context, &session, image.lease.get(), Tasks(manifest, image.parsed),
                     cancellation);
  RETURN_IF_ERROR(layers.Run());
  return image;
}

}  // namespace berth
