// A private machine for an integration test: its own PID, mount and network namespace.
//
// What a test and the daemon under test leave, whatever ends them, goes with the namespaces; what
// is not namespaced (cgroups, files) is named after the test and removed by the process outside.
// Orphans are reaped by a PID 1 that does nothing else, as on a real node.
#ifndef BERTH_TESTS_HARNESS_PRIVATE_MACHINE_H_
#define BERTH_TESTS_HARNESS_PRIVATE_MACHINE_H_

#include <functional>
#include <string>

namespace berth::testing {

// Runs `body` in a private machine and returns its result, or 1 with a message on stderr if the
// machine can't be made. Needs root. Call it from main, before there are threads.
//  - lo is up; there is no other interface; ports of the host don't clash.
//  - / is a shared mount, so that pins and propagation work as on a host.
//  - /run/netns and /var/lib/cni are empty.
// With BERTH_TEST_MACHINE=whole in the environment the machine that is there is taken as it is: a virtual one
// (tests/vm), whose systemd has to know the daemon's processes by its own pids.
int RunInPrivateMachine(const std::function<int()>& body);

// The cgroup, below the root of every hierarchy, that all cgroups of this test belong under:
// `/berth-test-PID`. The parent of what Pod() makes, and of the daemons' own.
std::string TestCgroup();

// Whether daemons under test use the systemd cgroup driver (BERTH_TEST_CGROUP_DRIVER=systemd). Their pods are
// below `berthtest-pods.slice` then.
bool SystemdDriver();

// A directory of this test on a disk that can hold overlay uppers; removed at its end.
std::string TestDirectory();

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_PRIVATE_MACHINE_H_
