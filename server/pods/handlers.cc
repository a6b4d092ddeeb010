#include "server/pods/handlers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "nlohmann/json.hpp"
#include "runtime/external_plan.h"

namespace berth {
namespace {

Handler ProbeExternal(std::string name, const Config::Runtime::Handler& config,
                      const HostFeatures& host, absl::Time deadline) {
  Handler handler{.name = std::move(name), .config = config};
  SubprocessOptions command;
  command.argv = {config.path};
  command.argv.insert(command.argv.end(), config.options.begin(), config.options.end());
  command.argv.emplace_back("features");
  command.environment = ExternalEnvironment();
  const absl::StatusOr<SubprocessResult> ended = RunSubprocess(command, deadline);
  if (!ended.ok()) {
    LogWarning("runtime handler ", handler.name, ": ", ended.status().message(),
               "; its pods will fail");
  } else if (ended->exit_code == 0) {
    handler.recursive_read_only =
        host.recursive_readonly.ok() && KnowsRecursiveReadOnly(ended->stdout_data);
  }
  return handler;
}

}  // namespace

Handlers Handlers::Probe(const Config::Runtime& config, const HostFeatures& host,
                         absl::Time deadline) {
  std::vector<Handler> handlers;
  for (const auto& [name, handler] : config.handlers) {
    if (!handler.path.empty()) {
      handlers.push_back(ProbeExternal(name, handler, host, deadline));
      continue;
    }
    handlers.push_back({.name = name,
                        .config = handler,
                        .recursive_read_only = host.recursive_readonly.ok(),
                        .user_namespaces = host.user_namespaces.ok()});
  }
  return Handlers(std::move(handlers), config.default_handler);
}

absl::StatusOr<const Handler*> Handlers::Find(const std::string& name) const {
  const std::string& wanted = name.empty() ? default_name_ : name;
  for (const Handler& handler : handlers_) {
    if (handler.name == wanted) return &handler;
  }
  const auto append_name = [](std::string* out, const Handler& h) { out->append(h.name); };
  return absl::InvalidArgumentError(absl::StrCat("runtime_handler: `", wanted,
                                                 "` is not configured; there are ",
                                                 absl::StrJoin(handlers_, ", ", append_name)));
}

bool KnowsRecursiveReadOnly(absl::string_view features) {
  const nlohmann::json parsed =
      nlohmann::json::parse(features.begin(), features.end(), nullptr, false);
  if (!parsed.is_object()) return false;
  const auto options = parsed.find("mountOptions");
  if (options == parsed.end() || !options->is_array()) return false;
  return std::any_of(options->begin(), options->end(),
                     [](const nlohmann::json& option) { return option == "rro"; });
}

bool MatchesPattern(absl::string_view pattern, absl::string_view text) {
  // Where the last * was, and what of the text it has taken so far.
  size_t p = 0, t = 0, star = absl::string_view::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace berth
