#include "server/images/registry_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/status.h"
#include "server/images/auth_challenge.h"
#include "server/images/digest.h"
#include "server/images/registry_error.h"

namespace berth {
namespace {

constexpr size_t kMaxManifest = 4u << 20;  // distribution spec v1.1, "Pushing Manifests"
constexpr size_t kMaxErrorBody = 64u << 10;
constexpr int kMaxRedirects = 5;
constexpr int kMaxRetries = 4;
constexpr absl::Duration kMaxPause = absl::Minutes(1);
// Manifests and indexes that manifest.h reads, and schema 1, so that its refusal names it.
constexpr absl::string_view kAccept =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.v1+prettyjws, */*;q=0.1";

bool IsRedirect(int code) {
  return code == 301 || code == 302 || code == 303 || code == 307 || code == 308;
}

// Hands a response on unless it only leads to another request.
class Router : public HttpReceiver {
 public:
  Router(HttpReceiver* receiver, bool may_answer) : receiver_(receiver), may_answer_(may_answer) {}

  absl::Status OnHead(const HttpHead& head) override {
    head_ = head;
    swallow_ = IsRedirect(head.code) || (head.code == 401 && may_answer_);
    return swallow_ ? absl::OkStatus() : receiver_->OnHead(head);
  }
  absl::Status OnData(absl::string_view data) override {
    if (!swallow_) return receiver_->OnData(data);
    swallowed_ += data.size();
    if (swallowed_ <= kMaxErrorBody) return absl::OkStatus();
    return absl::InvalidArgumentError("the body of a redirect or challenge exceeds 64 KiB");
  }
  const HttpHead& head() const { return head_; }
  bool swallowed() const { return swallow_; }

 private:
  HttpReceiver* const receiver_;
  const bool may_answer_;
  HttpHead head_;
  bool swallow_ = false;
  size_t swallowed_ = 0;
};

// Zero if the header is absent or makes no sense.
absl::Duration RetryAfter(const HttpHead& head) {
  const std::string value(head.Header("retry-after"));
  int64_t seconds = 0;
  if (absl::SimpleAtoi(value, &seconds)) {
    return absl::Seconds(std::clamp<int64_t>(seconds, 0, 3600));
  }
  absl::Time at;
  if (absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", value, &at, nullptr)) {
    return std::max(at - absl::Now(), absl::ZeroDuration());
  }
  return absl::ZeroDuration();
}

// The first byte's position of `bytes START-END/TOTAL`; -1 if it doesn't parse.
int64_t ContentRangeStart(absl::string_view value) {
  int64_t start = -1;
  if (!absl::ConsumePrefix(&value, "bytes ")) return -1;
  return absl::SimpleAtoi(value.substr(0, value.find('-')), &start) ? start : -1;
}

std::string MediaType(absl::string_view content_type) {
  return absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';'))));
}

}  // namespace

// What one blob's transfer has so far, over all its requests.
class RegistrySession::BlobReceiver : public HttpReceiver {
 public:
  BlobReceiver(const Digest& digest, uint64_t size, const BlobSink& sink)
      : digest_(digest), size_(size), sink_(sink), hasher_(DigestAlgorithm(digest.str())) {}

  void BeginRequest() {
    skip_ = 0;
    code_ = 0;
    error_body_.clear();
  }

  absl::Status OnHead(const HttpHead& head) override {
    code_ = head.code;
    if (code_ == 200) {
      uint64_t length = 0;
      if (absl::SimpleAtoi(head.Header("content-length"), &length) && length != size_) {
        return absl::DataLossError(
            absl::StrCat("the registry serves ", length, " bytes; the manifest states ", size_));
      }
      skip_ = offset_;
    } else if (code_ == 206 && ContentRangeStart(head.Header("content-range")) != offset_) {
      return absl::UnavailableError("the registry answers with another range than asked for");
    }
    return absl::OkStatus();
  }

  absl::Status OnData(absl::string_view data) override {
    if (code_ != 200 && code_ != 206) {
      error_body_.append(data.data(), std::min(data.size(), kMaxErrorBody - error_body_.size()));
      return absl::OkStatus();
    }
    const size_t skipped = std::min<uint64_t>(skip_, data.size());
    skip_ -= skipped;
    data.remove_prefix(skipped);
    if (data.size() > size_ - offset_) {
      return absl::DataLossError(
          absl::StrCat("the registry sends more than the ", size_, " bytes of the manifest"));
    }
    if (data.empty()) return absl::OkStatus();
    hasher_.Update(data);
    offset_ += data.size();
    absl::Status status = sink_(data);
    sink_failed_ = !status.ok();
    return status;
  }

  absl::Status Finish() {
    const std::string actual = hasher_.Finish();
    if (actual == digest_.str()) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("content has digest ", actual));
  }

  uint64_t offset() const { return offset_; }
  bool complete() const { return offset_ == size_; }
  bool sink_failed() const { return sink_failed_; }
  int code() const { return code_; }
  const std::string& error_body() const { return error_body_; }

 private:
  const Digest digest_;
  const uint64_t size_;
  const BlobSink& sink_;
  DigestHasher hasher_;
  uint64_t offset_ = 0;  // bytes given to the sink
  uint64_t skip_ = 0;    // bytes of this response that the sink has already
  int code_ = 0;
  std::string error_body_;
  bool sink_failed_ = false;
};

RegistrySession::RegistrySession(Options options, Cancellation* cancellation)
    : options_(std::move(options)),
      cancellation_(cancellation),
      client_(options_.stall_timeout),
      states_(options_.endpoints.size()) {}

std::string RegistrySession::Url(size_t endpoint, absl::string_view kind,
                                 absl::string_view name) const {
  const RegistryEndpoint& at = options_.endpoints[endpoint];
  std::string url = absl::StrCat(at.base, "/", options_.reference.repository, "/", kind, "/", name);
  // Tells a mirror of several registries which one is meant (distribution spec, "Registry Proxying").
  if (!at.upstream) absl::StrAppend(&url, "?ns=", options_.reference.registry);
  return url;
}

absl::Status RegistrySession::Pause(absl::Duration duration) {
  Mutex mu;
  CondVar woken;
  bool cancelled = false;
  {
    const CancelCallback wake(cancellation_, [&] {
      MutexLock lock(&mu);
      cancelled = true;
      woken.SignalAll();
    });
    const absl::Time end = std::min(absl::Now() + duration, cancellation_->deadline());
    MutexLock lock(&mu);
    while (!cancelled && absl::Now() < end) woken.WaitWithDeadline(&mu, end);
  }
  return cancellation_->Check();
}

absl::StatusOr<std::string> RegistrySession::AuthorizationFor(size_t endpoint) {
  MutexLock lock(&mu_);
  EndpointState& state = states_[endpoint];
  if (!state.ready) {
    ASSIGN_OR_RETURN(state.credentials, CredentialsFor(options_.auth, options_.reference.registry,
                                                       options_.endpoints[endpoint]));
    state.ready = true;
  }
  return absl::Now() < state.authorization.expires ? state.authorization.value : std::string();
}

absl::Status RegistrySession::Answer(size_t endpoint, const std::string& url,
                                     const HttpHead& head) {
  std::vector<AuthChallenge> challenges;
  for (const auto& [name, value] : head.headers) {
    if (name != "www-authenticate") continue;
    for (AuthChallenge& challenge : ParseAuthChallenges(value)) {
      challenges.push_back(std::move(challenge));
    }
  }
  Credentials credentials;
  {
    MutexLock lock(&mu_);
    credentials = states_[endpoint].credentials;
  }
  const std::string scope = absl::StrCat("repository:", options_.reference.repository, ":pull");
  absl::StatusOr<Authorization> authorization =
      Authorize(challenges, credentials, url, options_.endpoints[endpoint].tls, scope, &client_,
                cancellation_);
  if (!authorization.ok()) {
    return Annotate(authorization.status(), absl::StrCat(PublicUrl(url), ": HTTP 401"));
  }
  MutexLock lock(&mu_);
  states_[endpoint].authorization = *std::move(authorization);
  return absl::OkStatus();
}

absl::Status RegistrySession::Perform(size_t endpoint, const std::string& url,
                                      const HttpRequest& base, HttpReceiver* receiver,
                                      HttpHead* head) {
  const RegistryEndpoint& at = options_.endpoints[endpoint];
  const std::string origin = UrlOrigin(at.base);
  std::string target = url;
  bool answered = false;
  int redirects = 0;
  while (true) {
    HttpRequest request = base;
    request.url = target;
    request.tls = at.tls;
    const bool at_home = UrlOrigin(target) == origin;
    if (at_home) {
      request.headers.insert(request.headers.end(), at.headers.begin(), at.headers.end());
      ASSIGN_OR_RETURN(const std::string authorization, AuthorizationFor(endpoint));
      if (!authorization.empty()) request.headers.emplace_back("Authorization", authorization);
    }
    RETURN_IF_ERROR(Failpoint("images.registry.request"));
    Router router(receiver, at_home && !answered);
    const absl::Status status = client_.Perform(request, &router, cancellation_);
    *head = router.head();
    RETURN_IF_ERROR(status);
    if (!router.swallowed()) return absl::OkStatus();
    if (head->code == 401) {
      answered = true;
      RETURN_IF_ERROR(Answer(endpoint, target, *head));
      continue;
    }
    const std::string next = ResolveUrl(target, std::string(head->Header("location")));
    const std::string from = absl::StrCat(PublicUrl(target), ": HTTP ", head->code, ": ");
    if (++redirects > kMaxRedirects) {
      return absl::FailedPreconditionError(absl::StrCat(from, "more than 5 redirects"));
    }
    if (head->Header("location").empty() || next.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(from, "redirect to no http or https URL"));
    }
    if (absl::StartsWith(target, "https://") && !absl::StartsWith(next, "https://")) {
      return absl::PermissionDeniedError(absl::StrCat(from, "redirect from HTTPS to plain HTTP"));
    }
    target = next;
  }
}

absl::Status RegistrySession::OnEndpoints(bool resolving, absl::string_view what,
                                          const std::function<absl::Status(size_t)>& attempt) {
  std::vector<std::string> failures;
  absl::StatusCode code = absl::StatusCode::kFailedPrecondition;
  for (size_t i = 0; i < options_.endpoints.size(); ++i) {
    const RegistryEndpoint& endpoint = options_.endpoints[i];
    if (!(resolving ? endpoint.can_resolve : endpoint.can_pull)) continue;
    {
      MutexLock lock(&mu_);
      if (states_[i].distrusted) continue;
    }
    const absl::Status status = attempt(i);
    if (status.ok()) return status;
    RETURN_IF_ERROR(cancellation_->Check());
    code = status.code();
    failures.insert(failures.begin(), std::string(status.message()));
  }
  if (failures.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": no endpoint of ", options_.reference.registry, " is left that may ",
                     resolving ? "resolve" : "pull"));
  }
  return absl::Status(code, absl::StrCat(what, ": ", absl::StrJoin(failures, "; before: ")));
}

absl::Status RegistrySession::WithRetries(size_t endpoint, const Attempt& attempt,
                                          const std::function<uint64_t()>& progress) {
  int failures = 0;
  uint64_t reached = progress();
  while (true) {
    HttpHead head;
    bool passing = true;
    const absl::Status status = attempt(&head, &passing);
    RETURN_IF_ERROR(cancellation_->Check());
    passing = passing && (absl::IsUnavailable(status) || absl::IsResourceExhausted(status));
    if (!passing || endpoint + 1 < options_.endpoints.size()) return status;
    if (progress() > reached) failures = 0;
    reached = progress();
    const absl::Duration asked = RetryAfter(head);
    if (++failures > kMaxRetries || asked > kMaxPause) return status;
    const double jitter = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
    absl::Duration pause = options_.retry_pause * (1 << (failures - 1));
    pause += pause * 0.25 * (jitter - static_cast<int64_t>(jitter));
    RETURN_IF_ERROR(Pause(std::max(asked, pause)));
  }
}

absl::StatusOr<FetchedManifest> RegistrySession::GetManifest() {
  const ImageReference& reference = options_.reference;
  if (!reference.digest.empty()) return GetManifest(reference.digest);
  FetchedManifest manifest;
  RETURN_IF_ERROR(OnEndpoints(true, "manifest", [&](size_t endpoint) {
    return FetchManifestFrom(endpoint, reference.tag, &manifest);
  }));
  return manifest;
}

absl::StatusOr<FetchedManifest> RegistrySession::GetManifest(const Digest& digest) {
  RETURN_IF_ERROR(CheckDigest(digest.str()));
  FetchedManifest manifest;
  RETURN_IF_ERROR(OnEndpoints(false, "manifest", [&](size_t endpoint) {
    RETURN_IF_ERROR(FetchManifestFrom(endpoint, digest.str(), &manifest));
    manifest.digest = digest;
    return VerifyDigest(digest.str(), manifest.bytes, options_.endpoints[endpoint].host);
  }));
  return manifest;
}

absl::Status RegistrySession::FetchManifestFrom(size_t endpoint, absl::string_view name,
                                                FetchedManifest* manifest) {
  const std::string url = Url(endpoint, "manifests", name);
  HttpRequest request;
  request.headers.emplace_back("Accept", std::string(kAccept));
  const auto attempt = [&](HttpHead* head, bool*) -> absl::Status {
    BufferReceiver receiver(kMaxManifest);
    absl::Status status = Perform(endpoint, url, request, &receiver, head);
    if (absl::IsInvalidArgument(status)) return Annotate(status, PublicUrl(url));
    RETURN_IF_ERROR(status);
    if (head->code != 200) return HttpErrorStatus("GET", url, head->code, receiver.body());
    manifest->bytes = std::move(receiver.body());
    return absl::OkStatus();
  };
  HttpHead head;
  RETURN_IF_ERROR(WithRetries(
      endpoint,
      [&](HttpHead* at, bool* passing) {
        absl::Status status = attempt(at, passing);
        head = *at;
        return status;
      },
      [] { return uint64_t{0}; }));
  manifest->media_type = MediaType(head.Header("content-type"));
  manifest->digest = Digest(DigestOf("sha256", manifest->bytes));
  const absl::string_view stated = head.Header("docker-content-digest");
  if (stated.empty()) return absl::OkStatus();
  return VerifyDigest(stated, manifest->bytes,
                      absl::StrCat(PublicUrl(url), ": Docker-Content-Digest"));
}

absl::Status RegistrySession::FetchBlob(const Digest& digest, uint64_t size, const BlobSink& sink) {
  RETURN_IF_ERROR(CheckDigest(digest.str()));
  const std::string what = absl::StrCat("blob ", digest.str());
  BlobReceiver receiver(digest, size, sink);
  std::vector<size_t> sources;
  absl::Status fatal;
  const absl::Status status = OnEndpoints(false, what, [&](size_t endpoint) -> absl::Status {
    // What the sink has taken can't be taken back, nor does another endpoint help a sink that fails.
    if (!fatal.ok()) return fatal;
    sources.push_back(endpoint);
    absl::Status fetched = FetchBlobFrom(endpoint, digest, &receiver);
    if (fetched.ok()) fetched = Annotate(receiver.Finish(), PublicUrl(Url(endpoint, "blobs", "")));
    if (receiver.sink_failed() || absl::IsDataLoss(fetched)) fatal = fetched;
    return fetched;
  });
  if (fatal.ok()) return status;
  if (absl::IsDataLoss(fatal)) {
    MutexLock lock(&mu_);
    for (const size_t source : sources) states_[source].distrusted = true;
  }
  return Annotate(fatal, what);
}

absl::Status RegistrySession::FetchBlobFrom(size_t endpoint, const Digest& digest,
                                            BlobReceiver* receiver) {
  if (receiver->complete()) return absl::OkStatus();  // also a blob of no bytes
  const std::string url = Url(endpoint, "blobs", digest.str());
  const auto attempt = [&](HttpHead* head, bool* passing) -> absl::Status {
    HttpRequest request;
    if (receiver->offset() > 0) {
      request.headers.emplace_back("Range", absl::StrCat("bytes=", receiver->offset(), "-"));
    }
    receiver->BeginRequest();
    const absl::Status status = Perform(endpoint, url, request, receiver, head);
    *passing = !receiver->sink_failed();
    if (receiver->sink_failed()) return status;
    if (absl::IsDataLoss(status)) return Annotate(status, PublicUrl(url));
    RETURN_IF_ERROR(status);
    if (receiver->code() == 416) {
      return absl::DataLossError(absl::StrCat(PublicUrl(url), ": the registry has only ",
                                              receiver->offset(), " bytes of it"));
    }
    if (receiver->code() != 200 && receiver->code() != 206) {
      return HttpErrorStatus("GET", url, receiver->code(), receiver->error_body());
    }
    if (receiver->complete()) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat(PublicUrl(url), ": ended after ", receiver->offset(), " bytes"));
  };
  return WithRetries(endpoint, attempt, [&] { return receiver->offset(); });
}

bool RegistrySession::MayRetryElsewhere() const {
  MutexLock lock(&mu_);
  for (size_t i = 0; i < states_.size(); ++i) {
    if (options_.endpoints[i].can_pull && !states_[i].distrusted) return true;
  }
  return false;
}

}  // namespace berth
