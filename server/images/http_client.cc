#include "server/images/http_client.h"

#include <curl/curl.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"
#include "base/version.h"

namespace berth {
namespace {

constexpr long kConnectSeconds = 15;
constexpr size_t kMaxCaBytes = 4u << 20;
constexpr size_t kMaxHeaderBytes = 64u << 10;

// curl_global_init is not thread-safe by itself; once, before the first handle.
void InitialiseCurl() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)done;
}

class Url {
 public:
  explicit Url(const std::string& text) : handle_(curl_url()) {
    valid_ = curl_url_set(handle_, CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  }
  ~Url() { curl_url_cleanup(handle_); }
  Url(const Url&) = delete;
  Url& operator=(const Url&) = delete;

  bool Redirect(const std::string& location) {
    valid_ = valid_ && curl_url_set(handle_, CURLUPART_URL, location.c_str(), 0) == CURLUE_OK;
    return valid_;
  }
  std::string Part(CURLUPart part, unsigned flags = 0) const {
    char* text = nullptr;
    if (!valid_ || curl_url_get(handle_, part, &text, flags) != CURLUE_OK) return "";
    std::string copy(text);
    curl_free(text);
    return copy;
  }
  bool IsHttp() const {
    const std::string scheme = Part(CURLUPART_SCHEME);
    return scheme == "http" || scheme == "https";
  }

 private:
  CURLU* handle_;
  bool valid_ = false;
};

absl::Status CurlStatus(CURLcode code, const std::string& url, const char* detail) {
  const std::string message =
      absl::StrCat(PublicUrl(url), ": ", detail[0] != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return absl::FailedPreconditionError(message);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return absl::InvalidArgumentError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

absl::string_view HttpHead::Header(absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

std::string PublicUrl(const std::string& url) {
  const Url parsed(url);
  const std::string host = parsed.Part(CURLUPART_HOST);
  if (host.empty()) return "(malformed URL)";
  const std::string port = parsed.Part(CURLUPART_PORT);
  return absl::StrCat(parsed.Part(CURLUPART_SCHEME), "://", host, port.empty() ? "" : ":", port,
                      parsed.Part(CURLUPART_PATH));
}

std::string UrlOrigin(const std::string& url) {
  const Url parsed(url);
  std::string host = parsed.Part(CURLUPART_HOST);
  if (host.empty()) return "";
  absl::AsciiStrToLower(&host);
  return absl::StrCat(parsed.Part(CURLUPART_SCHEME), "://", host, ":",
                      parsed.Part(CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

std::string ResolveUrl(const std::string& base, const std::string& location) {
  Url url(base);
  if (!url.Redirect(location) || !url.IsHttp()) return "";
  return url.Part(CURLUPART_URL);
}

// A connection and the request that uses it.
class HttpClient::Lane {
 public:
  Lane() : multi_(curl_multi_init()), easy_(curl_easy_init()) {}
  ~Lane() {
    curl_easy_cleanup(easy_);
    curl_multi_cleanup(multi_);
  }

  absl::Status Perform(const HttpRequest& request, HttpReceiver* receiver,
                       Cancellation* cancellation, absl::Duration stall_timeout);

 private:
  absl::Status SetUp(const HttpRequest& request);
  absl::Status SetUpTls(const TlsOptions& tls);
  absl::Status Run(Cancellation* cancellation, absl::Duration stall_timeout);
  absl::Status DeliverHead();

  static size_t OnHeader(char* data, size_t size, size_t count, void* self);
  static size_t OnBody(char* data, size_t size, size_t count, void* self);

  CURLM* const multi_;
  CURL* const easy_;
  curl_slist* header_list_ = nullptr;
  char error_[CURL_ERROR_SIZE] = "";
  std::string ca_blob_;
  std::string url_;
  HttpReceiver* receiver_ = nullptr;
  HttpHead head_;
  size_t header_bytes_ = 0;
  bool head_delivered_ = false;
  absl::Status receiver_status_;
  absl::Time last_byte_;
};

absl::Status HttpClient::Lane::SetUpTls(const TlsOptions& tls) {
  if (tls.skip_verify) {
    curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  ca_blob_.clear();
  for (const std::string& file : tls.ca_files) {
    absl::StatusOr<std::string> pem = ReadFile(file, kMaxCaBytes);
    if (!pem.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("certificate authority: ", pem.status().message()));
    }
    absl::StrAppend(&ca_blob_, *pem, "\n");
  }
  if (!ca_blob_.empty()) {
    // Takes the place of the system's bundle file; the system's hashed directory stays in use.
    curl_blob blob{ca_blob_.data(), ca_blob_.size(), CURL_BLOB_NOCOPY};
    curl_easy_setopt(easy_, CURLOPT_CAINFO_BLOB, &blob);
  }
  if (!tls.client_cert.empty()) {
    const std::string& key = tls.client_key.empty() ? tls.client_cert : tls.client_key;
    curl_easy_setopt(easy_, CURLOPT_SSLCERT, tls.client_cert.c_str());
    curl_easy_setopt(easy_, CURLOPT_SSLKEY, key.c_str());
  }
  return absl::OkStatus();
}

absl::Status HttpClient::Lane::SetUp(const HttpRequest& request) {
  url_ = request.url;
  curl_easy_setopt(easy_, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, error_);
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, absl::StrCat("berth/", kBerthVersion).c_str());
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2TLS});
  curl_easy_setopt(easy_, CURLOPT_BUFFERSIZE, 128L << 10);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &Lane::OnHeader);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Lane::OnBody);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  // The environment's proxy is for the world outside, not for this machine.
  if (IsLoopbackHost(Url(url_).Part(CURLUPART_HOST))) curl_easy_setopt(easy_, CURLOPT_NOPROXY, "*");
  if (!request.form.empty()) {
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE, static_cast<long>(request.form.size()));
    curl_easy_setopt(easy_, CURLOPT_COPYPOSTFIELDS, request.form.c_str());
  }
  for (const auto& [name, value] : request.headers) {
    // A value that is empty needs this form, or curl drops the header.
    const std::string line = value.empty() ? name + ";" : absl::StrCat(name, ": ", value);
    header_list_ = curl_slist_append(header_list_, line.c_str());
  }
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, header_list_);
  return SetUpTls(request.tls);
}

absl::Status HttpClient::Lane::DeliverHead() {
  if (head_delivered_) return absl::OkStatus();
  head_delivered_ = true;
  long code = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &code);
  head_.code = static_cast<int>(code);
  return receiver_->OnHead(head_);
}

size_t HttpClient::Lane::OnHeader(char* data, size_t size, size_t count, void* self) {
  Lane* lane = static_cast<Lane*>(self);
  const size_t bytes = size * count;
  const absl::string_view line = absl::StripAsciiWhitespace(absl::string_view(data, bytes));
  lane->last_byte_ = absl::Now();
  if (absl::StartsWith(line, "HTTP/")) {  // also after an interim response
    lane->head_.headers.clear();
    lane->header_bytes_ = 0;
    return bytes;
  }
  lane->header_bytes_ += bytes;
  if (lane->header_bytes_ > kMaxHeaderBytes) {
    lane->receiver_status_ = absl::InvalidArgumentError(
        absl::StrCat(PublicUrl(lane->url_), ": the response's headers exceed 64 KiB"));
    return 0;
  }
  const size_t colon = line.find(':');
  if (colon != absl::string_view::npos) {
    lane->head_.headers.emplace_back(
        absl::AsciiStrToLower(line.substr(0, colon)),
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
  }
  return bytes;
}

size_t HttpClient::Lane::OnBody(char* data, size_t size, size_t count, void* self) {
  Lane* lane = static_cast<Lane*>(self);
  const size_t bytes = size * count;
  lane->receiver_status_ = lane->DeliverHead();
  if (lane->receiver_status_.ok()) {
    lane->receiver_status_ = lane->receiver_->OnData(absl::string_view(data, bytes));
  }
  // After the receiver, whose waiting is no stall of the other side.
  lane->last_byte_ = absl::Now();
  return lane->receiver_status_.ok() ? bytes : 0;
}

absl::Status HttpClient::Lane::Run(Cancellation* cancellation, absl::Duration stall_timeout) {
  const CancelCallback wake(cancellation, [this] { curl_multi_wakeup(multi_); });
  last_byte_ = absl::Now();
  int running = 1;
  while (true) {
    RETURN_IF_ERROR(cancellation->Check());
    const CURLMcode performed = curl_multi_perform(multi_, &running);
    if (performed != CURLM_OK) return absl::InternalError(curl_multi_strerror(performed));
    if (running == 0) break;
    const absl::Time limit = std::min(last_byte_ + stall_timeout, cancellation->deadline());
    const absl::Duration left = limit - absl::Now();
    if (absl::Now() >= last_byte_ + stall_timeout) {
      return absl::UnavailableError(
          absl::StrCat(PublicUrl(url_), ": no data for ", absl::FormatDuration(stall_timeout)));
    }
    const int64_t wait = absl::ToInt64Milliseconds(left) + 1;
    curl_multi_poll(multi_, nullptr, 0, static_cast<int>(std::clamp<int64_t>(wait, 1, 60'000)),
                    nullptr);
  }
  int queued = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &queued)) {
    if (message->msg != CURLMSG_DONE) continue;
    if (!receiver_status_.ok()) return receiver_status_;
    if (message->data.result != CURLE_OK) return CurlStatus(message->data.result, url_, error_);
  }
  return DeliverHead();
}

absl::Status HttpClient::Lane::Perform(const HttpRequest& request, HttpReceiver* receiver,
                                       Cancellation* cancellation, absl::Duration stall_timeout) {
  receiver_ = receiver;
  head_ = HttpHead{};
  header_bytes_ = 0;
  head_delivered_ = false;
  receiver_status_ = absl::OkStatus();
  error_[0] = '\0';
  absl::Status status = SetUp(request);
  if (status.ok()) {
    curl_multi_add_handle(multi_, easy_);
    status = Run(cancellation, stall_timeout);
    curl_multi_remove_handle(multi_, easy_);  // closes the connection of an unfinished transfer
  }
  curl_easy_reset(easy_);
  curl_slist_free_all(header_list_);
  header_list_ = nullptr;
  return status;
}

HttpClient::HttpClient(absl::Duration stall_timeout) : stall_timeout_(stall_timeout) {
  InitialiseCurl();
}

HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Lane> HttpClient::TakeLane() {
  MutexLock lock(&mu_);
  if (idle_.empty()) return std::make_unique<Lane>();
  std::unique_ptr<Lane> lane = std::move(idle_.back());
  idle_.pop_back();
  return lane;
}

void HttpClient::ReturnLane(std::unique_ptr<Lane> lane) {
  MutexLock lock(&mu_);
  idle_.push_back(std::move(lane));
}

absl::Status HttpClient::Perform(const HttpRequest& request, HttpReceiver* receiver,
                                 Cancellation* cancellation) {
  std::unique_ptr<Lane> lane = TakeLane();
  const absl::Status status = lane->Perform(request, receiver, cancellation, stall_timeout_);
  ReturnLane(std::move(lane));
  return status;
}

}  // namespace berth
