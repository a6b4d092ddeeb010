#include "server/images/hosts_config.h"

#include <sys/stat.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"
#include "server/images/reference.h"
#include "third_party/toml.h"

namespace berth {
namespace {

constexpr size_t kMaxFile = 1u << 20;

bool IsDirectory(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// The name without port and brackets.
std::string HostName(absl::string_view host) {
  if (absl::StartsWith(host, "[")) return std::string(host.substr(1, host.find(']') - 1));
  return std::string(host.substr(0, host.find(':')));
}

absl::Status Refuse(const toml::node& node, absl::string_view key, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", node.source().begin.line, ": ", key, ": ", why));
}

// Splits URL or HOST into the endpoint's base and host.
absl::Status SetUrl(absl::string_view url, bool override_path, RegistryEndpoint* endpoint) {
  absl::string_view scheme = "https";
  absl::string_view rest = url;
  if (const size_t mark = url.find("://"); mark != absl::string_view::npos) {
    scheme = url.substr(0, mark);
    rest = url.substr(mark + 3);
  }
  if (scheme != "http" && scheme != "https") {
    return absl::InvalidArgumentError("the URL's scheme is neither http nor https");
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  const absl::string_view host = rest.substr(0, slash);
  std::string path(rest.substr(slash));
  if (host.empty()) return absl::InvalidArgumentError("the URL has no host");
  if (absl::StrContains(host, '@')) {
    return absl::InvalidArgumentError("the URL must not hold credentials");
  }
  for (const char c : rest) {
    if (!absl::ascii_isgraph(c) || c == '?' || c == '#' || c == '\\' || c == '"') {
      return absl::InvalidArgumentError("the URL has a character that does not belong there");
    }
  }
  while (absl::EndsWith(path, "/")) path.pop_back();
  if (!override_path && !absl::EndsWith(path, "/v2")) path += "/v2";
  endpoint->base = absl::StrCat(scheme, "://", host, path);
  endpoint->host = std::string(host);
  return absl::OkStatus();
}

std::string Absolute(const std::string& directory, absl::string_view file) {
  return absl::StartsWith(file, "/") ? std::string(file) : absl::StrCat(directory, "/", file);
}

absl::string_view View(const std::string& text) { return text; }

absl::Status ReadCapabilities(const toml::node& node, RegistryEndpoint* endpoint) {
  const toml::array* list = node.as_array();
  if (list == nullptr) return Refuse(node, "capabilities", "must be a list of strings");
  endpoint->can_pull = endpoint->can_resolve = false;
  for (const toml::node& item : *list) {
    const auto* text = item.as_string();
    if (text == nullptr) return Refuse(item, "capabilities", "must be a list of strings");
    if (text->get() == "pull") {
      endpoint->can_pull = true;
    } else if (text->get() == "resolve") {
      endpoint->can_resolve = true;
    } else if (text->get() != "push" && text->get() != "referrers") {
      return Refuse(
          item, "capabilities",
          absl::StrCat("unknown capability \"", absl::CHexEscape(View(text->get())), "\""));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadCa(const toml::node& node, const std::string& directory, TlsOptions* tls) {
  if (const auto* text = node.as_string()) {
    tls->ca_files.push_back(Absolute(directory, View(text->get())));
    return absl::OkStatus();
  }
  const toml::array* list = node.as_array();
  if (list == nullptr) return Refuse(node, "ca", "must be a path or a list of paths");
  for (const toml::node& item : *list) {
    const auto* text = item.as_string();
    if (text == nullptr) return Refuse(item, "ca", "must be a path or a list of paths");
    tls->ca_files.push_back(Absolute(directory, View(text->get())));
  }
  return absl::OkStatus();
}

// One path, [path, ...] or [[cert, key], ...]. Several certificates for one host: the first counts,
// as libcurl offers one.
absl::Status ReadClient(const toml::node& node, const std::string& directory, TlsOptions* tls) {
  constexpr absl::string_view kForm = "must be a path, or a list of paths or of [cert, key] pairs";
  const toml::node* first = &node;
  if (const toml::array* list = node.as_array()) {
    if (list->empty()) return absl::OkStatus();
    first = list->get(0);
  }
  if (const auto* text = first->as_string()) {
    tls->client_cert = Absolute(directory, View(text->get()));
    return absl::OkStatus();
  }
  const toml::array* pair = first->as_array();
  if (pair == nullptr || pair->empty() || pair->size() > 2) return Refuse(*first, "client", kForm);
  for (const toml::node& item : *pair) {
    if (!item.is_string()) return Refuse(item, "client", kForm);
  }
  tls->client_cert = Absolute(directory, View(pair->get(0)->as_string()->get()));
  if (pair->size() == 2) {
    const std::string& key = pair->get(1)->as_string()->get();
    if (!key.empty()) tls->client_key = Absolute(directory, View(key));
  }
  return absl::OkStatus();
}

absl::Status AddHeader(const toml::node& item, const std::string& name,
                       RegistryEndpoint* endpoint) {
  const auto* text = item.as_string();
  if (text == nullptr) return Refuse(item, "header", "values must be strings or lists of strings");
  const auto clean = [](const std::string& part) {
    return std::none_of(part.begin(), part.end(), [](char c) { return absl::ascii_iscntrl(c); });
  };
  if (!clean(name) || !clean(text->get()) || name.empty() || absl::StrContains(name, ':')) {
    return Refuse(item, "header", "a name or value has a character that does not belong there");
  }
  endpoint->headers.emplace_back(name, text->get());
  return absl::OkStatus();
}

absl::Status ReadHeaders(const toml::node& node, RegistryEndpoint* endpoint) {
  const toml::table* table = node.as_table();
  if (table == nullptr) return Refuse(node, "header", "must be a table");
  for (const auto& [key, value] : *table) {
    const std::string name(key.str());
    if (const toml::array* list = value.as_array()) {
      for (const toml::node& item : *list) RETURN_IF_ERROR(AddHeader(item, name, endpoint));
    } else {
      RETURN_IF_ERROR(AddHeader(value, name, endpoint));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadBool(const toml::node& node, absl::string_view key, bool* value) {
  const auto* boolean = node.as_boolean();
  if (boolean == nullptr) return Refuse(node, key, "must be true or false");
  *value = boolean->get();
  return absl::OkStatus();
}

// The keys that an upstream and a mirror share.
absl::Status ReadEndpoint(const toml::table& table, absl::string_view url,
                          const std::string& directory, RegistryEndpoint* endpoint) {
  bool override_path = false;
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    if (name == "capabilities") RETURN_IF_ERROR(ReadCapabilities(value, endpoint));
    if (name == "ca") RETURN_IF_ERROR(ReadCa(value, directory, &endpoint->tls));
    if (name == "client") RETURN_IF_ERROR(ReadClient(value, directory, &endpoint->tls));
    if (name == "header") RETURN_IF_ERROR(ReadHeaders(value, endpoint));
    if (name == "skip_verify") RETURN_IF_ERROR(ReadBool(value, name, &endpoint->tls.skip_verify));
    if (name == "override_path") RETURN_IF_ERROR(ReadBool(value, name, &override_path));
  }
  if (absl::Status status = SetUrl(url, override_path, endpoint); !status.ok()) {
    return Refuse(table, absl::CHexEscape(url.substr(0, 200)), status.message());
  }
  return absl::OkStatus();
}

absl::Status ReadMirrors(const toml::node& node, const std::string& directory,
                         std::vector<RegistryEndpoint>* endpoints) {
  const toml::table* hosts = node.as_table();
  if (hosts == nullptr) return Refuse(node, "host", "must be a table");
  // toml++ sorts by name; the order of the file is what counts.
  std::vector<std::pair<toml::source_position, std::string>> order;
  for (const auto& [key, value] : *hosts) {
    if (!value.is_table()) return Refuse(value, "host", "must be a table for each URL");
    order.emplace_back(key.source().begin, std::string(key.str()));
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [position, url] : order) {
    RegistryEndpoint endpoint;
    RETURN_IF_ERROR(ReadEndpoint(*hosts->get(url)->as_table(), url, directory, &endpoint));
    endpoints->push_back(std::move(endpoint));
  }
  return absl::OkStatus();
}

std::string DefaultUrl(absl::string_view registry, bool has_tls_files) {
  const std::string host = RegistryApiHost(registry);
  const bool plain = IsLoopbackHost(host) && !absl::EndsWith(host, ":443") && !has_tls_files;
  return absl::StrCat(plain ? "http://" : "https://", host);
}

// A directory in Docker's form: *.crt are CAs, X.cert and X.key a client certificate.
absl::Status ReadCertificateFiles(const std::string& directory, TlsOptions* tls) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(directory, "/", name);
    if (absl::EndsWith(name, ".crt")) tls->ca_files.push_back(path);
    if (absl::EndsWith(name, ".cert") && tls->client_cert.empty()) {
      tls->client_cert = path;
      tls->client_key = path.substr(0, path.size() - 5) + ".key";
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsLoopbackHost(absl::string_view host) {
  const std::string name = HostName(host);
  if (name == "localhost" || absl::EndsWith(name, ".localhost") || name == "::1") return true;
  if (!absl::StartsWith(name, "127.")) return false;
  return name.find_first_not_of("0123456789.") == std::string::npos;
}

absl::StatusOr<std::vector<RegistryEndpoint>> ParseHostsToml(absl::string_view text,
                                                             const std::string& directory,
                                                             absl::string_view registry) {
  const toml::parse_result parsed = toml::parse(std::string_view(text.data(), text.size()));
  if (!parsed) {
    const std::string why(parsed.error().description());
    return absl::InvalidArgumentError(
        absl::StrCat("line ", parsed.error().source().begin.line, ": ", why));
  }
  const toml::table& table = parsed.table();
  std::vector<RegistryEndpoint> endpoints;
  if (const toml::node* hosts = table.get("host")) {
    RETURN_IF_ERROR(ReadMirrors(*hosts, directory, &endpoints));
  }
  std::string server = DefaultUrl(registry, table.contains("ca") || table.contains("client"));
  if (const toml::node* node = table.get("server")) {
    if (!node->is_string()) return Refuse(*node, "server", "must be a string");
    if (!node->as_string()->get().empty()) server = node->as_string()->get();
  }
  RegistryEndpoint upstream;
  upstream.upstream = true;
  RETURN_IF_ERROR(ReadEndpoint(table, server, directory, &upstream));
  endpoints.push_back(std::move(upstream));
  return endpoints;
}

absl::StatusOr<std::vector<RegistryEndpoint>> LoadRegistryEndpoints(const std::string& config_path,
                                                                    absl::string_view registry) {
  RegistryEndpoint upstream;
  upstream.upstream = true;
  std::string directory;
  if (!config_path.empty()) {
    std::string underscored(registry);
    if (const size_t colon = underscored.rfind(':');
        colon != std::string::npos && !absl::EndsWith(underscored, "]")) {
      underscored =
          absl::StrCat(underscored.substr(0, colon), "_", underscored.substr(colon + 1), "_");
      absl::StrReplaceAll({{":", ""}}, &underscored);
    }
    for (const std::string& name : {underscored, std::string(registry), std::string("_default")}) {
      if (!IsDirectory(absl::StrCat(config_path, "/", name))) continue;
      directory = absl::StrCat(config_path, "/", name);
      break;
    }
  }
  if (!directory.empty()) {
    const std::string file = directory + "/hosts.toml";
    absl::StatusOr<std::string> text = ReadFile(file, kMaxFile);
    if (text.ok()) {
      absl::StatusOr<std::vector<RegistryEndpoint>> endpoints =
          ParseHostsToml(*text, directory, registry);
      if (!endpoints.ok()) return Annotate(endpoints.status(), file);
      return endpoints;
    }
    if (!absl::IsNotFound(text.status())) return text.status();
    RETURN_IF_ERROR(ReadCertificateFiles(directory, &upstream.tls));
  }
  const bool has_tls_files = !upstream.tls.ca_files.empty() || !upstream.tls.client_cert.empty();
  RETURN_IF_ERROR(SetUrl(DefaultUrl(registry, has_tls_files), false, &upstream));
  return std::vector<RegistryEndpoint>{std::move(upstream)};
}

}  // namespace berth
