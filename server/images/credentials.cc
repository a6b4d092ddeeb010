#include "server/images/credentials.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "server/images/reference.h"
#include "server/images/registry_error.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr size_t kMaxTokenReply = 1u << 20;
// The token spec's default for a missing expires_in.
constexpr int64_t kDefaultTokenSeconds = 60;
// Renewed a little early, so that it doesn't expire on the way.
constexpr absl::Duration kTokenSlack = absl::Seconds(5);

std::string Encode(absl::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      encoded.push_back(c);
    } else {
      const std::string hex = absl::BytesToHexString(absl::string_view(&c, 1));
      absl::StrAppend(&encoded, "%", absl::AsciiStrToUpper(hex));
    }
  }
  return encoded;
}

std::string Parameter(const AuthChallenge& challenge, const char* name) {
  const auto it = challenge.parameters.find(name);
  return it == challenge.parameters.end() ? "" : it->second;
}

const AuthChallenge* Find(const std::vector<AuthChallenge>& challenges, absl::string_view scheme) {
  for (const AuthChallenge& challenge : challenges) {
    if (challenge.scheme == scheme) return &challenge;
  }
  return nullptr;
}

// A header's value must not smuggle in another header.
absl::Status CheckHeaderValue(absl::string_view value, absl::string_view what) {
  for (const char c : value) {
    if (absl::ascii_iscntrl(c)) {
      return absl::InvalidArgumentError(absl::StrCat(what, " has a control character"));
    }
  }
  return absl::OkStatus();
}

std::string BasicValue(const Credentials& credentials) {
  return absl::StrCat(
      "Basic ", absl::Base64Escape(absl::StrCat(credentials.username, ":", credentials.password)));
}

// token or access_token, and expires_in, of a realm's answer.
absl::StatusOr<Authorization> ParseTokenReply(const std::string& body) {
  const json reply = json::parse(body, nullptr, false);
  if (!reply.is_object()) return absl::InvalidArgumentError("the answer is no JSON object");
  std::string token;
  for (const char* key : {"token", "access_token"}) {
    const auto it = reply.find(key);
    if (token.empty() && it != reply.end() && it->is_string()) token = it->get<std::string>();
  }
  if (token.empty()) return absl::InvalidArgumentError("the answer has no token");
  RETURN_IF_ERROR(CheckHeaderValue(token, "the token"));
  int64_t seconds = kDefaultTokenSeconds;
  const auto it = reply.find("expires_in");
  if (it != reply.end() && it->is_number_integer()) {
    seconds = std::clamp<int64_t>(it->get<int64_t>(), kDefaultTokenSeconds, 24 * 3600);
  }
  return Authorization{absl::StrCat("Bearer ", token),
                       absl::Now() + absl::Seconds(seconds) - kTokenSlack};
}

absl::StatusOr<Authorization> FetchToken(const AuthChallenge& challenge,
                                         const Credentials& credentials,
                                         const std::string& request_url, const TlsOptions& tls,
                                         absl::string_view default_scope, HttpClient* client,
                                         Cancellation* cancellation) {
  const std::string realm = ResolveUrl(request_url, Parameter(challenge, "realm"));
  if (realm.empty() || Parameter(challenge, "realm").empty()) {
    return absl::InvalidArgumentError("the Bearer challenge names no http or https realm");
  }
  if (absl::StartsWith(request_url, "https://") && !absl::StartsWith(realm, "https://")) {
    return absl::PermissionDeniedError(
        absl::StrCat("the realm ", PublicUrl(realm), " of an HTTPS registry is plain HTTP"));
  }
  const std::string scope = Parameter(challenge, "scope").empty() ? std::string(default_scope)
                                                                  : Parameter(challenge, "scope");
  const std::string query =
      absl::StrCat("service=", Encode(Parameter(challenge, "service")), "&scope=", Encode(scope));
  HttpRequest request;
  request.tls = tls;
  if (!credentials.identity_token.empty()) {
    request.url = realm;
    request.form = absl::StrCat("grant_type=refresh_token&client_id=berth&", query,
                                "&refresh_token=", Encode(credentials.identity_token));
  } else {
    request.url = absl::StrCat(realm, absl::StrContains(realm, '?') ? "&" : "?", query);
    if (!credentials.username.empty()) {
      request.headers.emplace_back("Authorization", BasicValue(credentials));
    }
  }
  BufferReceiver receiver(kMaxTokenReply);
  RETURN_IF_ERROR_WITH(client->Perform(request, &receiver, cancellation), "token");
  if (receiver.head().code != 200) {
    return HttpErrorStatus("token", realm, receiver.head().code, receiver.body());
  }
  absl::StatusOr<Authorization> token = ParseTokenReply(receiver.body());
  if (!token.ok()) return Annotate(token.status(), absl::StrCat("token: ", PublicUrl(realm)));
  return token;
}

}  // namespace

absl::StatusOr<Credentials> CredentialsFor(const RegistryAuth& auth, absl::string_view registry,
                                           const RegistryEndpoint& endpoint) {
  Credentials credentials;
  if (auth.server_address.empty()) {
    if (!endpoint.upstream) return credentials;
  } else {
    const std::string server = RegistryOfAddress(auth.server_address);
    const bool for_endpoint = server == RegistryOfAddress(endpoint.host);
    const bool for_registry = endpoint.upstream && server == RegistryOfAddress(registry);
    if (!for_endpoint && !for_registry) return credentials;
  }
  if (!auth.registry_token.empty()) {
    RETURN_IF_ERROR(CheckHeaderValue(auth.registry_token, "auth.registry_token"));
    credentials.registry_token = auth.registry_token;
  } else if (!auth.identity_token.empty()) {
    credentials.identity_token = auth.identity_token;
  } else if (!auth.username.empty()) {
    credentials.username = auth.username;
    credentials.password = auth.password;
  } else if (!auth.auth.empty()) {
    std::string decoded;
    const bool base64 = absl::Base64Unescape(auth.auth, &decoded);
    const size_t colon = base64 ? decoded.find(':') : std::string::npos;
    if (colon == std::string::npos) {
      return absl::InvalidArgumentError("auth.auth is not base64 of username:password");
    }
    credentials.username = decoded.substr(0, colon);
    credentials.password = decoded.substr(colon + 1);
    // Some tools pad with NULs.
    while (!credentials.password.empty() && credentials.password.back() == '\0') {
      credentials.password.pop_back();
    }
  }
  return credentials;
}

absl::StatusOr<Authorization> Authorize(const std::vector<AuthChallenge>& challenges,
                                        const Credentials& credentials,
                                        const std::string& request_url, const TlsOptions& tls,
                                        absl::string_view scope, HttpClient* client,
                                        Cancellation* cancellation) {
  if (const AuthChallenge* bearer = Find(challenges, "bearer")) {
    if (!credentials.registry_token.empty()) {
      return Authorization{absl::StrCat("Bearer ", credentials.registry_token)};
    }
    return FetchToken(*bearer, credentials, request_url, tls, scope, client, cancellation);
  }
  if (Find(challenges, "basic") == nullptr) {
    return absl::UnauthenticatedError("the registry asks for neither Basic nor Bearer credentials");
  }
  if (credentials.username.empty()) {
    return absl::UnauthenticatedError("the registry wants a user name and a password");
  }
  return Authorization{BasicValue(credentials)};
}

}  // namespace berth
