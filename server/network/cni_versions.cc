#include "server/network/cni_versions.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "server/network/bounded_json.h"
#include "server/network/cni_plugin.h"

namespace berth {
namespace {

constexpr size_t kMostVersions = 64;

std::string Texts(const std::vector<CniVersion>& versions) {
  return absl::StrJoin(versions, ", ", [](std::string* out, CniVersion version) {
    const absl::string_view text = CniVersionText(version);
    out->append(text.data(), text.size());
  });
}

}  // namespace

absl::StatusOr<std::vector<CniVersion>> ParseCniVersions(absl::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                   JsonStrings(object, "supportedVersions", kMostVersions));
  std::vector<CniVersion> versions;
  for (const std::string& version : texts) {
    if (const auto parsed = ParseCniVersion(version); parsed.ok()) versions.push_back(*parsed);
  }
  std::sort(versions.begin(), versions.end());
  return versions;
}

std::string CniVersions::IdentityOf(const std::string& path) const {
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return "";
  return absl::StrCat(st.st_dev, " ", st.st_ino, " ", st.st_size, " ", st.st_mtim.tv_sec, ".",
                      st.st_mtim.tv_nsec);
}

absl::StatusOr<std::vector<CniVersion>> CniVersions::VersionsOf(const CniConfigList& list,
                                                                const std::string& type) {
  ASSIGN_OR_RETURN(const std::string path, FindCniPlugin(directories_, type));
  const std::string identity = IdentityOf(path);
  {
    MutexLock lock(&mu_);
    const auto found = known_.find(path);
    if (found != known_.end() && found->second.first == identity) return found->second.second;
  }
  const nlohmann::json input = {{"cniVersion", std::string(CniVersionText(list.version))}};
  const CniOutcome outcome =
      RunCniPlugin(directories_, type, list.name, {.command = "VERSION", .instance = instance_},
                   DumpJson(input), absl::Now() + timeout_);
  RETURN_IF_ERROR(outcome.status);
  ASSIGN_OR_RETURN_WITH(
      std::vector<CniVersion> versions, ParseCniVersions(outcome.output),
      absl::StrCat("cni plugin ", type, " (network ", list.name, ", VERSION): its answer"));
  MutexLock lock(&mu_);
  known_[path] = {identity, versions};
  return versions;
}

absl::StatusOr<CniVersion> CniVersions::Negotiate(const CniConfigList& list) {
  if (list.offered.size() < 2) return list.version;
  std::vector<CniVersion> common = list.offered;
  for (const CniPlugin& plugin : list.plugins) {
    absl::StatusOr<std::vector<CniVersion>> versions = VersionsOf(list, plugin.type);
    if (!versions.ok()) {
      LogWarning(versions.status().message(), "; taking it to speak ",
                 CniVersionText(list.offered[0]));
      versions = {list.offered[0]};
    }
    std::vector<CniVersion> both;
    std::set_intersection(common.begin(), common.end(), versions->begin(), versions->end(),
                          std::back_inserter(both));
    if (both.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "cni plugin ", plugin.type, " (network ", list.name, ") speaks ", Texts(*versions),
          ", but the configuration and the plugins before it want ", Texts(common)));
    }
    common = std::move(both);
  }
  return common.back();
}

}  // namespace berth
