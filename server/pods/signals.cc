#include "server/pods/signals.h"

#include <signal.h>

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace berth {
namespace {

constexpr absl::string_view kPrefix = "SIGNAL_";

absl::Status NoSignal(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("`", text, "` is no signal"));
}

// "RTMIN+3" and "RTMAX-1"; 0 if it is neither.
int RealTimeSignal(absl::string_view name) {
  int offset = 0;
  if (absl::ConsumePrefix(&name, "RTMIN")) {
    if (name.empty()) return SIGRTMIN;
    if (absl::ConsumePrefix(&name, "+") && absl::SimpleAtoi(name, &offset))
      return SIGRTMIN + offset;
  } else if (absl::ConsumePrefix(&name, "RTMAX")) {
    if (name.empty()) return SIGRTMAX;
    if (absl::ConsumePrefix(&name, "-") && absl::SimpleAtoi(name, &offset))
      return SIGRTMAX - offset;
  }
  return 0;
}

}  // namespace

absl::StatusOr<int> ParseSignal(absl::string_view text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    if (number < 1 || number > SIGRTMAX) return NoSignal(text);
    return number;
  }
  const std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  absl::ConsumePrefix(&name, "SIG");
  if (number = RealTimeSignal(name); number >= SIGRTMIN && number <= SIGRTMAX) return number;
  // Older names that sigabbrev_np doesn't know.
  if (name == "CLD") return SIGCHLD;
  if (name == "IOT") return SIGABRT;
  if (name == "IO") return SIGIO;
  if (name == "UNUSED") return SIGSYS;
  for (int candidate = 1; candidate < 32; ++candidate) {
    const char* known = sigabbrev_np(candidate);
    if (known != nullptr && name == known) return candidate;
  }
  return NoSignal(text);
}

std::string SignalName(cri::Signal signal) {
  if (signal == cri::SIGNAL_RUNTIME_DEFAULT || !cri::Signal_IsValid(signal)) return "";
  absl::string_view name = cri::Signal_Name(signal);
  absl::ConsumePrefix(&name, kPrefix);
  return absl::StrReplaceAll(name, {{"PLUS", "+"}, {"MINUS", "-"}});
}

cri::Signal SignalValue(absl::string_view name) {
  std::string text = absl::AsciiStrToUpper(name);
  if (!absl::StartsWith(text, "SIG")) text = absl::StrCat("SIG", text);
  const std::string value =
      absl::StrCat(kPrefix, absl::StrReplaceAll(text, {{"+", "PLUS"}, {"-", "MINUS"}}));
  cri::Signal signal = cri::SIGNAL_RUNTIME_DEFAULT;
  if (!cri::Signal_Parse(value, &signal)) return cri::SIGNAL_RUNTIME_DEFAULT;
  return signal;
}

}  // namespace berth
