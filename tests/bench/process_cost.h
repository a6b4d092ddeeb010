// What processes cost, read from /proc: proportional set size and CPU time.
#ifndef BERTH_TESTS_BENCH_PROCESS_COST_H_
#define BERTH_TESTS_BENCH_PROCESS_COST_H_

#include <sys/types.h>

#include <regex>
#include <set>
#include <string>

namespace berth::testing {

// Processes whose command line (arguments joined by blanks) or name the expression finds.
std::set<pid_t> FindProcesses(const std::regex& expression);

// Pss of /proc/PID/smaps_rollup in KiB; 0 for a process that is gone.
double PssKib(pid_t pid);
double PssKib(const std::set<pid_t>& pids);

// CPU time of the process in milliseconds, its ended threads included; 0 for one that is gone.
double CpuMs(pid_t pid);
double CpuMs(const std::set<pid_t>& pids);

}  // namespace berth::testing

#endif  // BERTH_TESTS_BENCH_PROCESS_COST_H_
