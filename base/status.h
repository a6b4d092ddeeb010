// Errors: absl::Status everywhere, one way from errno, and two macros that pass errors up.
//
// A message says what was being done to which object, in lower case, and gains context on the way
// up: `container c1: mount /data: open_tree /srv/data: No such file or directory`.
#ifndef BERTH_BASE_STATUS_H_
#define BERTH_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace berth {

// The Status for an errno value: `what: strerror(error)`. The code follows the errno (ENOENT is
// NotFound, EEXIST AlreadyExists, EACCES and EPERM PermissionDenied, ENOSPC, EDQUOT, EMFILE, ENFILE
// and ENOMEM ResourceExhausted, ETIMEDOUT DeadlineExceeded, ...; what has no match is Internal).
absl::Status ErrnoStatusOf(int error, absl::string_view what);

// The Status for the current errno; call it directly after the system call.
// `ErrnoStatus("mount", target)` reads `mount /data: Permission denied`.
absl::Status ErrnoStatus(absl::string_view call);
absl::Status ErrnoStatus(absl::string_view call, absl::string_view object);

// `context: message`, with the code and payloads kept. An OK status stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace berth

#define BERTH_STATUS_CONCAT_INNER_(a, b) a##b
#define BERTH_STATUS_CONCAT_(a, b) BERTH_STATUS_CONCAT_INNER_(a, b)

// Returns the status from the enclosing function if it is not OK.
#define RETURN_IF_ERROR(expr)                                                             \
  do {                                                                                    \
    if (::absl::Status berth_status_ = (expr); !berth_status_.ok()) return berth_status_; \
  } while (false)

// The same, with `context: ` put before the message.
#define RETURN_IF_ERROR_WITH(expr, context)                         \
  do {                                                              \
    if (::absl::Status berth_status_ = (expr); !berth_status_.ok()) \
      return ::berth::Annotate(berth_status_, (context));           \
  } while (false)

// Evaluates a StatusOr; assigns its value to `lhs` (which may be a declaration) or returns its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL_(BERTH_STATUS_CONCAT_(berth_statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) return tmp.status();          \
  lhs = std::move(tmp).value()

// The same, with `context: ` put before the message.
#define ASSIGN_OR_RETURN_WITH(lhs, expr, context) \
  ASSIGN_OR_RETURN_WITH_IMPL_(BERTH_STATUS_CONCAT_(berth_statusor_, __LINE__), lhs, expr, context)
#define ASSIGN_OR_RETURN_WITH_IMPL_(tmp, lhs, expr, context)        \
  auto tmp = (expr);                                                \
  if (!tmp.ok()) return ::berth::Annotate(tmp.status(), (context)); \
  lhs = std::move(tmp).value()

#endif  // BERTH_BASE_STATUS_H_
