#include "cli/log_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"

namespace berth::cli {
namespace {

constexpr int kWaitMilliseconds = 1000;

// `TIME STREAM TAG TEXT`.
void PrintLine(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(' ', 3));
  if (fields.size() < 4) return;
  FILE* out = fields[1] == "stderr" ? stderr : stdout;
  fwrite(fields[3].data(), 1, fields[3].size(), out);
  if (!absl::StartsWith(fields[2], "P")) fputc('\n', out);
}

}  // namespace

absl::StatusOr<LogReader> LogReader::Open(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd file, OpenFile(path, O_RDONLY));
  UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch) return ErrnoStatus("inotify_init1");
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  if (inotify_add_watch(watch.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
    return ErrnoStatus("inotify_add_watch", directory);
  return LogReader(path, std::move(file), std::move(watch));
}

absl::Status LogReader::PrintFile() {
  char buffer[64 << 10];
  for (;;) {
    const ssize_t n = read(file_.get(), buffer, sizeof buffer);
    if (n < 0) return ErrnoStatus("read", path_);
    if (n == 0) break;
    absl::string_view rest(buffer, static_cast<size_t>(n));
    for (size_t end; (end = rest.find('\n')) != absl::string_view::npos;) {
      line_.append(rest.data(), end);
      PrintLine(line_);
      line_.clear();
      rest.remove_prefix(end + 1);
    }
    line_.append(rest.data(), rest.size());
  }
  fflush(stdout);
  return absl::OkStatus();
}

// The file that has the name now, if it is another; else invalid.
UniqueFd LogReader::OpenNext() const {
  struct stat ours, named;
  if (fstat(file_.get(), &ours) != 0 || stat(path_.c_str(), &named) != 0) return UniqueFd();
  if (ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) return UniqueFd();
  absl::StatusOr<UniqueFd> file = OpenFile(path_, O_RDONLY);
  return file.ok() ? *std::move(file) : UniqueFd();
}

absl::Status LogReader::Print() {
  RETURN_IF_ERROR(PrintFile());
  while (UniqueFd next = OpenNext()) {
    // It may have grown between the last look and its rotation.
    RETURN_IF_ERROR(PrintFile());
    file_ = std::move(next);
    line_.clear();
    RETURN_IF_ERROR(PrintFile());
  }
  return absl::OkStatus();
}

void LogReader::Wait() {
  pollfd p{watch_.get(), POLLIN, 0};
  poll(&p, 1, kWaitMilliseconds);
  char events[4096];
  while (read(watch_.get(), events, sizeof events) > 0) continue;
}

}  // namespace berth::cli
