// Where a registry is really served: its mirrors and TLS settings from a directory of
// HOST/hosts.toml files, the form that containerd defined, so that a node's existing files work.
//
//   server = "https://registry.example"        # the upstream; default https://HOST
//   [host."https://mirror.example:5000"]        # tried first, in the order of the file
//     capabilities = ["pull", "resolve"]        # default: both
//     ca = "ca.pem"                             # or a list; relative to the file
//     client = [["client.cert", "client.key"]]  # or one file with both
//     skip_verify = false
//     override_path = false                     # true: the URL's path is the API root, without /v2
//     [host."https://mirror.example:5000".header]
//       x-custom = "value"
//
// The same keys at the top belong to the upstream.
#ifndef BERTH_SERVER_IMAGES_HOSTS_CONFIG_H_
#define BERTH_SERVER_IMAGES_HOSTS_CONFIG_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace berth {

struct TlsOptions {
  std::vector<std::string> ca_files;  // besides the system's
  std::string client_cert;            // empty: none
  std::string client_key;             // empty: in client_cert
  bool skip_verify = false;
};

struct RegistryEndpoint {
  std::string base;  // scheme://host[:port]/v2, without a slash at the end
  std::string host;  // host[:port]
  bool upstream = false;
  bool can_pull = true;     // blobs, and manifests by digest
  bool can_resolve = true;  // manifests by tag
  TlsOptions tls;
  std::vector<std::pair<std::string, std::string>> headers;
};

// The endpoints of `registry` (docker.io, localhost:5000) in the order to try: the mirrors, then the
// upstream. Reads the first of CONFIG_PATH/{HOST_PORT_,HOST:PORT,_default} that is a directory; none,
// or one without a hosts.toml (then its *.crt, *.cert and *.key files count), gives the upstream alone: HTTPS,
// but plain HTTP for a loopback host on a port other than 443 that has no such files.
// InvalidArgument names the file, line and key of what doesn't parse.
absl::StatusOr<std::vector<RegistryEndpoint>> LoadRegistryEndpoints(const std::string& config_path,
                                                                    absl::string_view registry);

// The same from the text of a file; `directory` is what relative paths are relative to.
absl::StatusOr<std::vector<RegistryEndpoint>> ParseHostsToml(absl::string_view text,
                                                             const std::string& directory,
                                                             absl::string_view registry);

// True for localhost, *.localhost, 127.0.0.0/8 and ::1, with or without a port.
bool IsLoopbackHost(absl::string_view host);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_HOSTS_CONFIG_H_
