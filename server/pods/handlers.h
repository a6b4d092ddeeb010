// Runtime handlers: what a pod's runtime_handler may name, and what each can do.
//
// `berth` is this runtime itself. Any other is an external OCI runtime's program, by configuration
// ([runtime.handlers.NAME], docs/runtime-handlers.md).
#ifndef BERTH_SERVER_PODS_HANDLERS_H_
#define BERTH_SERVER_PODS_HANDLERS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/host_features.h"
#include "server/config/config.h"

namespace berth {

struct Handler {
  std::string name;
  Config::Runtime::Handler config;
  // True only where it is known to work.
  bool recursive_read_only = false;
  bool user_namespaces = false;

  bool external() const { return !config.path.empty(); }
};

// Immutable: any thread may read it.
class Handlers {
 public:
  // Asks each external runtime for its features (`features`, runtime-spec 1.1), in all until `deadline` at most;
  // one that doesn't answer has none, and is there all the same.
  static Handlers Probe(const Config::Runtime& config, const HostFeatures& host,
                        absl::Time deadline);
  Handlers(std::vector<Handler> handlers, std::string default_name)
      : handlers_(std::move(handlers)), default_name_(std::move(default_name)) {}

  // "" is the default one. InvalidArgument names those that are configured.
  absl::StatusOr<const Handler*> Find(const std::string& name) const;
  const std::vector<Handler>& all() const { return handlers_; }

 private:
  const std::vector<Handler> handlers_;  // by name
  const std::string default_name_;
};

// Whether the text of `RUNTIME features` says that a mount may be recursively read-only (rro).
bool KnowsRecursiveReadOnly(absl::string_view features);

// `*` stands for any characters, also none.
bool MatchesPattern(absl::string_view pattern, absl::string_view text);

// Adds those annotations that a pattern of the handler lets through and that are not in `out`; the container's
// come before the pod's.
template <typename Map>
void PassOnAnnotations(const Handler& handler, const Map& annotations,
                       std::map<std::string, std::string>* out) {
  for (const auto& [key, value] : annotations) {
    for (const std::string& pattern : handler.config.annotations) {
      if (!MatchesPattern(pattern, key)) continue;
      out->emplace(key, value);
      break;
    }
  }
}

}  // namespace berth

#endif  // BERTH_SERVER_PODS_HANDLERS_H_
