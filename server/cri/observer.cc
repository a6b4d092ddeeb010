#include "server/cri/observer.h"

#include "base/log.h"

namespace berth {
namespace {

// What kubelet and crictl provoke in ordinary operation is no warning.
LogLevel LevelOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnimplemented:
      return LogLevel::kInfo;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnknown:
      return LogLevel::kError;
    default:
      return LogLevel::kWarning;
  }
}

}  // namespace

void LoggingObserver::OnStart(absl::string_view method) {
  if (next_ != nullptr) next_->OnStart(method);
}

void LoggingObserver::OnEnd(const RpcOutcome& outcome) {
  if (!outcome.status.ok() && LogEnabled(LevelOf(outcome.status.code()))) {
    LogLine(LevelOf(outcome.status.code()),
            absl::StrCat("rpc failed method=", outcome.method, " id=", outcome.request_id,
                         " code=", absl::StatusCodeToString(outcome.status.code()),
                         " ms=", absl::ToInt64Milliseconds(outcome.duration), " error=\"",
                         outcome.status.message(), "\""));
  }
  if (next_ != nullptr) next_->OnEnd(outcome);
}

}  // namespace berth
