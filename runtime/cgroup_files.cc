#include "runtime/cgroup_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

constexpr int kMaxDepth = 64;
// v1 shows "no limit" as the largest multiple of a page (mm/page_counter.c, PAGE_COUNTER_MAX).
constexpr uint64_t kLegacyUnlimited = 0x7fff'ffff'ffff'0000ull;

}  // namespace

std::string CgroupFile(absl::string_view path, absl::string_view file) {
  while (!path.empty() && path.front() == '/') path.remove_prefix(1);
  if (path.empty()) return file.empty() ? "." : std::string(file);
  return file.empty() ? std::string(path) : absl::StrCat(path, "/", file);
}

int WriteCgroupFile(int root, const std::string& file, absl::string_view value) {
  UniqueFd fd(openat(root, file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  ssize_t n;
  do {
    n = write(fd.get(), value.data(), value.size());
  } while (n < 0 && errno == EINTR);
  return n < 0 ? errno : 0;
}

absl::StatusOr<std::string> ReadCgroupFile(int root, const std::string& file) {
  UniqueFd fd(openat(root, file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus("open", file);
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    // A cgroup that is removed meanwhile answers ENODEV.
    if (n < 0) return errno == ENODEV ? ErrnoStatusOf(ENOENT, file) : ErrnoStatus("read", file);
    if (n == 0) break;
    text.append(buffer, n);
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

absl::StatusOr<int64_t> ReadCgroupNumber(int root, const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadCgroupFile(root, file));
  if (text == "max" || text == "-1") return -1;
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    return absl::InternalError(absl::StrCat(file, ": \"", text, "\" is no number"));
  }
  return value >= kLegacyUnlimited ? -1 : static_cast<int64_t>(value);
}

std::optional<uint64_t> CgroupKeyedValue(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    uint64_t value = 0;
    if (absl::ConsumePrefix(&line, key) && absl::ConsumePrefix(&line, " ") &&
        absl::SimpleAtoi(line, &value)) {
      return value;
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<std::string>> SubCgroups(int root, const std::string& path) {
  const int fd = openat(root, CgroupFile(path, "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("open cgroup", path);
  DIR* directory = fdopendir(fd);
  if (directory == nullptr) {
    close(fd);
    return ErrnoStatus("fdopendir", path);
  }
  absl::Cleanup closer = [directory] { closedir(directory); };
  std::vector<std::string> names;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_type != DT_DIR) continue;
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

absl::Status AppendProcesses(int root, const std::string& path, std::vector<pid_t>* pids,
                             int depth) {
  if (depth > kMaxDepth) {
    return absl::ResourceExhaustedError(absl::StrCat("cgroup ", path, " is nested too deeply"));
  }
  absl::StatusOr<std::string> text = ReadCgroupFile(root, CgroupFile(path, "cgroup.procs"));
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  // A threaded cgroup of v2 answers EOPNOTSUPP; its processes stand in its domain.
  if (text.ok()) {
    for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      int pid = 0;
      if (absl::SimpleAtoi(line, &pid) && pid > 0) pids->push_back(pid);
    }
  } else if (!absl::IsUnimplemented(text.status())) {
    return text.status();
  }
  absl::StatusOr<std::vector<std::string>> children = SubCgroups(root, path);
  if (!children.ok())
    return absl::IsNotFound(children.status()) ? absl::OkStatus() : children.status();
  for (const std::string& child : *children) {
    RETURN_IF_ERROR(AppendProcesses(root, absl::StrCat(path, "/", child), pids, depth + 1));
  }
  return absl::OkStatus();
}

}  // namespace berth
