#include "server/network/pod_files.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/status.h"

namespace berth {
namespace {

// Kubernetes allows 32 search domains of 2,048 characters in all (dns.go of its validation).
constexpr size_t kMostEntries = 64;
constexpr size_t kMostBytes = 8192;
constexpr size_t kLargestHostFile = 1u << 20;
constexpr mode_t kFileMode = 0644;
constexpr char kLocalhost[] = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

// No character that would start another word or line in a file.
bool IsOneWord(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return !absl::ascii_isspace(static_cast<unsigned char>(c)) &&
           !absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
}

absl::Status CheckEntries(absl::string_view field, const std::vector<std::string>& entries) {
  size_t bytes = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string& entry = entries[i];
    if (entry.empty() || !IsOneWord(entry)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "dns_config.", field, "[", i, "]: empty, or with white space or control characters"));
    }
    bytes += entry.size();
  }
  if (entries.size() > kMostEntries || bytes > kMostBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "dns_config.", field, ": more than ", kMostEntries, " entries or ", kMostBytes, " bytes"));
  }
  return absl::OkStatus();
}

// An IPv4 or IPv6 address; a link-local one may name its interface (`fe80::1%eth0`).
bool IsServer(const std::string& server) {
  const std::string address = server.substr(0, server.find('%'));
  unsigned char buffer[sizeof(in6_addr)];
  if (inet_pton(AF_INET6, address.c_str(), buffer) == 1) return true;
  return inet_pton(AF_INET, server.c_str(), buffer) == 1;
}

// A file of the host, or `otherwise` if it doesn't exist.
absl::StatusOr<std::string> HostFile(const std::string& path, absl::string_view otherwise) {
  absl::StatusOr<std::string> text = ReadFile(path, kLargestHostFile);
  if (absl::IsNotFound(text.status())) return std::string(otherwise);
  return text;
}

absl::StatusOr<std::string> HostnameOf(const PodFilesRequest& request) {
  if (!IsOneWord(request.hostname)) {
    return absl::InvalidArgumentError("hostname: white space or control characters in it");
  }
  if (!request.hostname.empty()) return request.hostname;
  char name[HOST_NAME_MAX + 1] = {};
  if (gethostname(name, sizeof name - 1) != 0) return ErrnoStatus("gethostname");
  return std::string(name);
}

}  // namespace

absl::StatusOr<std::string> RenderResolvConf(const DnsConfig& dns) {
  RETURN_IF_ERROR(CheckEntries("servers", dns.servers));
  RETURN_IF_ERROR(CheckEntries("searches", dns.searches));
  RETURN_IF_ERROR(CheckEntries("options", dns.options));
  std::string text;
  if (!dns.searches.empty())
    absl::StrAppend(&text, "search ", absl::StrJoin(dns.searches, " "), "\n");
  for (size_t i = 0; i < dns.servers.size(); ++i) {
    if (!IsServer(dns.servers[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("dns_config.servers[", i, "]: `", dns.servers[i], "` is not an IP address"));
    }
    absl::StrAppend(&text, "nameserver ", dns.servers[i], "\n");
  }
  if (!dns.options.empty())
    absl::StrAppend(&text, "options ", absl::StrJoin(dns.options, " "), "\n");
  return text;
}

PodFiles PodFilesBelow(const std::string& directory) {
  return {.resolv_conf = absl::StrCat(directory, "/resolv.conf"),
          .hostname = absl::StrCat(directory, "/hostname"),
          .hosts = absl::StrCat(directory, "/hosts")};
}

absl::StatusOr<PodFiles> WritePodFiles(const std::string& directory, const PodFilesRequest& request,
                                       const std::string& host_etc) {
  ASSIGN_OR_RETURN(std::string resolv_conf, RenderResolvConf(request.dns));
  if (request.dns.empty()) {
    ASSIGN_OR_RETURN(resolv_conf, HostFile(absl::StrCat(host_etc, "/resolv.conf"), ""));
  }
  ASSIGN_OR_RETURN(const std::string hosts, HostFile(absl::StrCat(host_etc, "/hosts"), kLocalhost));
  ASSIGN_OR_RETURN(const std::string hostname, HostnameOf(request));
  RETURN_IF_ERROR_WITH(Failpoint("network.pod_files"), directory);
  RETURN_IF_ERROR(MakeDirectories(directory, 0711));
  PodFiles files = PodFilesBelow(directory);
  RETURN_IF_ERROR(WriteFileAtomically(files.resolv_conf, resolv_conf, kFileMode));
  RETURN_IF_ERROR(WriteFileAtomically(files.hostname, absl::StrCat(hostname, "\n"), kFileMode));
  RETURN_IF_ERROR(WriteFileAtomically(files.hosts, hosts, kFileMode));
  if ((request.uid | request.gid) == 0) return files;
  for (const std::string& path : {files.resolv_conf, files.hostname, files.hosts}) {
    if (lchown(path.c_str(), request.uid, request.gid) != 0) return ErrnoStatus("chown", path);
  }
  return files;
}

absl::Status RemovePodFiles(const std::string& directory) {
  const PodFiles files = PodFilesBelow(directory);
  for (const std::string& path : {files.resolv_conf, files.hostname, files.hosts}) {
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus("unlink", path);
  }
  return absl::OkStatus();
}

}  // namespace berth
