#include "tests/bench/process_cost.h"

#include <dirent.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace berth::testing {

namespace {

// The names in `directory` that are numbers.
std::set<pid_t> Numbers(const std::string& directory) {
  std::set<pid_t> result;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return result;
  while (const dirent* entry = readdir(dir)) {
    const pid_t number = atoi(entry->d_name);
    if (number > 0) result.insert(number);
  }
  closedir(dir);
  return result;
}

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::set<pid_t> FindProcesses(const std::regex& expression) {
  std::set<pid_t> result;
  for (const pid_t pid : Numbers("/proc")) {
    const std::string proc = "/proc/" + std::to_string(pid);
    std::string line = Contents(proc + "/cmdline");
    std::replace(line.begin(), line.end(), '\0', ' ');
    if (std::regex_search(line, expression) ||
        std::regex_search(Contents(proc + "/comm"), expression)) {
      result.insert(pid);
    }
  }
  return result;
}

double PssKib(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("Pss:", 0) == 0) return std::stod(line.substr(4));
  }
  return 0;
}

double PssKib(const std::set<pid_t>& pids) {
  double sum = 0;
  for (const pid_t pid : pids) sum += PssKib(pid);
  return sum;
}

double CpuMs(pid_t pid) {
  clockid_t clock;
  timespec time = {};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

double CpuMs(const std::set<pid_t>& pids) {
  double sum = 0;
  for (const pid_t pid : pids) sum += CpuMs(pid);
  return sum;
}

}  // namespace berth::testing
