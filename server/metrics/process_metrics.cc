#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/files.h"

namespace berth {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Single(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family{name, help, type, {}};
  prometheus::ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
  return family;
}

// The fields of /proc/self/stat after the command's name: [0] is field 3, the state (proc(5)).
std::vector<std::string> StatFields() {
  const absl::StatusOr<std::string> stat = ReadFile("/proc/self/stat");
  if (!stat.ok()) return {};
  const size_t end = stat->rfind(") ");
  if (end == std::string::npos) return {};
  return absl::StrSplit(absl::string_view(*stat).substr(end + 2), ' ');
}

double BootTime() {
  const absl::StatusOr<std::string> stat = ReadFile("/proc/stat");
  if (!stat.ok()) return 0;
  const size_t at = stat->find("\nbtime ");
  double seconds = 0;
  if (at == std::string::npos) return 0;
  const size_t start = at + 7;
  (void)absl::SimpleAtod(stat->substr(start, stat->find('\n', start) - start), &seconds);
  return seconds;
}

void AddStat(std::vector<MetricFamily>* families) {
  const std::vector<std::string> fields = StatFields();
  if (fields.size() < 22) return;
  const auto field = [&fields](int number) {  // as proc(5) counts
    double value = 0;
    (void)absl::SimpleAtod(fields[number - 3], &value);
    return value;
  };
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  static const double boot_time = BootTime();
  families->push_back(Single("process_cpu_seconds_total", "User and system CPU time.",
                             MetricType::Counter, (field(14) + field(15)) / ticks));
  families->push_back(
      Single("process_threads", "Threads of the process.", MetricType::Gauge, field(20)));
  families->push_back(Single("process_start_time_seconds",
                             "Start of the process, in seconds since 1970.", MetricType::Gauge,
                             boot_time + field(22) / ticks));
  families->push_back(
      Single("process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge, field(23)));
  families->push_back(Single("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
                             field(24) * page));
}

void AddFds(std::vector<MetricFamily>* families) {
  const absl::StatusOr<std::vector<std::string>> fds = ListDirectory("/proc/self/fd");
  if (fds.ok() && !fds->empty()) {
    // One of them was the listing's own.
    families->push_back(Single("process_open_fds", "Open file descriptors.", MetricType::Gauge,
                               static_cast<double>(fds->size() - 1)));
  }
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families->push_back(Single("process_max_fds", "Limit of open file descriptors.",
                               MetricType::Gauge, static_cast<double>(limit.rlim_cur)));
  }
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  std::vector<MetricFamily> families;
  AddStat(&families);
  AddFds(&families);
  return families;
}

}  // namespace berth
