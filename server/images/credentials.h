// Which credentials go to which endpoint, and the Authorization header that answers a challenge.
#ifndef BERTH_SERVER_IMAGES_CREDENTIALS_H_
#define BERTH_SERVER_IMAGES_CREDENTIALS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "server/images/auth_challenge.h"
#include "server/images/hosts_config.h"
#include "server/images/http_client.h"
#include "server/images/registry_auth.h"

namespace berth {

// The credentials for one endpoint, in one of their forms; all empty is anonymous.
struct Credentials {
  std::string username;
  std::string password;
  std::string identity_token;
  std::string registry_token;
};

// What `auth` holds for `endpoint` of `registry`: nothing if it is for another server. With an empty
// server_address it is for the registry's own endpoint, not for mirrors. InvalidArgument: `auth` is no
// base64 of username:password. (No message repeats any of it.)
absl::StatusOr<Credentials> CredentialsFor(const RegistryAuth& auth, absl::string_view registry,
                                           const RegistryEndpoint& endpoint);

// An Authorization header's value, and until when it is good.
struct Authorization {
  std::string value;  // empty: none
  absl::Time expires = absl::InfiniteFuture();
};

// Answers the best of `challenges` (Bearer, then Basic): for Bearer it asks the realm for a token, by
// OAuth2 with an identity token (distribution spec, "Token Authentication"), by GET otherwise.
// `request_url` is what was challenged; `scope` is asked for if the challenge names none.
// Unauthenticated: no credentials for Basic, or no challenge that we know. PermissionDenied or
// Unauthenticated: the realm refuses. Unavailable: the realm can't be reached.
absl::StatusOr<Authorization> Authorize(const std::vector<AuthChallenge>& challenges,
                                        const Credentials& credentials,
                                        const std::string& request_url, const TlsOptions& tls,
                                        absl::string_view scope, HttpClient* client,
                                        Cancellation* cancellation);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_CREDENTIALS_H_
