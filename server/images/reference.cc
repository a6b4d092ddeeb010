#include "server/images/reference.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "server/images/digest.h"

namespace berth {
namespace {

constexpr size_t kMaxReference = 4096;
constexpr size_t kMaxRepository = 255;  // distribution: NameTotalLengthMax
constexpr size_t kMaxTag = 128;
constexpr absl::string_view kDockerHub = "docker.io";

bool IsLowerAlnum(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

absl::Status Refuse(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("image reference \"", absl::CHexEscape(text.substr(0, 300)), "\": ", why));
}

bool LooksLikeHost(absl::string_view part) {
  return absl::StrContains(part, '.') || absl::StrContains(part, ':') || part == "localhost" ||
         std::any_of(part.begin(), part.end(), [](char c) { return absl::ascii_isupper(c); });
}

// Empty if `path` is a repository path, else what is wrong with it.
std::string RepositoryFault(absl::string_view path) {
  if (path.empty()) return "the repository is empty";
  if (path.size() > kMaxRepository) return "the repository is longer than 255 characters";
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty()) return "the repository has an empty path component";
    for (size_t i = 0; i < part.size(); ++i) {
      const char c = part[i];
      if (IsLowerAlnum(c)) continue;
      if (absl::ascii_isupper(c)) return "the repository must be lower case";
      const std::string at =
          absl::StrCat("repository component \"", absl::CHexEscape(part.substr(0, 64)), "\" ");
      if (c != '.' && c != '_' && c != '-') {
        return absl::StrCat(at, "has the character '", absl::CHexEscape(part.substr(i, 1)), "'");
      }
      // A separator: one dot, one or two underscores, any number of dashes, between letters or
      // digits.
      size_t end = i;
      while (end < part.size() && part[end] == c) ++end;
      const size_t count = end - i;
      const size_t most = c == '.' ? 1 : c == '_' ? 2 : count;
      if (i == 0 || end == part.size()) {
        return absl::StrCat(at, "begins or ends with a separator");
      }
      if (count > most || !IsLowerAlnum(part[end])) {
        return absl::StrCat(at, "has separators in a row");
      }
      i = end - 1;
    }
  }
  return "";
}

// Empty if `host` is HOST or HOST:PORT, else what is wrong with it.
std::string HostFault(absl::string_view host) {
  absl::string_view name = host;
  absl::string_view port;
  bool has_port = false;
  if (absl::StartsWith(host, "[")) {
    const size_t close = host.find(']');
    if (close == absl::string_view::npos) return "the registry's IPv6 address has no ]";
    name = host.substr(1, close - 1);
    const absl::string_view rest = host.substr(close + 1);
    in6_addr address;
    // The characters first: a NUL would end what inet_pton sees.
    if (name.find_first_not_of("0123456789abcdefABCDEF:.") != absl::string_view::npos ||
        inet_pton(AF_INET6, std::string(name).c_str(), &address) != 1) {
      return "the registry's IPv6 address is malformed";
    }
    if (!rest.empty()) {
      if (rest[0] != ':') return "the registry's IPv6 address is followed by something else";
      has_port = true;
      port = rest.substr(1);
    }
  } else {
    const size_t colon = host.find(':');
    if (colon != absl::string_view::npos) {
      name = host.substr(0, colon);
      port = host.substr(colon + 1);
      has_port = true;
    }
    if (name.empty()) return "the registry's host name is empty";
    if (name.size() > 253) return "the registry's host name is longer than 253 characters";
    for (const absl::string_view label : absl::StrSplit(name, '.')) {
      if (label.empty()) return "the registry's host name has an empty label";
      if (label.front() == '-' || label.back() == '-') {
        return "a label of the registry's host name begins or ends with a dash";
      }
      for (const char c : label) {
        if (!absl::ascii_isalnum(c) && c != '-') {
          return "the registry's host name has a character that is no letter, digit or dash";
        }
      }
    }
  }
  if (has_port) {
    int number = 0;
    const bool digits =
        !port.empty() && port.size() <= 5 &&
        std::all_of(port.begin(), port.end(), [](char c) { return absl::ascii_isdigit(c); });
    if (!digits || !absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
      return "the registry's port is not between 1 and 65535";
    }
  }
  return "";
}

std::string TagFault(absl::string_view tag) {
  if (tag.empty()) return "the tag after the colon is empty";
  if (tag.size() > kMaxTag) return "the tag is longer than 128 characters";
  if (tag[0] == '.' || tag[0] == '-') return "the tag begins with a dot or a dash";
  for (const char c : tag) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '.' && c != '-') {
      return absl::StrCat("the tag has the character '", absl::CHexEscape(std::string(1, c)), "'");
    }
  }
  return "";
}

bool IsHex64(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

std::string ImageReference::ToString() const {
  std::string text = Name();
  if (!tag.empty()) absl::StrAppend(&text, ":", tag);
  if (!digest.empty()) absl::StrAppend(&text, "@", digest.str());
  return text;
}

absl::StatusOr<ImageReference> ParseReference(absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("image reference is empty");
  if (text.size() > kMaxReference) return Refuse(text, "longer than 4096 characters");
  if (absl::StrContains(text, "://")) return Refuse(text, "must not have a scheme");
  ImageReference reference;
  absl::string_view rest = text;
  if (const size_t at = rest.find('@'); at != absl::string_view::npos) {
    const absl::string_view digest = rest.substr(at + 1);
    if (absl::Status status = CheckDigest(digest); !status.ok()) {
      return Refuse(text, status.message());
    }
    reference.digest = Digest(std::string(digest));
    rest = rest.substr(0, at);
  }
  // A colon after the last slash starts the tag; one before it belongs to the host.
  const size_t slash = rest.rfind('/');
  const size_t colon = rest.rfind(':');
  if (colon != absl::string_view::npos && (slash == absl::string_view::npos || colon > slash)) {
    reference.tag = std::string(rest.substr(colon + 1));
    if (const std::string fault = TagFault(reference.tag); !fault.empty()) {
      return Refuse(text, fault);
    }
    rest = rest.substr(0, colon);
  }
  const size_t first = rest.find('/');
  if (first != absl::string_view::npos && LooksLikeHost(rest.substr(0, first))) {
    reference.registry = std::string(rest.substr(0, first));
    if (const std::string fault = HostFault(reference.registry); !fault.empty()) {
      return Refuse(text, fault);
    }
    rest = rest.substr(first + 1);
  } else {
    reference.registry = std::string(kDockerHub);
    if (IsHex64(rest)) return Refuse(text, "64 hex digits are an image ID, not a repository");
  }
  if (reference.registry == "index.docker.io" || reference.registry == "registry-1.docker.io") {
    reference.registry = std::string(kDockerHub);
  }
  reference.repository = std::string(rest);
  if (reference.registry == kDockerHub && !rest.empty() && !absl::StrContains(rest, '/')) {
    reference.repository = absl::StrCat("library/", rest);
  }
  // Of the normal form, so that it can be read again.
  if (const std::string fault = RepositoryFault(reference.repository); !fault.empty()) {
    return Refuse(text, fault);
  }
  if (reference.tag.empty() && reference.digest.empty()) reference.tag = "latest";
  return reference;
}

std::string RegistryApiHost(absl::string_view registry) {
  return registry == kDockerHub ? "registry-1.docker.io" : std::string(registry);
}

std::string RegistryOfAddress(absl::string_view address) {
  if (const size_t scheme = address.find("://"); scheme != absl::string_view::npos) {
    address = address.substr(scheme + 3);
  }
  std::string host(address.substr(0, address.find('/')));
  absl::AsciiStrToLower(&host);
  if (host == "index.docker.io" || host == "registry-1.docker.io") return std::string(kDockerHub);
  return host;
}

}  // namespace berth
