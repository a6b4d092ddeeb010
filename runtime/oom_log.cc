#include "runtime/oom_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth {
namespace {

constexpr size_t kKept = 64;

// What lies between `key` and `end`; nothing if either is missing.
std::optional<std::string> Between(absl::string_view text, absl::string_view key,
                                   absl::string_view end) {
  const size_t begin = text.find(key);
  if (begin == absl::string_view::npos) return std::nullopt;
  text.remove_prefix(begin + key.size());
  const size_t length = text.find(end);
  if (length == absl::string_view::npos) return std::nullopt;
  return std::string(text.substr(0, length));
}

bool Names(absl::string_view cgroup, absl::string_view name) {
  for (absl::string_view element : absl::StrSplit(cgroup, '/')) {
    if (element == name) return true;
  }
  return false;
}

}  // namespace

std::optional<OomReport> ParseOomReport(absl::string_view message) {
  if (!absl::StrContains(message, "oom-kill:constraint=")) return std::nullopt;
  OomReport report;
  const auto victim = Between(message, ",task_memcg=", ",task=");
  // The name is its process' own choice, and may look like anything: the last `,pid=` counts.
  const size_t name = message.find(",task=");
  const size_t pid = message.rfind(",pid=");
  if (!victim.has_value() || pid == absl::string_view::npos || pid < name) return std::nullopt;
  report.victim_cgroup = *victim;
  report.victim_name = std::string(message.substr(name + 6, pid - name - 6));
  absl::string_view number = message.substr(pid + 5);
  number = number.substr(0, number.find_first_not_of("0123456789"));
  if (!absl::SimpleAtoi(number, &report.victim_pid)) return std::nullopt;
  report.limit_cgroup = Between(message, ",oom_memcg=", ",task_memcg=").value_or("");
  return report;
}

bool InInitialPidNamespace() {
  constexpr ino_t kInitial = 0xEFFFFFFC;  // PROC_PID_INIT_INO of the kernel's proc_ns.h
  struct stat own;
  return stat("/proc/self/ns/pid", &own) == 0 && own.st_ino == kInitial;
}

OomLog::OomLog(const std::string& path, bool own_pids)
    : log_(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)), own_pids_(own_pids) {}

std::optional<OomReport> OomLog::Find(absl::string_view name) {
  MutexLock lock(&mu_);
  ReadNew();
  for (auto report = reports_.rbegin(); report != reports_.rend(); ++report) {
    if (Names(report->victim_cgroup, name)) return *report;
  }
  return std::nullopt;
}

// A read is one record: `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;MESSAGE\n KEY=VALUE...`
// (Documentation/ABI/testing/dev-kmsg).
void OomLog::ReadNew() {
  if (!log_.valid()) return;
  char record[8192];
  for (;;) {
    const ssize_t n = read(log_.get(), record, sizeof record);
    if (n < 0 && (errno == EPIPE || errno == EINTR)) continue;  // records were overwritten
    if (n <= 0) return;
    absl::string_view text(record, static_cast<size_t>(n));
    const size_t semicolon = text.find(';');
    if (semicolon == absl::string_view::npos) continue;
    text.remove_prefix(semicolon + 1);
    std::optional<OomReport> report = ParseOomReport(text.substr(0, text.find('\n')));
    if (!report.has_value()) continue;
    if (!own_pids_) report->victim_pid = 0;
    reports_.push_back(*std::move(report));
    if (reports_.size() > kKept) reports_.pop_front();
  }
}

}  // namespace berth
