// The daemon's log: one line a record on stderr, `TIME LEVEL message key=value ...`.
//
// A library returns errors and does not log them; what is swallowed is logged with ", ignoring".
// Never log credentials, tokens or environment variables.
#ifndef BERTH_BASE_LOG_H_
#define BERTH_BASE_LOG_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace berth {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Parses debug, info, warning or error; false for anything else.
bool ParseLogLevel(absl::string_view text, LogLevel* level);

// Sets the lowest level that is written. Any thread may call it at any time.
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);

// Writes one record with a single write(2); control characters in `message` are escaped.
void LogLine(LogLevel level, absl::string_view message);

template <typename... Args>
void LogDebug(const Args&... args) {
  if (LogEnabled(LogLevel::kDebug)) LogLine(LogLevel::kDebug, absl::StrCat(args...));
}
template <typename... Args>
void LogInfo(const Args&... args) {
  if (LogEnabled(LogLevel::kInfo)) LogLine(LogLevel::kInfo, absl::StrCat(args...));
}
template <typename... Args>
void LogWarning(const Args&... args) {
  if (LogEnabled(LogLevel::kWarning)) LogLine(LogLevel::kWarning, absl::StrCat(args...));
}
template <typename... Args>
void LogError(const Args&... args) {
  if (LogEnabled(LogLevel::kError)) LogLine(LogLevel::kError, absl::StrCat(args...));
}

}  // namespace berth

#endif  // BERTH_BASE_LOG_H_
