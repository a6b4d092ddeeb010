#include "server/pods/oom_message.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"

namespace berth {
namespace {

// `24 MiB (25165824 bytes)`.
std::string Bytes(int64_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  int64_t value = bytes;
  size_t unit = 0;
  while (unit + 1 < std::size(units) && value >= 1024 && value % 1024 == 0) value /= 1024, ++unit;
  return unit == 0 ? absl::StrCat(bytes, " bytes")
                   : absl::StrCat(value, " ", units[unit], " (", bytes, " bytes)");
}

std::string NodeMemory() {
  const std::string text = ReadFile("/proc/meminfo", 4096).value_or("");
  int64_t kib = 0;
  constexpr absl::string_view kTotal = "MemTotal:";
  if (absl::StartsWith(text, kTotal)) {
    const std::string line = text.substr(kTotal.size(), text.find(" kB") - kTotal.size());
    if (absl::SimpleAtoi(line, &kib)) return absl::StrCat(" of ", Bytes(kib * 1024));
  }
  return "";
}

std::string Limit(const std::string& cgroup, const store::v1::ContainerRecord& record,
                  const CgroupHost& cgroups, const std::string& shared_parent) {
  if (cgroup.empty()) return absl::StrCat("the node's memory", NodeMemory(), " was used up");
  const std::string& own = record.cgroup_path();
  const bool of_pod = cgroup == own.substr(0, own.rfind('/')) && cgroup != shared_parent;
  // Its processes may be below it: in a scope's delegated part, or where they went themselves.
  const bool of_container = cgroup == own || absl::StartsWith(cgroup, absl::StrCat(own, "/"));
  const std::string owner = of_container ? "the container's"
                            : of_pod     ? absl::StrCat("the pod's (cgroup ", cgroup, ")")
                                         : absl::StrCat("an ancestor's (cgroup ", cgroup, ")");
  const auto limit = cgroups.MemoryLimit(cgroup);
  return absl::StrCat(owner, " memory limit",
                      limit.ok() && *limit >= 0 ? absl::StrCat(" of ", Bytes(*limit)) : "",
                      " was reached");
}

std::string Victim(const store::v1::ContainerRecord& record,
                   const std::optional<OomReport>& report) {
  if (!report.has_value()) return "killed";
  if (report->victim_pid == 0) return absl::StrCat("killed ", report->victim_name);
  return absl::StrCat("killed ", report->victim_name, " (pid ", report->victim_pid,
                      report->victim_pid == record.init().pid() ? ", the main process)"
                                                                : ", not the main process)");
}

}  // namespace

std::string LimitPath(const OomReport& report, const std::string& container_path) {
  const size_t own = report.victim_cgroup.find(container_path);
  if (own == std::string::npos) return "";
  const std::string prefix = report.victim_cgroup.substr(0, own);
  if (!absl::StartsWith(report.limit_cgroup, absl::StrCat(prefix, "/"))) return "";
  const std::string path = report.limit_cgroup.substr(prefix.size());
  return path == "/" ? "" : path;
}

std::string OomMessage(const store::v1::ContainerRecord& record, const CgroupHost& cgroups,
                       const std::optional<OomReport>& report, const std::string& shared_parent) {
  std::string limit;
  if (report.has_value() && !report->limit_cgroup.empty()) {
    const std::string path = LimitPath(*report, record.cgroup_path());
    limit = path.empty() ? absl::StrCat("the memory limit of an ancestor (cgroup ",
                                        report->limit_cgroup, ") was reached")
                         : Limit(path, record, cgroups, shared_parent);
  } else {
    const std::string path =
        report.has_value() ? "" : cgroups.ReachedLimit(record.cgroup_path()).value_or("");
    limit = Limit(path, record, cgroups, shared_parent);
  }
  return absl::StrCat(Victim(record, report), ": ", limit);
}

}  // namespace berth
