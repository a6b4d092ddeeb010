// One pull's conversation with a registry and its mirrors: manifests and blobs, with authentication,
// redirects, retries and resumption.
//
// An endpoint that fails passes the request on to the next one; only the last, the upstream, is
// retried: after network errors, 408, 429 and 5xx, at most four times in a row without progress, with
// doubling pauses (or Retry-After, at most a minute). A redirect (five at most) to another origin goes
// without Authorization and without the endpoint's headers, and never from HTTPS to HTTP. Tokens are
// kept for the life of the session only.
//
// Threads: GetManifest and FetchBlob may be called from any thread, several at once.
#ifndef BERTH_SERVER_IMAGES_REGISTRY_SESSION_H_
#define BERTH_SERVER_IMAGES_REGISTRY_SESSION_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "server/images/credentials.h"
#include "server/images/hosts_config.h"
#include "server/images/http_client.h"
#include "server/images/reference.h"

namespace berth {

struct FetchedManifest {
  std::string bytes;
  std::string media_type;  // the response's Content-Type without parameters
  Digest digest;           // of `bytes`, computed here
};

// Takes a blob's bytes in order; may block. An error ends the fetch.
using BlobSink = std::function<absl::Status(absl::string_view)>;

class RegistrySession {
 public:
  struct Options {
    ImageReference reference;
    std::vector<RegistryEndpoint> endpoints;  // in order; the last is the upstream
    RegistryAuth auth;
    absl::Duration stall_timeout = absl::Seconds(30);
    absl::Duration retry_pause = absl::Milliseconds(200);
  };

  // `cancellation` outlives the session.
  RegistrySession(Options options, Cancellation* cancellation);
  RegistrySession(const RegistrySession&) = delete;
  RegistrySession& operator=(const RegistrySession&) = delete;

  // The manifest or index that the reference names (its digest if it has one, else its tag), or with
  // `digest` another one of the repository. At most 4 MiB. DataLoss: its bytes don't have the digest
  // that was asked for, or that the registry states in Docker-Content-Digest.
  absl::StatusOr<FetchedManifest> GetManifest();
  absl::StatusOr<FetchedManifest> GetManifest(const Digest& digest);

  // Streams one blob to `sink` and checks size and digest at the end. DataLoss: they differ; the
  // endpoint that sent it is then not asked again in this session, so a new attempt may succeed
  // if MayRetryElsewhere().
  absl::Status FetchBlob(const Digest& digest, uint64_t size, const BlobSink& sink);

  // True while an endpoint that serves blobs has sent no wrong bytes.
  bool MayRetryElsewhere() const;

 private:
  struct EndpointState {
    bool ready = false;  // `credentials` were looked up
    Credentials credentials;
    Authorization authorization;
    bool distrusted = false;
  };
  class BlobReceiver;
  // One try: fills in the head of the response; sets `passing` to false if repeating can't help.
  using Attempt = std::function<absl::Status(HttpHead* head, bool* passing)>;

  // Calls `attempt` for each endpoint that may do it, in order, until one succeeds.
  absl::Status OnEndpoints(bool resolving, absl::string_view what,
                           const std::function<absl::Status(size_t)>& attempt);
  // Repeats `attempt` at the last endpoint as long as it fails in passing; progress starts anew.
  absl::Status WithRetries(size_t endpoint, const Attempt& attempt,
                           const std::function<uint64_t()>& progress);
  absl::Status FetchManifestFrom(size_t endpoint, absl::string_view name,
                                 FetchedManifest* manifest);
  absl::Status FetchBlobFrom(size_t endpoint, const Digest& digest, BlobReceiver* receiver);

  // One request to an endpoint: its authentication and redirects. OK whatever the final code is.
  absl::Status Perform(size_t endpoint, const std::string& url, const HttpRequest& base,
                       HttpReceiver* receiver, HttpHead* head);
  absl::StatusOr<std::string> AuthorizationFor(size_t endpoint);
  absl::Status Answer(size_t endpoint, const std::string& url, const HttpHead& head);
  std::string Url(size_t endpoint, absl::string_view kind, absl::string_view name) const;
  absl::Status Pause(absl::Duration duration);

  const Options options_;
  Cancellation* const cancellation_;
  HttpClient client_;
  mutable Mutex mu_;
  std::vector<EndpointState> states_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_REGISTRY_SESSION_H_
