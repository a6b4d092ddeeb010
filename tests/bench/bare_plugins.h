// CNI plugins run with nothing around them: what a pod's network costs before a runtime adds to it.
#ifndef BERTH_TESTS_BENCH_BARE_PLUGINS_H_
#define BERTH_TESTS_BENCH_BARE_PLUGINS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace berth::testing {

class BarePlugins {
 public:
  virtual ~BarePlugins() = default;

  // ADD of the list's plugins, one after the other, in a network namespace of its own, each spawned
  // and waited for; then DEL. The time of the ADDs.
  virtual absl::StatusOr<absl::Duration> Run() = 0;
};

// Of a .conflist and a directory with the programs. InvalidArgument as of ParseCniConfigList.
absl::StatusOr<std::unique_ptr<BarePlugins>> LoadBarePlugins(const std::string& conflist,
                                                             const std::string& directory);

}  // namespace berth::testing

#endif  // BERTH_TESTS_BENCH_BARE_PLUGINS_H_
