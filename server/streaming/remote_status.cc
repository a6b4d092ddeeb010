#include "server/streaming/remote_status.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace berth {

std::string EncodeRemoteStatus(const absl::StatusOr<int>& result, bool json) {
  if (result.ok() && *result == 0) return json ? R"({"metadata":{},"status":"Success"})" : "";
  nlohmann::ordered_json status;
  status["metadata"] = nlohmann::ordered_json::object();
  status["status"] = "Failure";
  std::string message;
  if (result.ok()) {
    message = absl::StrCat("command terminated with non-zero exit code: exit code ", *result);
    nlohmann::ordered_json cause;
    cause["reason"] = "ExitCode";
    cause["message"] = std::to_string(*result);
    status["message"] = message;
    status["reason"] = "NonZeroExitCode";
    status["details"]["causes"] = nlohmann::ordered_json::array({cause});
  } else {
    message = absl::StrCat("Internal error occurred: error executing command in container: ",
                           result.status().message());
    status["message"] = message;
    status["reason"] = "InternalError";
    status["code"] = 500;
  }
  if (!json) return message;
  // A path in an error may be no UTF-8.
  return status.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace berth
