#include "server/images/image_service.h"

#include <algorithm>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/images/digest.h"
#include "server/images/hosts_config.h"
#include "server/images/image_catalog.h"
#include "server/images/image_fetch.h"
#include "server/images/layer_flights.h"
#include "server/images/reference.h"
#include "server/images/registry_session.h"
#include "snapshotter/layer_store.h"

namespace berth {
namespace {

// One pull under way and those who wait for it.
struct PullInFlight {
  Cancellation cancellation;  // called when the last waiter has gone
  int waiters = 0;
  bool done = false;
  absl::StatusOr<PulledImage> result = absl::UnknownError("not done");
};

// Equal pulls have equal keys: a digest, so that no credential is kept in it.
std::string PullKey(const ImageReference& reference, const RegistryAuth& auth) {
  std::string text;
  for (const std::string& part : {reference.ToString(), auth.username, auth.password, auth.auth,
                                  auth.server_address, auth.identity_token, auth.registry_token}) {
    absl::StrAppend(&text, part.size(), ":", part);
  }
  return DigestOf("sha256", text);
}

class RealImageService : public ImageService {
 public:
  RealImageService(ImageServiceOptions options, LayerStore* layers,
                   std::unique_ptr<ImageCatalog> catalog)
      : options_(std::move(options)),
        layers_(layers),
        catalog_(std::move(catalog)),
        slots_(2 * std::max(1, options_.concurrent_downloads)) {}

  ~RealImageService() override {
    std::vector<std::shared_ptr<PullInFlight>> pulls;
    {
      MutexLock lock(&mu_);
      for (const auto& [key, pull] : pulls_) pulls.push_back(pull);
    }
    for (const auto& pull : pulls) pull->cancellation.Cancel();
    MutexLock lock(&mu_);
    while (running_ > 0) changed_.Wait(&mu_);
  }

  absl::StatusOr<PulledImage> Pull(absl::string_view text, const RegistryAuth& auth,
                                   Cancellation* cancellation) override {
    ASSIGN_OR_RETURN(const ImageReference reference, ParseReference(text));
    RETURN_IF_ERROR(cancellation->Check());
    const std::string key = PullKey(reference, auth);
    const std::shared_ptr<PullInFlight> pull = JoinOrStart(key, reference, auth);
    return Await(key, pull, cancellation);
  }

  absl::StatusOr<std::shared_ptr<const Image>> Resolve(absl::string_view text) const override {
    return catalog_->lookup().Find(text);
  }

  std::vector<std::shared_ptr<const Image>> List(absl::string_view filter) const override {
    if (filter.empty()) return catalog_->lookup().List();
    absl::StatusOr<std::shared_ptr<const Image>> image = Resolve(filter);
    if (!image.ok()) return {};
    return {*std::move(image)};
  }

  absl::Status Remove(absl::string_view text) override {
    return Annotate(catalog_->Remove(text), "remove image");
  }

  ImageFilesystem FsInfo() const override {
    ImageFilesystem info;
    info.mountpoint = options_.root;
    info.timestamp = absl::Now();
    for (const LayerInfo& layer : layers_->List()) {
      const bool measured = layer.inodes > 0;
      info.used_bytes += measured ? layer.disk_bytes : layer.file_bytes;
      info.inodes_used += measured ? layer.inodes : layer.entries;
    }
    return info;
  }

  absl::Status CollectGarbage() override { return layers_->Collect().status(); }

 private:
  std::shared_ptr<PullInFlight> JoinOrStart(const std::string& key, const ImageReference& reference,
                                            const RegistryAuth& auth) {
    MutexLock lock(&mu_);
    std::shared_ptr<PullInFlight>& pull = pulls_[key];
    if (pull == nullptr) {
      pull = std::make_shared<PullInFlight>();
      ++running_;
      std::thread([this, key, pull = pull, reference, auth] {
        Run(key, pull, reference, auth);
      }).detach();  // ~RealImageService waits for it by running_
    }
    ++pull->waiters;
    return pull;
  }

  absl::StatusOr<PulledImage> Await(const std::string& key,
                                    const std::shared_ptr<PullInFlight>& pull,
                                    Cancellation* cancellation) {
    bool cancelled = false;
    const CancelCallback wake(cancellation, [&] {
      MutexLock lock(&mu_);
      cancelled = true;
      changed_.SignalAll();
    });
    bool abandoned = false;
    {
      MutexLock lock(&mu_);
      while (!pull->done && !cancelled) {
        if (changed_.WaitWithDeadline(&mu_, cancellation->deadline())) break;
      }
      if (pull->done) return pull->result;
      abandoned = --pull->waiters == 0;
      if (abandoned) Forget(key, pull);  // a new call starts anew
    }
    if (abandoned) pull->cancellation.Cancel();
    const absl::Status status = cancellation->Check();
    return status.ok() ? absl::DeadlineExceededError("the call's deadline passed") : status;
  }

  void Run(const std::string& key, const std::shared_ptr<PullInFlight>& pull,
           const ImageReference& reference, const RegistryAuth& auth) {
    absl::StatusOr<PulledImage> result = PullImage(reference, auth, &pull->cancellation);
    if (!result.ok()) {
      result = Annotate(result.status(), absl::StrCat("pull ", reference.ToString()));
    }
    MutexLock lock(&mu_);
    pull->result = std::move(result);
    pull->done = true;
    Forget(key, pull);
    --running_;
    changed_.SignalAll();
  }

  void Forget(const std::string& key, const std::shared_ptr<PullInFlight>& pull)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto it = pulls_.find(key);
    if (it != pulls_.end() && it->second == pull) pulls_.erase(it);
  }

  absl::StatusOr<PulledImage> PullImage(const ImageReference& reference, const RegistryAuth& auth,
                                        Cancellation* cancellation) {
    RegistrySession::Options session;
    session.reference = reference;
    session.auth = auth;
    session.stall_timeout = options_.stall_timeout;
    ASSIGN_OR_RETURN(session.endpoints,
                     LoadRegistryEndpoints(options_.config_path, reference.registry));
    const FetchContext context{layers_,        &catalog_->blobs(), &flights_,
                               &slots_,        observer(),         options_.concurrent_downloads,
                               options_.limits};
    ASSIGN_OR_RETURN(FetchedImage image, FetchImage(context, std::move(session), cancellation));
    RETURN_IF_ERROR(cancellation->Check());

    const absl::Time start = absl::Now();
    PulledImage pulled{ImageId(image.config.digest.str()),
                       reference.DigestName(image.named_digest)};
    std::vector<std::string> names = {pulled.repo_digest};
    if (reference.digest.empty()) names.push_back(reference.TagName());
    RETURN_IF_ERROR_WITH(catalog_->Add(std::move(image), names), "commit");
    observer()->OnPhase(PullPhase::kCommit, absl::Now() - start);
    return pulled;
  }

  PullObserver* observer() { return options_.observer == nullptr ? &silent_ : options_.observer; }

  const ImageServiceOptions options_;
  LayerStore* const layers_;
  const std::unique_ptr<ImageCatalog> catalog_;
  PullObserver silent_;
  LayerFlights flights_;
  WorkSlots slots_;
  Mutex mu_;
  CondVar changed_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, std::shared_ptr<PullInFlight>> pulls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<ImageService>> ImageService::Open(ImageServiceOptions options,
                                                                 Database* database,
                                                                 LayerStore* layers) {
  std::set<std::string> pinned;
  for (const std::string& text : options.pinned) {
    ASSIGN_OR_RETURN_WITH(const ImageReference reference, ParseReference(text), "pinned images");
    pinned.insert(reference.digest.empty() ? reference.TagName()
                                           : reference.DigestName(reference.digest));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ImageCatalog> catalog,
                   ImageCatalog::Open(options.root, std::move(pinned), database, layers));
  return std::make_unique<RealImageService>(std::move(options), layers, std::move(catalog));
}

}  // namespace berth
