#include "server/network/cni_plugin.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "server/network/bounded_json.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr size_t kLargestOutput = 1u << 20;
// Of a plugin's words as much as is useful in an error message.
constexpr size_t kLongestQuote = 1024;
// Follows the daemon's own PATH: plugins call iptables, which an init system's PATH may miss.
constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// What a plugin said, fit for one line of a message, and for the CRI's, which are UTF-8 whatever it said.
std::string Quote(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  const std::string quoted = DumpJson(std::string(text.substr(0, kLongestQuote)));
  const absl::string_view shown = absl::string_view(quoted).substr(1, quoted.size() - 2);
  return absl::StrCat(shown, text.size() > kLongestQuote ? "..." : "");
}

std::vector<std::string> Environment(const CniCall& call,
                                     const std::vector<std::string>& directories) {
  const char* path = getenv("PATH");
  return {absl::StrCat("CNI_COMMAND=", call.command),
          absl::StrCat("CNI_CONTAINERID=", call.container_id),
          absl::StrCat("CNI_NETNS=", call.netns),
          absl::StrCat("CNI_IFNAME=", call.interface),
          absl::StrCat("CNI_ARGS=", call.args),
          absl::StrCat("CNI_PATH=", absl::StrJoin(directories, ":")),
          absl::StrCat("BERTH_INSTANCE=", call.instance),
          path == nullptr ? absl::StrCat("PATH=", kDefaultPath)
                          : absl::StrCat("PATH=", path, ":", kDefaultPath)};
}

absl::StatusCode StatusCodeOf(int cni_code) {
  return cni_code == kCniTryAgainLater ? absl::StatusCode::kUnavailable
                                       : absl::StatusCode::kInternal;
}

// How the program ended, in words, with the last that it wrote on stderr.
std::string Ending(const SubprocessResult& result) {
  std::string words = result.signal != 0 ? absl::StrCat("killed by signal ", result.signal)
                                         : absl::StrCat("exit code ", result.exit_code);
  if (!result.stderr_tail.empty()) absl::StrAppend(&words, ", stderr: ", Quote(result.stderr_tail));
  return words;
}

// From the error object of the specification; its fields may be missing or of any type.
void TakeErrorObject(const json& error, const SubprocessResult& result, CniOutcome* outcome) {
  if (const auto code = error.find("code"); code != error.end() && code->is_number_integer()) {
    outcome->code = static_cast<int>(code->get<int64_t>());
  }
  const std::string msg = JsonString(error, "msg").value_or("");
  const std::string details = JsonString(error, "details").value_or("");
  std::string message = msg.empty() ? "it gave no message" : Quote(msg);
  if (!details.empty()) absl::StrAppend(&message, "; ", Quote(details));
  absl::StrAppend(&message, " (code ", outcome->code, ")");
  if (result.signal != 0) absl::StrAppend(&message, ", ", Ending(result));
  outcome->status = absl::Status(StatusCodeOf(outcome->code), message);
}

CniOutcome OutcomeOf(SubprocessResult result, absl::Duration timeout) {
  CniOutcome outcome;
  if (result.timed_out) {
    outcome.status = absl::DeadlineExceededError(absl::StrCat(
        "no answer within ", absl::FormatDuration(absl::Ceil(timeout, absl::Milliseconds(1))),
        ", killed", result.stderr_tail.empty() ? "" : ", stderr: ", Quote(result.stderr_tail)));
    return outcome;
  }
  if (result.output_too_large) {
    outcome.status =
        absl::InternalError(absl::StrCat("more than ", kLargestOutput, " bytes of output, killed"));
    return outcome;
  }
  if (result.exit_code != 0) {
    const absl::StatusOr<json> error = ParseJsonObject(result.stdout_data);
    if (error.ok() && (error->contains("code") || error->contains("msg"))) {
      TakeErrorObject(*error, result, &outcome);
    } else {
      outcome.status = absl::InternalError(
          absl::StrCat(Ending(result), ", printed: ", Quote(result.stdout_data)));
    }
    return outcome;
  }
  outcome.output = std::move(result.stdout_data);
  return outcome;
}

CniOutcome Run(const std::vector<std::string>& directories, const std::string& type,
               const CniCall& call, std::string input, absl::Time deadline) {
  absl::StatusOr<std::string> program = FindCniPlugin(directories, type);
  if (!program.ok()) return {.status = program.status()};
  SubprocessOptions options;
  options.argv = {*std::move(program)};
  options.environment = Environment(call, directories);
  options.stdin_data = std::move(input);
  options.stdout_limit = kLargestOutput;
  const absl::Time start = absl::Now();
  absl::StatusOr<SubprocessResult> result = RunSubprocess(options, deadline);
  if (!result.ok()) return {.status = result.status()};
  return OutcomeOf(*std::move(result), deadline - start);
}

}  // namespace

absl::StatusOr<std::string> FindCniPlugin(const std::vector<std::string>& directories,
                                          const std::string& type) {
  for (const std::string& directory : directories) {
    std::string path = absl::StrCat(directory, "/", type);
    struct stat st;
    if (stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return absl::FailedPreconditionError(
      absl::StrCat("no such program in ", absl::StrJoin(directories, ", ")));
}

CniOutcome RunCniPlugin(const std::vector<std::string>& directories, const std::string& type,
                        const std::string& network, const CniCall& call, std::string input,
                        absl::Time deadline) {
  CniOutcome outcome = Run(directories, type, call, std::move(input), deadline);
  outcome.status = Annotate(outcome.status, absl::StrCat("cni plugin ", type, " (network ", network,
                                                         ", ", call.command, ")"));
  return outcome;
}

}  // namespace berth
