// What streams and logs cost through a CRI socket, ours or any other: an exec's first byte and its throughput,
// many execs at once, a container that writes much.
#ifndef BERTH_TESTS_BENCH_STREAM_BENCH_H_
#define BERTH_TESTS_BENCH_STREAM_BENCH_H_

#include <sys/types.h>

#include <functional>
#include <set>
#include <string>

#include "tests/harness/cri_client.h"
#include "tests/harness/pod_config.h"

namespace berth::testing {

struct StreamBenchOptions {
  std::string image;          // there already
  cri::PodSandboxConfig pod;  // with its log directory
  int runs = 40;
  // The processes of the runtime: the daemon and what it has for the pods of now.
  std::function<std::set<pid_t>()> runtime;
};

// Prints lines as cri_bench does; a failure ends the program. Leaves no pod.
void MeasureStreams(CriClient* client, const StreamBenchOptions& options);

}  // namespace berth::testing

#endif  // BERTH_TESTS_BENCH_STREAM_BENCH_H_
