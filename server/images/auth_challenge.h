// The WWW-Authenticate header of a 401 (RFC 9110, section 11.6.1).
#ifndef BERTH_SERVER_IMAGES_AUTH_CHALLENGE_H_
#define BERTH_SERVER_IMAGES_AUTH_CHALLENGE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth {

struct AuthChallenge {
  std::string scheme;                             // lower case: basic, bearer
  std::map<std::string, std::string> parameters;  // names in lower case: realm, service, scope, ...
};

// All challenges of one header value, in order. What doesn't parse ends the list: a server's
// malformed rest is as good as absent.
std::vector<AuthChallenge> ParseAuthChallenges(absl::string_view header);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_AUTH_CHALLENGE_H_
