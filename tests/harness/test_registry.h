// Debian's docker-registry on loopback with the test images in it.
#ifndef BERTH_TESTS_HARNESS_TEST_REGISTRY_H_
#define BERTH_TESTS_HARNESS_TEST_REGISTRY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/program.h"

namespace berth::testing {

class TestRegistry {
 public:
  struct Options {
    int port = 5000;
    // With a user, the registry asks for basic authentication. The images are there all the same.
    std::string user, password;
  };

  // Returns when it answers. The images are built by tests/images/push-images once for all tests
  // and kept in /var/tmp/berth-test-images-KEY, KEY after the script and busybox; each registry
  // works on a copy of its own.
  static absl::StatusOr<std::unique_ptr<TestRegistry>> Start(const Options& options);

  // The registry of this test's process at 127.0.0.1:5000, started by the first call. Aborts if it
  // can't be.
  static TestRegistry& Shared();

  const std::string& address() const { return address_; }
  // HOST:PORT/berth-test/NAME; `name` with its tag: `busybox:1`.
  std::string Image(const std::string& name) const { return address_ + "/berth-test/" + name; }
  // The digest of a manifest, `sha256:…`, as the registry serves it.
  absl::StatusOr<std::string> ManifestDigest(const std::string& name) const;

 private:
  TestRegistry(std::string address, std::unique_ptr<Program> program)
      : address_(std::move(address)), program_(std::move(program)) {}

  const std::string address_;
  const std::unique_ptr<Program> program_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_TEST_REGISTRY_H_
