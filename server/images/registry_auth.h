// The credentials that a caller sent with one pull. They live as long as the pull: they are never
// stored, logged, put into an error, or used for a pull that brought others.
#ifndef BERTH_SERVER_IMAGES_REGISTRY_AUTH_H_
#define BERTH_SERVER_IMAGES_REGISTRY_AUTH_H_

#include <string>

namespace berth {

// CRI's AuthConfig, field by field. The first that is set counts, in this order: registry_token (a
// bearer token as it is), identity_token (an OAuth2 refresh token), username and password, auth
// (base64 of username:password). All empty means anonymous.
struct RegistryAuth {
  std::string username;
  std::string password;
  std::string auth;
  // The registry that these credentials are for: a host or a URL. Empty means the image's own
  // registry. They are never sent to another host, so not to a mirror either.
  std::string server_address;
  std::string identity_token;
  std::string registry_token;
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_REGISTRY_AUTH_H_
