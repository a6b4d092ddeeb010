#include "tests/harness/test_registry.h"

#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "tests/harness/private_machine.h"

namespace berth::testing {

namespace {

constexpr char kPush[] = "tests/images/push-images";
constexpr char kServe[] = "tests/images/serve-registry";

absl::StatusOr<std::unique_ptr<Program>> Serve(const std::string& address,
                                               const std::string& storage,
                                               const std::string& htpasswd = "") {
  std::vector<std::string> argv = {kServe, address, storage};
  if (!htpasswd.empty()) argv.push_back(htpasswd);
  const std::string log = storage + ".log";
  ASSIGN_OR_RETURN(auto program, Program::Start(argv, log));
  const absl::Time deadline =
      absl::Now() + absl::Minutes(2);  // in an emulated machine it takes long
  for (;;) {
    // 401 is an answer, too.
    auto answer = RunCommand({"curl", "-s", "-o", "/dev/null", "--noproxy", "*",
                              absl::StrCat("http://", address, "/v2/")});
    if (answer.ok() && answer->exit_code == 0) return program;
    if (!program->running() || absl::Now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat("docker-registry: ", ReadFile(log).value_or("no log")));
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
}

// A storage directory with the images, made if there is none yet.
absl::StatusOr<std::string> ImageStorage() {
  ASSIGN_OR_RETURN(
      CommandResult key,
      RunCommand({"sh", "-c", absl::StrCat("cat ", kPush, " /bin/busybox | sha256sum")}));
  const std::string storage = absl::StrCat("/var/tmp/berth-test-images-", key.output.substr(0, 16));
  if (access(storage.c_str(), F_OK) == 0) return storage;
  // Built aside and renamed: tests that run side by side don't see a half-made one.
  const std::string aside = absl::StrCat(TestDirectory(), "/images");
  const std::string address = "127.0.0.1:4999";
  ASSIGN_OR_RETURN(auto registry, Serve(address, aside));
  ASSIGN_OR_RETURN(CommandResult pushed, RunCommand({kPush, address}));
  if (pushed.exit_code != 0) return absl::InternalError(absl::StrCat(kPush, ": ", pushed.output));
  registry.reset();
  if (rename(aside.c_str(), storage.c_str()) != 0 && access(storage.c_str(), F_OK) != 0) {
    return ErrnoStatus("rename", storage);
  }
  return storage;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TestRegistry>> TestRegistry::Start(const Options& options) {
  const std::string address = absl::StrCat("127.0.0.1:", options.port);
  const std::string storage = absl::StrCat(TestDirectory(), "/registry-", options.port);
  ASSIGN_OR_RETURN(const std::string images, ImageStorage());
  ASSIGN_OR_RETURN(CommandResult copy, RunCommand({"cp", "-a", "--reflink=auto", images, storage}));
  if (copy.exit_code != 0) return absl::InternalError(copy.output);
  std::string htpasswd;
  if (!options.user.empty()) {
    htpasswd = storage + ".htpasswd";
    // bcrypt, the one form that docker-registry takes; the salt needs no secrecy here.
    const char* hash = crypt(options.password.c_str(), "$2b$05$abcdefghijklmnopqrstuu");
    if (hash == nullptr) return ErrnoStatus("crypt");
    RETURN_IF_ERROR(
        WriteFileAtomically(htpasswd, absl::StrCat(options.user, ":", hash, "\n"), 0600));
  }
  ASSIGN_OR_RETURN(auto program, Serve(address, storage, htpasswd));
  return std::unique_ptr<TestRegistry>(new TestRegistry(address, std::move(program)));
}

TestRegistry& TestRegistry::Shared() {
  // Never destroyed: the private machine's end ends the program.
  static TestRegistry* const registry = [] {
    auto started = Start(Options());
    if (!started.ok()) {
      fprintf(stderr, "test registry: %s\n", started.status().ToString().c_str());
      abort();
    }
    return started->release();
  }();
  return *registry;
}

absl::StatusOr<std::string> TestRegistry::ManifestDigest(const std::string& name) const {
  const size_t colon = name.rfind(':');
  const std::string script = absl::StrCat(
      "curl -sSI --fail --noproxy '*' -H 'Accept: application/vnd.oci.image.manifest.v1+json' "
      "-H 'Accept: application/vnd.oci.image.index.v1+json' "
      "-H 'Accept: application/vnd.docker.distribution.manifest.v2+json' http://",
      address_, "/v2/berth-test/", name.substr(0, colon), "/manifests/", name.substr(colon + 1),
      " | tr -d '\\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p'");
  ASSIGN_OR_RETURN(CommandResult result, RunCommand({"sh", "-c", script}));
  if (result.output.empty()) return absl::NotFoundError(absl::StrCat("no manifest ", name));
  return std::string(absl::StripAsciiWhitespace(result.output));
}

}  // namespace berth::testing
