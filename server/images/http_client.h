// One HTTP request at a time over a kept connection: streaming, cancellable, with a stall time-out.
// It follows no redirect, retries nothing and knows no registry: registry_session.h does that.
#ifndef BERTH_SERVER_IMAGES_HTTP_CLIENT_H_
#define BERTH_SERVER_IMAGES_HTTP_CLIENT_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/mutex.h"
#include "server/images/hosts_config.h"

namespace berth {

struct HttpRequest {
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string form;  // not empty: POST with this application/x-www-form-urlencoded body
  TlsOptions tls;
};

struct HttpHead {
  int code = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  // The first header of this (lower-case) name; empty if there is none.
  absl::string_view Header(absl::string_view name) const;
};

// Takes a response as it arrives. While a method waits, nothing more is read from the connection. An
// error ends the transfer and is what Perform returns.
class HttpReceiver {
 public:
  virtual ~HttpReceiver() = default;
  // After the last header, before the body.
  virtual absl::Status OnHead(const HttpHead& head) = 0;
  virtual absl::Status OnData(absl::string_view data) = 0;
};

// `URL` as far as an error may show it: scheme, host and path, without user, query and fragment.
std::string PublicUrl(const std::string& url);
// scheme://host:port in lower case with the default port filled in; empty if it doesn't parse.
std::string UrlOrigin(const std::string& url);
// `location` as seen from `base`, by RFC 3986; empty if it is no http or https URL.
std::string ResolveUrl(const std::string& base, const std::string& location);

class HttpClient {
 public:
  // `stall_timeout`: how long a transfer may wait for the other side without a byte.
  explicit HttpClient(absl::Duration stall_timeout);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Performs one request and hands the response, whatever its code, to `receiver`. Any number of
  // threads may do so at once; each has a connection of its own, which the next request reuses.
  // Unavailable: the transfer broke, stalled or never began; FailedPrecondition: the server's
  // certificate is not trusted or a TLS file doesn't load; Cancelled, DeadlineExceeded.
  absl::Status Perform(const HttpRequest& request, HttpReceiver* receiver,
                       Cancellation* cancellation);

 private:
  class Lane;
  std::unique_ptr<Lane> TakeLane();
  void ReturnLane(std::unique_ptr<Lane> lane);

  const absl::Duration stall_timeout_;
  Mutex mu_;
  std::vector<std::unique_ptr<Lane>> idle_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_HTTP_CLIENT_H_
