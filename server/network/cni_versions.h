// Which specification versions plugins speak, asked by VERSION and remembered.
#ifndef BERTH_SERVER_NETWORK_CNI_VERSIONS_H_
#define BERTH_SERVER_NETWORK_CNI_VERSIONS_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/network/cni_config.h"

namespace berth {

// The served versions in what a plugin prints for VERSION. InvalidArgument names the field.
absl::StatusOr<std::vector<CniVersion>> ParseCniVersions(absl::string_view text);

// Thread-safe; no lock is held while a plugin runs.
class CniVersions {
 public:
  // `instance`: CniCall's. `timeout` bounds one VERSION.
  CniVersions(std::vector<std::string> directories, std::string instance, absl::Duration timeout)
      : directories_(std::move(directories)), instance_(std::move(instance)), timeout_(timeout) {}

  // The highest version that the list offers and each of its plugins speaks. A list that offers one
  // only gets it unasked: the plugin's own refusal says the same. A plugin that can't be asked is
  // taken to speak the lowest offered. FailedPrecondition names the plugin that speaks none of them.
  absl::StatusOr<CniVersion> Negotiate(const CniConfigList& list);

 private:
  // Device, inode, size and modification time: a replaced program is asked again.
  std::string IdentityOf(const std::string& path) const;
  absl::StatusOr<std::vector<CniVersion>> VersionsOf(const CniConfigList& list,
                                                     const std::string& type);

  const std::vector<std::string> directories_;
  const std::string instance_;
  const absl::Duration timeout_;
  Mutex mu_;
  // By the program's path: its identity, and what it answered.
  std::map<std::string, std::pair<std::string, std::vector<CniVersion>>> known_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_NETWORK_CNI_VERSIONS_H_
