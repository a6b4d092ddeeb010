// berth: talks to a CRI socket.

#include <stdio.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "cli/verbs.h"

namespace berth::cli {
namespace {

constexpr char kDefaultAddress[] = "unix:///run/berth/berthd.sock";
constexpr std::chrono::seconds kTimeout(600);

int Usage(FILE* out) {
  fprintf(out, "usage: berth [--address unix:///PATH] VERB [ARGUMENT...]\n\n");
  for (const Verb& verb : Verbs()) {
    fprintf(out, "  %-8s %s\n           %s\n", std::string(verb.name).c_str(),
            std::string(verb.help).c_str(), std::string(verb.arguments).c_str());
  }
  fprintf(out, "\nIds may be shortened. The address may also come from BERTH_ADDRESS.\n");
  return out == stdout ? 0 : 2;
}

int Main(std::vector<std::string> arguments) {
  const char* environment = getenv("BERTH_ADDRESS");
  std::string address = environment != nullptr ? environment : kDefaultAddress;
  if (arguments.size() >= 2 && arguments[0] == "--address") {
    address = arguments[1];
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  if (arguments.empty()) return Usage(stderr);
  const std::string name = arguments[0];
  if (name == "help" || name == "--help" || name == "-h") return Usage(stdout);
  arguments.erase(arguments.begin());
  for (const Verb& verb : Verbs()) {
    if (verb.name != name) continue;
    const absl::StatusOr<int> result = verb.run(Client(address, kTimeout), arguments);
    if (result.ok()) return *result;
    fprintf(stderr, "berth %s: %s: %s\n", name.c_str(),
            absl::StatusCodeToString(result.status().code()).c_str(),
            std::string(result.status().message()).c_str());
    return 1;
  }
  fprintf(stderr, "berth: unknown verb %s\n", name.c_str());
  return Usage(stderr);
}

}  // namespace
}  // namespace berth::cli

int main(int argc, char** argv) {
  return berth::cli::Main(std::vector<std::string>(argv + 1, argv + argc));
}
