#include "tests/network/built_plugins.h"

#include <stdlib.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/subprocess.h"

namespace berth {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(5);

std::string Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : absl::StrCat(name, "=", value);
}

}  // namespace

absl::StatusOr<std::string> BuiltCniPlugins() {
  if (const char* directory = getenv("BERTH_CNI_PLUGINS")) return std::string(directory);
  SubprocessOptions options;
  options.argv = {"tests/network/plugins/build"};
  for (const char* name : {"PATH", "HOME", "BERTH_CACHE", "GOPROXY", "GOSUMDB"}) {
    if (std::string variable = Variable(name); !variable.empty()) {
      options.environment.push_back(std::move(variable));
    }
  }
  ASSIGN_OR_RETURN(const SubprocessResult result, RunSubprocess(options, absl::Now() + kPatience));
  if (result.exit_code == 0) return std::string(absl::StripAsciiWhitespace(result.stdout_data));
  return absl::FailedPreconditionError(absl::StrCat("tests/network/plugins/build: exit code ",
                                                    result.exit_code, ": ", result.stderr_tail));
}

}  // namespace berth
