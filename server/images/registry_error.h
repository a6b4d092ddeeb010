// How a registry's refusals become our errors, and a receiver that shows them.
#ifndef BERTH_SERVER_IMAGES_REGISTRY_ERROR_H_
#define BERTH_SERVER_IMAGES_REGISTRY_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/images/http_client.h"

namespace berth {

// `what: URL: HTTP CODE (REGISTRY_CODE)`, the URL without its query. 401 is Unauthenticated, 403
// PermissionDenied, 404 NotFound, 408 and 5xx Unavailable, 429 ResourceExhausted, else
// FailedPrecondition. Of `body` only the error code of the distribution spec is shown, and only if it
// is made of letters and underscores.
absl::Status HttpErrorStatus(absl::string_view what, const std::string& url, int code,
                             absl::string_view body);

// Keeps a small response whole.
class BufferReceiver : public HttpReceiver {
 public:
  explicit BufferReceiver(size_t limit) : limit_(limit) {}
  absl::Status OnHead(const HttpHead& head) override {
    head_ = head;
    return absl::OkStatus();
  }
  absl::Status OnData(absl::string_view data) override {
    if (data.size() > limit_ - body_.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the response exceeds ", limit_, " bytes"));
    }
    body_.append(data.data(), data.size());
    return absl::OkStatus();
  }
  const HttpHead& head() const { return head_; }
  std::string& body() { return body_; }

 private:
  const size_t limit_;
  HttpHead head_;
  std::string body_;
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_REGISTRY_ERROR_H_
