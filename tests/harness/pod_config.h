// The CRI configurations that tests and benchmarks start from; a test changes the fields it is
// about.
#ifndef BERTH_TESTS_HARNESS_POD_CONFIG_H_
#define BERTH_TESTS_HARNESS_POD_CONFIG_H_

#include <string>
#include <vector>

#include "proto/cri/v1/api.pb.h"

namespace berth::testing {

namespace cri = ::runtime::v1;

// A pod with a network of its own: namespace `default`, a uid derived from the name, attempt 0,
// RuntimeDefault seccomp, PID namespace per container, as kubelet sends it. `cgroup_parent` is
// `pods` below the test's cgroup (private_machine.h).
cri::PodSandboxConfig Pod(const std::string& name);

// The same with the host's network.
cri::PodSandboxConfig HostNetworkPod(const std::string& name);

// A container with `command`, RuntimeDefault seccomp, masked and read-only paths as kubelet's,
// log_path NAME_ATTEMPT.log, and no limits.
cri::ContainerConfig Container(const std::string& name, const std::string& image,
                               const std::vector<std::string>& command);

// 128 MiB, half a CPU, 512 shares: what the benchmark's container has.
void SetLimits(cri::ContainerConfig* config);

// The container shares `pod`'s network mode: CRI repeats it in the container's configuration.
void MatchNamespaces(const cri::PodSandboxConfig& pod, cri::ContainerConfig* container);

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_POD_CONFIG_H_
