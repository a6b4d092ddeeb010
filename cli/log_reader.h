// Prints a container's log as it grows, also over its rotation.
#ifndef BERTH_CLI_LOG_READER_H_
#define BERTH_CLI_LOG_READER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace berth::cli {

class LogReader {
 public:
  // A file in CRI's log format.
  static absl::StatusOr<LogReader> Open(const std::string& path);

  // Prints what is there: stdout's lines to standard output, stderr's to standard error.
  absl::Status Print();
  // Until the file has grown or was rotated, or a second has passed; then Print goes on.
  void Wait();

 private:
  LogReader(std::string path, UniqueFd file, UniqueFd watch)
      : path_(std::move(path)), file_(std::move(file)), watch_(std::move(watch)) {}
  absl::Status PrintFile();
  UniqueFd OpenNext() const;

  std::string path_;
  UniqueFd file_;
  UniqueFd watch_;    // inotify, of the directory
  std::string line_;  // that isn't whole
};

}  // namespace berth::cli

#endif  // BERTH_CLI_LOG_READER_H_
