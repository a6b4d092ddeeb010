#include "base/failpoint.h"

#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"

namespace berth {
namespace {

enum class Action { kError, kCrash, kPause };

struct Armed {
  Action action;
  int from_pass;
  int last_pass;
  std::atomic<int> passes{0};
};

using Table = std::map<std::string, std::unique_ptr<Armed>>;

// Written once before threads start, then only read; never destroyed.
Table* table = nullptr;

absl::Status BadSpecification(absl::string_view part) {
  return absl::InvalidArgumentError(
      absl::StrCat("failpoint `", part, "`: want NAME=[N*|N@]error|crash|pause"));
}

}  // namespace

absl::Status ArmFailpoints(absl::string_view specification) {
  auto parsed = std::make_unique<Table>();
  for (absl::string_view part : absl::StrSplit(specification, ';', absl::SkipEmpty())) {
    std::vector<std::string> sides = absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (sides.size() != 2 || sides[0].empty()) return BadSpecification(part);
    auto armed = std::make_unique<Armed>();
    armed->from_pass = 1;
    armed->last_pass = INT_MAX;
    std::string action = sides[1];
    if (const size_t mark = action.find_first_of("*@"); mark != std::string::npos) {
      if (!absl::SimpleAtoi(action.substr(0, mark), &armed->from_pass)) {
        return BadSpecification(part);
      }
      if (action[mark] == '@') armed->last_pass = armed->from_pass;
      action = action.substr(mark + 1);
    }
    if (action == "error") {
      armed->action = Action::kError;
    } else if (action == "crash") {
      armed->action = Action::kCrash;
    } else if (action == "pause") {
      armed->action = Action::kPause;
    } else {
      return BadSpecification(part);
    }
    (*parsed)[sides[0]] = std::move(armed);
  }
  delete table;
  table = parsed->empty() ? nullptr : parsed.release();
  return absl::OkStatus();
}

absl::Status Failpoint(absl::string_view name) {
  if (table == nullptr) return absl::OkStatus();
  const auto found = table->find(std::string(name));
  if (found == table->end()) return absl::OkStatus();
  Armed& armed = *found->second;
  const int pass = armed.passes.fetch_add(1) + 1;
  if (pass < armed.from_pass || pass > armed.last_pass) return absl::OkStatus();
  LogWarning("failpoint ", name, ": pass ", pass);
  if (armed.action == Action::kCrash) kill(getpid(), SIGKILL);
  if (armed.action == Action::kPause) {
    while (true) pause();
  }
  return absl::InternalError(absl::StrCat("failpoint ", name));
}

}  // namespace berth
